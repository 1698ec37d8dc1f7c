# What the run.sh of every engine shares; they source it. Nothing but bash.
#
# An engine's run.sh says how a function is called there, as `list_offers` and `grant_access OFFER`, which print the answer;
# `story` makes the calls and judges the answers. The configuration is in the environment, under the names of the README. An
# engine that takes it from elsewhere defines `configure`, which is called whenever it has changed.
set -euo pipefail

engines=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# What the engine's folder holds, and the files of this run, which are gone at its end.
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
servers=()
trap 'clean_up' EXIT
trap 'exit 1' INT TERM

# No command may take longer, in seconds.
patience=60

clean_up() {
    for server in "${servers[@]}"; do
        kill "$server" 2>/dev/null && wait "$server" 2>/dev/null || true
    done
    rm -rf "$work"
}

fail() {
    echo "$1" >&2
    exit 1
}

# The engine is not there: $1 says what to install.
absent() {
    echo "not present: $1" >&2
    exit 77
}

# For `engines/run-all`, which shows it in its table.
version() {
    echo "version: $1"
}

# For its table, too: what somebody who only sees the result should know.
note() {
    echo "note: $1"
}

bounded() {
    timeout --kill-after=5 "$patience" "$@"
}

# The command line, which brings the simulator, and the component as a file of a known name.
MEMBERSPOT=${MEMBERSPOT:-$(command -v memberspot || echo "${CARGO_TARGET_DIR:-$engines/../target}/debug/memberspot")}
[[ -x $MEMBERSPOT ]] || fail "$MEMBERSPOT is missing: cargo build makes it, or set MEMBERSPOT to where it is"
component=$work/memberspot.wasm
if [[ -n ${COMPONENT:-} ]]; then
    cp "$COMPONENT" "$component"
else
    bounded "$MEMBERSPOT" component --out "$component" 2>/dev/null
fi

# What is set for other purposes has no say here.
unset "${!MEMBERSPOT_@}"

configure() { :; }

# Starts a simulated Memberspot with the options given, in place of the one before, and configures the engine for it.
simulate() {
    local line
    exec {journal}< <(exec "$MEMBERSPOT" simulate --port 0 --json "$@")
    simulator=$!
    servers+=("$simulator")
    read -r -t "$patience" -u "$journal" line || fail "the simulator did not start"
    [[ $line =~ \"key\":\"([^\"]+)\" ]] && export MEMBERSPOT_API_KEY=${BASH_REMATCH[1]}
    [[ $line =~ \"origin\":\"([^\"]+)\" ]] && export MEMBERSPOT_BASE_URL=${BASH_REMATCH[1]}
    configure
}

# These are the next requests that the simulator has had, in this order.
receives() {
    local line request expected
    for expected in "$@"; do
        read -r -t "$patience" -u "$journal" line || fail "not received: $expected"
        request=${line#*#* }
        # What follows is how it failed, or whose key it had, where there is such a thing.
        [[ $request == "$expected"@(' ('|' after '|'"')* ]] || fail "received: $line, not $expected"
    done
}

# They are, and there are no others. Ends the simulator.
has_received() {
    local line
    receives "$@"
    kill "$simulator"
    ! read -r -t "$patience" -u "$journal" line || fail "received as well: $line"
    exec {journal}<&-
}

# The answer without what the engines' ways of writing differ in: `{"code": "not-found"}`, `{code: not-found}`,
# `{"code":"not_found"}` and `{"code":"notFound"}` become the same.
plainly() {
    tr -d '[:space:]"_-' <<<"$1" | tr '[:upper:]' '[:lower:]'
}

# How an error begins, in each way of writing.
case='(tag:|[({])'

# $1 is an answer that has each of the other arguments in it.
succeeded() {
    local answer part
    answer=$(plainly "$1")
    shift
    [[ ! $answer =~ $case(permanent|transient) ]] || fail "an error: $answer"
    for part in "$@"; do
        [[ $answer == *"$(plainly "$part")"* ]] || fail "$part is missing in $answer"
    done
}

# $1 is an answer with the error $2, which has the code $3 and came after $4 requests.
failed() {
    local answer
    answer=$(plainly "$1")
    [[ $answer =~ $case$2[^a-z] ]] || fail "not $2: $answer"
    [[ $answer =~ code:$(plainly "$3")[^a-z] ]] || fail "not $3: $answer"
    [[ $answer =~ attempts:$4[^0-9] ]] || fail "not $4 attempts: $answer"
}

# The calls that every engine is tried with.
story() {
    local grant="POST /v1/users/grant-user-offer-by-mail"
    simulate
    succeeded "$(list_offers)" 'id: offer-breath' 'course-breathing'
    succeeded "$(grant_access offer-breath)" 'email: ada@example.com' 'course-breathing'
    failed "$(grant_access no-such-offer)" permanent not-found 1
    export MEMBERSPOT_SCOPES=read
    configure
    failed "$(grant_access offer-breath)" permanent not-permitted 0
    succeeded "$(list_offers)" 'id: offer-breath'
    has_received "GET /v1/offers 200" "$grant 201" "$grant 404" "GET /v1/offers 200"

    unset MEMBERSPOT_SCOPES
    export MEMBERSPOT_MAX_ATTEMPTS=2
    simulate --fault truncated
    failed "$(list_offers)" transient unreachable 2
    has_received "GET /v1/offers 200 fault truncate-body" "GET /v1/offers 200 fault truncate-body"
    echo "all calls came out as they should"
}
