#!/usr/bin/env bash
# The component in wash, linked with the façade in facade/, and the webhook receiver. Exit codes: 0 all good, 77 no wash or no
# Rust, else failure.
# FACADE names the built façade; without it, cargo builds it.
source "$(dirname "$0")/../lib.sh"

command -v wash >/dev/null || absent "wash; see $here/README.md"
version "$(wash --version | cut -d' ' -f2)"

if [[ -z ${FACADE:-} ]]; then
    command -v cargo >/dev/null || absent "Rust, from rustup.rs, to build the façade"
    target=${CARGO_TARGET_DIR:-$here/facade/target}
    (cd "$here/facade" && cargo build --quiet --locked --release --target wasm32-unknown-unknown --target-dir "$target")
    FACADE=$target/wasm32-unknown-unknown/release/memberspot_facade.wasm
fi

# In a home of its own, so that nobody's configuration has a say.
export HOME=$work/home
unset "${!XDG_@}"
mkdir -p "$HOME" "$work/project/.wash"
export FACADE_TOKEN=demo-token-of-this-run

# The configuration as it is in facade/, but for this run's addresses and files; wash reads it when it starts.
configure() {
    local name variables=
    for name in "${!MEMBERSPOT_@}"; do
        [[ $name == MEMBERSPOT_API_KEY ]] || variables+="$name: \"${!name}\", "
    done
    sed -e "s|command: .*|command: 'true'|" -e "s|component_path: .*|component_path: $FACADE|" \
        -e "s|address: .*|address: 127.0.0.1:0|" -e "s|file: .*|file: $component|" \
        -e "s|config: .*|config: { $variables }|" -e "s|allowedHosts: .*|allowedHosts: ['${MEMBERSPOT_BASE_URL#http://}']|" \
        "$here/facade/.wash/config.yaml" >"$work/project/.wash/config.yaml"
    start
}

# wash names the port that it took, and later, with the address of its configuration, that the components are in place.
start() {
    local line log
    [[ -z ${wash:-} ]] || kill "$wash"
    exec {log}< <(exec wash -C "$work/project" dev </dev/null 2>&1)
    wash=$!
    servers+=("$wash")
    port=
    while read -r -t "$patience" -u "$log" line; do
        [[ $line =~ \ addr=127\.0\.0\.1:([0-9]+) ]] && port=${BASH_REMATCH[1]}
        [[ $line =~ \ address=http:// ]] && return
    done
    fail "wash did not start: $line"
}

# The whole answer to $1, as in `GET /modules`, with the body $2 and the headers after it. In bash, so that nothing else is
# needed; in HTTP 1.0, so that the answer comes in one piece.
exchange() {
    local request
    printf -v request '%s\r\n' "$1 HTTP/1.0" 'Host: 127.0.0.1' ${2:+"Content-Length: ${#2}"} "${@:3}" ''
    bounded bash -c 'exec {web}<>"/dev/tcp/127.0.0.1/$0" && printf %s "$1" >&"$web" && cat <&"$web"' "$port" "$request$2"
}
ask() { exchange "$1" "${2:-}" "Authorization: Bearer $FACADE_TOKEN" "${@:3}"; }
list_offers() { ask 'POST /modules/offers.list-offers' '{}'; }
grant_access() { ask 'POST /modules/access.grant-access' "{\"email\": \"ada@example.com\", \"offerId\": \"$1\"}"; }

# $2 is an answer with the status $1, and has each of the other arguments in it.
answered() {
    local part
    [[ $2 =~ ^HTTP/1\.[01]\ $1\  ]] || fail "not $1: $2"
    for part in "${@:3}"; do
        [[ ${2,,} == *"${part,,}"* ]] || fail "$part is missing in $2"
    done
}

story

unset MEMBERSPOT_MAX_ATTEMPTS
simulate
answered 401 "$(exchange 'GET /modules' '')" 'www-authenticate: bearer'
answered 401 "$(exchange 'GET /nowhere' '' "Authorization: Bearer ${FACADE_TOKEN}x")"
answered 401 "$(exchange 'POST /modules/offers.list-offers' '{}' "Authorization: Basic $FACADE_TOKEN")"
answered 404 "$(ask 'GET /nowhere')"
answered 405 "$(ask 'DELETE /modules')" 'allow: get'
answered 405 "$(ask 'GET /modules/offers.list-offers')" 'allow: post'
answered 413 "$(ask 'POST /modules/offers.list-offers' '' 'Content-Length: 9000000')"
answered 200 "$(ask 'GET /modules')" '"inputSchema":{"$schema":' '"needs":"read"' 'cache-control: no-store'
answered 200 "$(ask 'GET /modules/access.grant-access/options/offerId?search=yoga%20b')" '[{"value":"offer-yoga-basic",'
answered 200 "$(list_offers)" 'content-type: application/json'
answered 404 "$(grant_access no-such-offer)" '"tag":"permanent"' '"code":"notFound"'
answered 400 "$(ask 'POST /modules/offers.list-offers' 'no JSON')" '"code":"invalidInput"'
has_received "GET /v1/offers 200" "GET /v1/offers 200" "POST /v1/users/grant-user-offer-by-mail 404"

export FACADE_TOKEN=too-short
configure
answered 500 "$(ask 'GET /modules')" FACADE_TOKEN
echo "the façade answers as it should"

# The webhook receiver, and behind it an engine's endpoint, which checks the signature and calls the connector.
python=${PYTHON:-python3}
command -v "$python" >/dev/null || {
    note "the webhook receiver was not tried: that needs Python"
    exit
}
configure() { :; }
simulate
export MEMBERSPOT_WEBHOOK_TOKEN=0123456789abcdef0123456789abcdef
export MEMBERSPOT_FORWARD_SECRET=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
exec {endpoint}< <(PORT=0 exec "$python" "$engines/../webhook-receiver/engine.py" "$MEMBERSPOT" run grant-access 2>/dev/null)
servers+=("$!")
read -r -t "$patience" -u "$endpoint" target || fail "the engine's endpoint did not start"
bounded "$MEMBERSPOT" component --receiver --out "$work/receiver.wasm" 2>/dev/null
host=${target#http://}
sed -e "s|command: .*|command: 'true'|" -e "s|component_path: .*|component_path: $work/receiver.wasm|" \
    -e "s|address: .*|address: 127.0.0.1:0|" -e "s|https://engine.example.com/in|$target|" \
    -e "s|allowedHosts: .*|allowedHosts: ['${host%/}']|" "$here/receiver/.wash/config.yaml" >"$work/project/.wash/config.yaml"
start

hook="POST /hooks/$MEMBERSPOT_WEBHOOK_TOKEN"
event='{"event":"user_added","email":"mia@example.com","offerId":"offer-breath"}'
answered 200 "$(exchange "$hook" '{"event":"auth_test"}')"
answered 404 "$(exchange "${hook}0" "$event")"
answered 404 "$(exchange 'GET /' '')"
answered 400 "$(exchange "$hook" 'no JSON')"
answered 200 "$(exchange "$hook" "$event")"
receives "POST /v1/users/grant-user-offer-by-mail 201"
# Signed with another secret, it is not accepted.
export MEMBERSPOT_FORWARD_SECRET=whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVy
start
answered 503 "$(exchange "$hook" "$event")"
has_received
echo "the webhook receiver forwards as it should"
