#!/usr/bin/env bash
# The component in Python. Exit codes: 0 all good, 77 no wasmtime for Python, else failure. PYTHON names the interpreter.
source "$(dirname "$0")/../lib.sh"

python=${PYTHON:-python3}
"$python" -c 'import wasmtime' 2>/dev/null || absent "the package wasmtime for $python; see $here/README.md"
version "$("$python" -c 'from importlib.metadata import version; print(version("wasmtime"))')"

# A failure of the component is answered with exit code 1, and judged by the caller.
call() {
    PYTHONDONTWRITEBYTECODE=1 bounded "$python" "$here/memberspot.py" "$component" "$@" || [[ $? == 1 ]]
}
list_offers() { call offers.list-offers; }
grant_access() {
    call access.grant-access \
        "{\"email\": \"ada@example.com\", \"offer-id\": \"$1\", \"first-name\": null, \"last-name\": null, \"order-id\": null}"
}

story
