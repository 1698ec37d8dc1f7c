#!/usr/bin/env bash
# The component in Node, made into a package by jco. Exit codes: 0 all good, 77 no Node or no jco, else failure.
# NODE_MODULES is where the package's dependencies are installed.
source "$(dirname "$0")/../lib.sh"

modules=${NODE_MODULES:-$here/package/node_modules}
command -v npm >/dev/null || absent "Node 20 or newer; see $here/README.md"
[[ -x $modules/.bin/jco ]] || absent "jco: npm install --prefix $here/package"
version "$("$modules/.bin/jco" --version), node $(node --version)"

# The package as it is published, installed beside its dependencies.
package=$work/app/node_modules/memberspot-connector
mkdir -p "$work/source" "$package"
cp -r "$here/package/"{package.json,build.js,test} "$work/source"
ln -s "$modules" "$work/source/node_modules"
ln -s "$modules/@bytecodealliance" "$work/app/node_modules/@bytecodealliance"
(cd "$work/source" && COMPONENT=$component bounded npm pack --silent --pack-destination "$work" >/dev/null)
tar -xzf "$work"/memberspot-connector-*.tgz -C "$package" --strip-components 1
(cd "$package" && MEMBERSPOT=$MEMBERSPOT bounded npm test --silent) >"$work/test" 2>&1 || fail "$(<"$work/test")"

# A failure of the component is answered with exit code 1, and judged by the caller.
cp "$here/call.mjs" "$work/app"
call() {
    bounded node "$work/app/call.mjs" "$@" || [[ $? == 1 ]]
}
list_offers() { call offers listOffers; }
grant_access() { call access grantAccess "{\"email\": \"ada@example.com\", \"offerId\": \"$1\"}"; }

story
