#!/usr/bin/env bash
# The component in Wassette, in both flavours: tools with descriptions, and the connector as it is. Exit codes: 0 all good,
# 77 no Wassette, else failure.
# WASSETTE is the command, where it is not `wassette`: several words are possible.
source "$(dirname "$0")/../lib.sh"

# In a home of its own, so that nobody's components and secrets are touched.
export HOME=$work/home XDG_CONFIG_HOME=$work/home/config XDG_DATA_HOME=$work/home/data
mkdir -p "$HOME"
read -ra wassette <<<"${WASSETTE:-wassette}"
wassette() { bounded "${wassette[@]}" "$@"; }
wassette --version >"$work/version" 2>/dev/null || absent "wassette, and glibc 2.39 for it; see $here/README.md"
version "$(cut -d' ' -f1 "$work/version")"

# Loads a component. The name of its file is what Wassette calls it.
load() {
    id=$(basename "$1" .wasm)
    wassette component load "file://$1" >/dev/null
    for name in MEMBERSPOT_API_KEY MEMBERSPOT_BASE_URL MEMBERSPOT_SCOPES MEMBERSPOT_MAX_ATTEMPTS; do
        wassette permission grant environment-variable "$id" "$name" >/dev/null
    done
}

# The component's variables are its secrets here; the host that it may reach is given beside them.
configure() (
    secrets=$XDG_CONFIG_HOME/wassette/secrets
    umask 077
    mkdir -p "$secrets"
    for name in "${!MEMBERSPOT_@}"; do
        echo "$name: \"${!name}\""
    done >"$secrets/$id.yaml"
    wassette permission grant network "$id" "${MEMBERSPOT_BASE_URL#http://}" >/dev/null
)

# What the tool for a function is called, which Wassette makes of the interface in the connector.
tool() {
    if [[ $id == memberspot-tools ]]; then echo "$2"; else echo "memberspot_connector_$1_0_1_0_$2"; fi
}

list_offers() { wassette tool invoke "$(tool offers list-offers)"; }
grant_access() {
    wassette tool invoke "$(tool access grant-access)" --args "{\"request\": {\"email\": \"ada@example.com\",
        \"offer-id\": \"$1\", \"first-name\": null, \"last-name\": null, \"order-id\": null}}"
}

# What Wassette tells agents of the function $1 begins as its comment does.
described() {
    local function interface scope summary
    while IFS=$'\t' read -r function interface scope summary; do
        [[ $function == "$1" ]] || continue
        grep -qF "\"description\": \"$summary" "$work/tools.json" || fail "the description of $1 is not $summary"
        return
    done <"$work/functions"
    fail "there is no function $1"
}

bounded "$MEMBERSPOT" component --flavour tools --out "$work/memberspot-tools.wasm" 2>/dev/null
bounded "$MEMBERSPOT" functions >"$work/functions"
load "$work/memberspot-tools.wasm"
wassette component list >"$work/tools.json"
! grep -qF Auto-generated "$work/tools.json" || fail "a tool has no description"
described list-offers
described grant-access
story

unset MEMBERSPOT_MAX_ATTEMPTS
load "$component"
story
