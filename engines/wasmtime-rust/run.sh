#!/usr/bin/env bash
# The component in a Rust program that embeds wasmtime. Exit codes: 0 all good, 77 no Rust, else failure. PROGRAM names the
# built example; without it, cargo builds it.
source "$(dirname "$0")/../lib.sh"

if [[ -z ${PROGRAM:-} ]]; then
    command -v cargo >/dev/null || absent "Rust, from rustup.rs"
    # Through the workspace, so that wasmtime is not built a second time with other features.
    (cd "$engines/.." && cargo build --quiet --workspace --example call)
    PROGRAM=${CARGO_TARGET_DIR:-$engines/../target}/debug/examples/call
fi
version "$(sed -n '/^name = "wasmtime"$/{n;s/version = "\(.*\)"/\1/p}' "$engines/../Cargo.lock")"

# A failure of the component is answered with exit code 1, and judged by the caller.
call() {
    bounded "$PROGRAM" "$component" "$@" || [[ $? == 1 ]]
}
list_offers() { call list-offers; }
grant_access() { call grant-access "{\"email\": \"ada@example.com\", \"offerId\": \"$1\"}"; }

story
