#!/usr/bin/env bash
# The component in Obelisk, with the workflow in workflow/. Exit codes: 0 all good, 77 no Obelisk or no Rust, else failure.
# WORKFLOW names the built workflow; without it, cargo builds it. Where POSTGRES_HOST and the other variables of
# server-postgres.toml are set, two servers are tried on that database as well.
source "$(dirname "$0")/../lib.sh"

command -v obelisk >/dev/null || absent "obelisk; see $here/README.md"
version "$(obelisk --version | cut -d' ' -f2)"

if [[ -z ${WORKFLOW:-} ]]; then
    command -v cargo >/dev/null || absent "Rust, from rustup.rs, to build the workflow"
    target=${CARGO_TARGET_DIR:-$here/workflow/target}
    (cd "$here/workflow" && cargo build --quiet --locked --release --target wasm32-unknown-unknown --target-dir "$target")
    WORKFLOW=$target/wasm32-unknown-unknown/release/memberspot_workflow.wasm
fi

# In a home of its own, so that nobody's executions are touched.
export HOME=$work/home RUST_BACKTRACE=0
unset "${!XDG_@}" "${!OBELISK_@}"
mkdir -p "$HOME"
cp "$here"/*.toml "$work"
cp "$WORKFLOW" "$work/memberspot_workflow.wasm"
config=server.toml
grant="POST /v1/users/grant-user-offer-by-mail"
revoke="POST /v1/users/set-offer-state"

# Starts a server, with what it is to run, or with what is in its database. It does not say which port it was given, so it is
# told one; where that is taken, another is tried.
start() {
    local log=$work/server.log tries=10 waits
    while ((tries-- > 0)); do
        port=$((RANDOM % 16384 + 16384))
        : >"$log"
        OBELISK__API__LISTENING_ADDR=127.0.0.1:$port obelisk server run --server-config "$work/$config" "$@" >"$log" 2>&1 &
        server=$!
        servers+=("$server")
        waits=$((patience * 10))
        while kill -0 "$server" 2>/dev/null; do
            ! grep -q 'Obelisk is ready' "$log" || return 0
            ((waits-- > 0)) || break 2
            sleep 0.1
        done
        grep -q 'cannot bind' "$log" || break
    done
    fail "Obelisk did not start: $(tail -n 5 "$log")"
}

# The server takes the variables from its environment when it starts. Tries again itself, unless the component does.
configure() {
    [[ -z ${MEMBERSPOT_MAX_ATTEMPTS:-} ]] || sed -i 's/^max_retries = .*/max_retries = 0/' "$work/deployment.toml"
    [[ -z ${server:-} ]] || stop TERM "$server"
    start --deployment "$work/deployment.toml"
}

stop() {
    kill -s "$1" "$2"
    wait "$2" 2>/dev/null || true
}

execution() {
    local command=$1
    shift
    bounded obelisk execution "$command" --api-url "http://127.0.0.1:$port" "$@"
}
list_offers() { execution submit --follow --json .../offers.list-offers; }
grant_access() {
    execution submit --follow --json .../access.grant-access "[{\"email\": \"ada@example.com\", \"offer_id\": \"$1\"}]"
}

# The engine shows what the component has.
shows_all() {
    local has shows
    has=$("$MEMBERSPOT" functions | cut -f 1 | sort)
    shows=$(bounded obelisk component list --api-url "http://127.0.0.1:$port")
    shows=$(sed -nE 's/^\tmemberspot:.*\.([a-z-]+) : .*/\1/p' <<<"$shows" | sort)
    [[ -n $has && $shows == "$has" ]] || fail "the engine shows: $shows"
}

# Rents an offer to Ada. The workflow is in the middle of it.
rent() {
    local status waits=$((patience * 5))
    rental=$(obelisk generate execution-id)
    execution submit --execution-id "$rental" .../purchase.rent '["ada@example.com", "offer-breath", 5]' >/dev/null
    until status=$(execution status --json "$rental") && [[ $status == *'"o:2-sleep"'* ]]; do
        ((waits-- > 0)) || fail "the rental does not wait: $status"
        sleep 0.1
    done
    receives "$grant 201"
}

# Kills a server between the two steps of the rental.
crash() {
    stop KILL "$1"
    ! read -r -t 0 -u "$journal" || fail "the server was killed too late"
}

# The rental comes to its end, and nothing of it is done twice.
ends() {
    succeeded "$(execution result --follow --json "$rental")" 'email: ada@example.com' 'active: false'
    has_received "$revoke 201"
}

story

cp "$here/deployment.toml" "$work"
unset MEMBERSPOT_MAX_ATTEMPTS
# Of three requests, the first fails.
simulate --fault busy --fault-rate 50 --seed 2
shows_all
succeeded "$(grant_access offer-breath)" 'email: ada@example.com'
has_received "$grant 503 fault status" "$grant 201"
echo "the engine tried again"

simulate
rent
crash "$server"
start
ends
! grep -rqF "$MEMBERSPOT_API_KEY" "$HOME" "$work/server.log" || fail "the engine has written the key"
echo "the workflow went on after a crash"

[[ -n ${POSTGRES_HOST:-} ]] || exit 0
config=server-postgres.toml
simulate
first=("$server" "$port")
start
second=("$server" "$port")
port=${first[1]}
rent
crash "${first[0]}"
port=${second[1]}
ends
echo "the workflow went on at another server"
