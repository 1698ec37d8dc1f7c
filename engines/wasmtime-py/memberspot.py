"""The Memberspot connector in Python: one object for each connection, a fresh instance for each call.

As a program it makes one call: memberspot.py COMPONENT FUNCTION [ARGUMENT...], each argument as JSON. The configuration is
that of the environment; the answer is printed as JSON.
"""

import json
import os
import sys

from wasmtime import Engine, Store, WasiConfig
from wasmtime.component import Component, Linker, Record, Variant

PACKAGE = "memberspot:connector"
VERSION = "0.1.0"


class Failure(Exception):
    """A call that did not succeed. `tag` is "permanent" or "transient", `val` the particulars."""

    def __init__(self, tag, val):
        super().__init__(f"{val['code']}: {val['message']}")
        self.tag = tag
        self.val = val


class Memberspot:
    """The component, compiled once, with its configuration: a dictionary of MEMBERSPOT_ variables."""

    def __init__(self, path, variables):
        self.engine = Engine()
        self.component = Component.from_file(self.engine, path)
        self.linker = Linker(self.engine)
        self.linker.add_wasip2()
        self.linker.add_wasi_http()
        self.variables = list(variables.items())

    def call(self, function, *arguments):
        """Calls a function such as "access.grant-access". A record is a dictionary; all of its fields must be there, those
        without a value as None. A case of a variant is {"tag": …, "val": …}."""
        interface, name = function.split(".")
        store = self._store()
        instance = self.linker.instantiate(store, self.component)
        exports = instance.get_export_index(store, f"{PACKAGE}/{interface}@{VERSION}")
        index = exports and instance.get_export_index(store, name, exports)
        if index is None:
            raise KeyError(function)
        result = instance.get_func(store, index)(store, *map(_to_component, arguments))
        return _success(result)

    def _store(self):
        wasi = WasiConfig()
        wasi.env = self.variables
        store = Store(self.engine)
        store.set_wasi(wasi)
        store.set_wasi_http()
        return store


def _success(result):
    # The package leaves the case of a result away where the types tell it: what succeeds is never a variant, an error is.
    if isinstance(result, Variant):
        raise Failure(result.tag, _from_component(result.payload))
    return _from_component(result)


def _to_component(value):
    if isinstance(value, dict) and value.keys() == {"tag", "val"}:
        return Variant(value["tag"], _to_component(value["val"]))
    if isinstance(value, dict):
        return _record({name: _to_component(part) for name, part in value.items()})
    if isinstance(value, list):
        return [_to_component(part) for part in value]
    return value


def _record(fields):
    record = Record()
    record.__dict__.update(fields)
    return record


def _from_component(value):
    if isinstance(value, Variant):
        return {"tag": value.tag, "val": _from_component(value.payload)}
    if isinstance(value, list):
        return [_from_component(part) for part in value]
    if hasattr(value, "__dict__"):
        return {name: _from_component(part) for name, part in vars(value).items()}
    return value


def main(path, function, *arguments):
    variables = {name: value for name, value in os.environ.items() if name.startswith("MEMBERSPOT_")}
    try:
        answer = Memberspot(path, variables).call(function, *map(json.loads, arguments))
    except Failure as failure:
        print(json.dumps({"tag": failure.tag, "val": failure.val}))
        return 1
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
