"""Calls the connector over MCP, as an agent's program does.

    python3 client.py wassette run --disable-builtin-tools

The words after the script are the command that starts the server; Memberspot, or `memberspot simulate`, is configured there.
The MCP client is that of the protocol's own Python package, which checks every answer by the schema that the server lists.
Exit code 0: all answers were as they should be.

DESCRIPTIONS may name a file with what `memberspot functions --mcp` prints: tools that have names from there must be described
as there. Needs Python 3.11.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable

from mcp import Client, StdioServerParameters

# How a client may begin: by the handshake `initialize`, or, since the protocol's version 2026-07-28, without one.
MODES = ["legacy", "auto"]


async def main(command: list[str]) -> None:
    server = StdioServerParameters(command=command[0], args=command[1:], env=dict(os.environ))
    for mode in MODES:
        async with Client(server, mode=mode, read_timeout_seconds=30) as client:
            print(f"connected, protocol {client.protocol_version}")
            # What is raised in here would come out as a group of exceptions.
            problem = await outcome(try_out(client))
        if problem:
            sys.exit(problem)


class Unexpected(Exception):
    """An answer is not as it should be."""


async def outcome(attempt: Awaitable[None]) -> str | None:
    """What was unexpected, if anything was."""
    try:
        await attempt
    except Unexpected as unexpected:
        return str(unexpected)


async def try_out(client: Client) -> None:
    tools = await list_tools(client)
    print(f"tools/list: {len(tools)} tools")
    check_descriptions(tools)

    async def call(function: str, arguments: dict) -> dict:
        """The result, as `{"ok": …}` or `{"err": …}`. A tool's name may have a prefix."""
        names = [tool.name for tool in tools if tool.name.endswith(function)]
        check(len(names) == 1, f"tools for {function}: {names}")
        answer = await client.call_tool(names[0], arguments)
        check(not answer.is_error, f"{names[0]} did not run: {answer.content}")
        result = answer.structured_content["result"]
        print(f"tools/call {names[0]}: {brief(result)}")
        return result

    offers = await call("list-offers", {})
    check("ok" in offers and "offer-breath" in [offer["id"] for offer in offers["ok"]], f"the offers: {offers}")
    user = await call("grant-access", grant("offer-breath"))
    check("ok" in user and user["ok"]["email"] == "ada@example.com", f"the member: {user}")
    error = (await call("grant-access", grant("no-such-offer"))).get("err")
    check(error and (error["tag"], error["val"]["code"]) == ("permanent", "not-found"), f"the error: {error}")


async def list_tools(client: Client) -> list:
    """Wassette loads components in the background: who asks at once may be told that there are no tools yet."""
    async with asyncio.timeout(30):
        while not (tools := (await client.list_tools(cache_mode="bypass")).tools):
            await asyncio.sleep(0.1)
        return tools


def grant(offer: str) -> dict:
    """The input of grant-access. Wassette wants every field."""
    names = {"first-name": None, "last-name": None}
    return {"request": {"email": "ada@example.com", "offer-id": offer, "order-id": None, **names}}


def check_descriptions(tools: list) -> None:
    ours = {}
    if path := os.environ.get("DESCRIPTIONS"):
        with open(path, encoding="utf-8") as file:
            ours = {tool["name"]: tool["description"] for tool in json.load(file)["tools"]}
    known = [tool for tool in tools if tool.name in ours]
    for tool in known:
        check(summary(tool.description) == summary(ours[tool.name]), f"the description of {tool.name}: {tool.description}")
    check(len(known) in (0, len(tools)), "some tools have other names")
    if known:
        print("all described as in the WIT")


def summary(description: str) -> str:
    return description.partition("\n")[0]


def check(holds: object, otherwise: str) -> None:
    if not holds:
        raise Unexpected(otherwise)


def brief(result: dict) -> str:
    if error := result.get("err"):
        return f"{error['tag']} {error['val']['code']} {error['val']['details']}"
    text = json.dumps(result, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:80]}…"


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
