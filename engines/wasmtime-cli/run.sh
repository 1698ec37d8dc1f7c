#!/usr/bin/env bash
# The component in wasmtime's command line. Exit codes: 0 all good, 77 no wasmtime, else failure.
source "$(dirname "$0")/../lib.sh"

command -v wasmtime >/dev/null || absent "wasmtime 48 or newer; see $here/README.md"
version "$(wasmtime --version | cut -d' ' -f2)"

invoke() {
    bounded wasmtime run -S http --env MEMBERSPOT_API_KEY --env MEMBERSPOT_BASE_URL --env MEMBERSPOT_SCOPES \
        --env MEMBERSPOT_MAX_ATTEMPTS --invoke "$1" "$component"
}
list_offers() { invoke 'list-offers()'; }
grant_access() { invoke "grant-access({email: \"ada@example.com\", offer-id: \"$1\"})"; }

story
