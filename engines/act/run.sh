#!/usr/bin/env bash
# The component in ACT. Exit codes: 0 all good, 77 no ACT, else failure. ACT is the command, where it is not `act`.
source "$(dirname "$0")/../lib.sh"

# In a home of its own, so that nobody's credentials are touched.
export HOME=$work/home XDG_CONFIG_HOME=$work/home/config XDG_DATA_HOME=$work/home/data XDG_CACHE_HOME=$work/home/cache
mkdir -p "$HOME"
export RUST_BACKTRACE=0
read -ra act <<<"${ACT:-act}"
act() { bounded "${act[@]}" "$@"; }
# There are other commands of that name.
[[ $(act --version 2>/dev/null) =~ ^act\ [0-9.]+$ ]] || absent "act-cli; see $here/README.md"
version "$(act --version)"

flavour=$work/memberspot-act.wasm
bounded "$MEMBERSPOT" component --flavour act --out "$flavour" 2>/dev/null

# Stores the variables as the credential $1.
store() {
    local name field fields=() values=()
    for name in "${!MEMBERSPOT_@}"; do
        field=${name,,}
        field=memberspot:$(tr _ - <<<"${field#memberspot_}")
        fields+=(--field "$field")
        values+=("\"$field\":\"${!name}\"")
    done
    (IFS=, && echo "{${values[*]}}") |
        act secret set "$flavour" --key "$1" "${fields[@]}" --fields-stdin >/dev/null 2>"$work/stored" ||
        fail "not stored: $(<"$work/stored")"
}
configure() { store default; }

# The policy is the file beside this one; the simulator is allowed in place of Memberspot.
policy() { printf '%s\n' --config "$here/config.toml" --profile memberspot --allow "http=$MEMBERSPOT_BASE_URL"; }

# An error is on standard error, and in the exit code.
call() {
    local options
    mapfile -t options < <(policy)
    act call "$flavour" --session-args '{}' "${options[@]}" "$@" 2>&1 || true
}
list_offers() { call list-offers; }
grant_access() { call grant-access --args "{\"email\": \"ada@example.com\", \"offerId\": \"$1\"}"; }

# Sends a request over MCP and prints what comes back.
ask() {
    local line
    asked=$((asked + 1))
    printf '{"jsonrpc":"2.0","id":%s,"method":"%s","params":%s}\n' "$asked" "$1" "$2" >&"$to_act"
    while read -r -t "$patience" -u "$from_act" line; do
        [[ $line == *"\"id\":$asked"[,}]* ]] && break
    done
    answer=$line
}

# Runs the tool $2 with the arguments $3 in the session $1, and tries to say on the way what only the operator says.
tool() {
    local tries='"memberspot:base-url":"http://127.0.0.1:9","memberspot:scopes":"write","std:api-key":"another-key"'
    ask tools/call "{\"name\":\"$2\",\"arguments\":$3,\"_meta\":{\"std:session-id\":\"$1\",$tries}}"
    # A result stands within the answer as text.
    answer=${answer//\\/}
}

# What an agent could try: other accounts, input that ACT does not check, and settings where they do not belong.
over_mcp() {
    local options
    unset "${!MEMBERSPOT_@}"
    simulate
    MEMBERSPOT_SCOPES=read store default
    MEMBERSPOT_API_KEY=another-key store other
    mapfile -t options < <(policy)
    coproc server { exec "${act[@]}" run --mcp "$flavour" "${options[@]}" 2>"$work/log"; }
    servers+=("$server_PID")
    exec {from_act}<&"${server[0]}" {to_act}>&"${server[1]}"
    asked=0
    ask initialize '{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"run.sh","version":"1"}}'
    echo '{"jsonrpc":"2.0","method":"notifications/initialized"}' >&"$to_act"
    ask tools/list '{}'
    for part in '"name":"grant-access"' '"destructiveHint":true' '"readOnlyHint":true' '"name":"open_session"'; do
        [[ $answer == *"$part"* ]] || fail "$part is missing in $answer"
    done

    ask tools/call '{"name":"open_session","arguments":{}}'
    [[ $answer =~ ([0-9]+:default) ]] && first=${BASH_REMATCH[1]} || fail "no session: $answer"
    ask tools/call '{"name":"open_session","arguments":{"account":"other"}}'
    [[ $answer =~ ([0-9]+:other) ]] && second=${BASH_REMATCH[1]} || fail "no session: $answer"

    # Each session has its own key, and neither says where requests go.
    tool "$first" list-offers '{}'
    succeeded "$answer" 'id: offer-breath'
    tool "$second" list-offers '{}'
    failed "$answer" permanent unauthorized 1
    tool "$first" list-offers '{}'
    succeeded "$answer" 'id: offer-breath'

    tool "$first" grant-access '{"email":"ada@example.com","offerId":"offer-breath"}'
    failed "$answer" permanent not-permitted 0
    tool "$first" grant-access '{"email":"ada@example.com","offer":"offer-breath"}'
    failed "$answer" permanent invalid-input 0
    for depth in 30 100; do
        printf -v nested '%*s' "$depth" ''
        tool "$first" grant-access "{\"email\":${nested// /[}${nested// /]}}"
        failed "$answer" permanent invalid-input 0
    done
    tool 1:other list-offers '{}'
    [[ $answer == *std:session-not-found* ]] || fail "a session that is not open: $answer"
    has_received "GET /v1/offers 200" "GET /v1/offers 401" "GET /v1/offers 200"
    ! grep -q another-key "$work/log" || fail "the log has a key"
    echo "all tools came out as they should"
}

story
over_mcp
