#!/usr/bin/env bash
# The component in Wassette. Exit codes: 0 all good, 77 no Wassette, else failure.
# WASSETTE is the command, where it is not `wassette`: several words are possible.
source "$(dirname "$0")/../lib.sh"

# In a home of its own, so that nobody's components and secrets are touched.
export HOME=$work/home XDG_CONFIG_HOME=$work/home/config XDG_DATA_HOME=$work/home/data
mkdir -p "$HOME"
read -ra wassette <<<"${WASSETTE:-wassette}"
wassette() { bounded "${wassette[@]}" "$@"; }
wassette --version >"$work/version" 2>/dev/null || absent "wassette, and glibc 2.39 for it; see $here/README.md"
version "$(cut -d' ' -f1 "$work/version")"

wassette component load "file://$component" >/dev/null
for name in MEMBERSPOT_API_KEY MEMBERSPOT_BASE_URL MEMBERSPOT_SCOPES MEMBERSPOT_MAX_ATTEMPTS; do
    wassette permission grant environment-variable memberspot "$name" >/dev/null
done

# The component's variables are its secrets here; the host that it may reach is given beside them.
configure() (
    secrets=$XDG_CONFIG_HOME/wassette/secrets
    umask 077
    mkdir -p "$secrets"
    for name in "${!MEMBERSPOT_@}"; do
        echo "$name: \"${!name}\""
    done >"$secrets/memberspot.yaml"
    wassette permission grant network memberspot "${MEMBERSPOT_BASE_URL#http://}" >/dev/null
)

list_offers() { wassette tool invoke memberspot_connector_offers_0_1_0_list-offers; }
grant_access() {
    wassette tool invoke memberspot_connector_access_0_1_0_grant-access --args "{\"request\": {\"email\": \"ada@example.com\",
        \"offer-id\": \"$1\", \"first-name\": null, \"last-name\": null, \"order-id\": null}}"
}

# The same over MCP, in each way that a client may connect, with no other component loaded.
over_mcp() {
    local calls=("GET /v1/offers 200" "POST /v1/users/grant-user-offer-by-mail "{201,404})
    simulate
    "$MEMBERSPOT" functions --mcp >"$work/descriptions"
    DESCRIPTIONS=$work/descriptions bounded "$python" "$here/client.py" "${wassette[@]}" run --disable-builtin-tools \
        2>"$work/log" || fail "$(<"$work/log")"
    has_received "${calls[@]}" "${calls[@]}"
}

python=${PYTHON:-python3}
if ! "$python" -c 'import mcp' 2>/dev/null; then
    note "not tried over MCP: the package mcp for $python is missing"
    over_mcp() { :; }
fi

story
over_mcp
