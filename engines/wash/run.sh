#!/usr/bin/env bash
# The component in wash, linked with the component in caller/. Exit codes: 0 all good, 77 no wash or no Rust, else failure.
# CALLER names the built caller; without it, cargo builds it.
source "$(dirname "$0")/../lib.sh"

command -v wash >/dev/null || absent "wash; see $here/README.md"
version "$(wash --version | cut -d' ' -f2)"

if [[ -z ${CALLER:-} ]]; then
    command -v cargo >/dev/null || absent "Rust, from rustup.rs, to build the caller"
    target=${CARGO_TARGET_DIR:-$here/caller/target}
    (cd "$here/caller" && cargo build --quiet --locked --release --target wasm32-unknown-unknown --target-dir "$target")
    CALLER=$target/wasm32-unknown-unknown/release/memberspot_caller.wasm
fi

# In a home of its own, so that nobody's configuration has a say.
export HOME=$work/home
unset "${!XDG_@}"
mkdir -p "$HOME" "$work/project/.wash"

# The configuration as it is in caller/, but for this run's addresses and files; wash reads it when it starts.
configure() {
    local name variables=
    for name in "${!MEMBERSPOT_@}"; do
        [[ $name == MEMBERSPOT_API_KEY ]] || variables+="$name: \"${!name}\", "
    done
    sed -e "s|command: .*|command: 'true'|" -e "s|component_path: .*|component_path: $CALLER|" \
        -e "s|address: .*|address: 127.0.0.1:0|" -e "s|file: .*|file: $component|" \
        -e "s|config: .*|config: { $variables }|" -e "s|allowedHosts: .*|allowedHosts: ['${MEMBERSPOT_BASE_URL#http://}']|" \
        "$here/caller/.wash/config.yaml" >"$work/project/.wash/config.yaml"
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

# In bash, so that nothing else is needed; in HTTP 1.0, so that the answer comes in one piece.
get() {
    bounded bash -c 'exec {web}<>"/dev/tcp/127.0.0.1/$0" &&
        printf "GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n" "$1" >&"$web" && cat <&"$web"' "$port" "$1"
}
list_offers() { get /offers; }
grant_access() { get "/grant?$1"; }

story
