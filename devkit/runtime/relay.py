"""An attached editor's requests, passed to the process that they are about, or to all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Awaitable, Sequence

from .debuggee import Debuggee, Refused
from .wire import Message

if TYPE_CHECKING:
    from .fleet import Fleet

BROADCAST = ("setFunctionBreakpoints", "setExceptionBreakpoints")
LISTED = {"threads": "threads", "stackTrace": "stackFrames"}


class NotPossible(Exception):
    """A request that cannot be met; the text is shown to the user."""


def sent(fleet: Fleet, command: str, arguments: Message) -> Awaitable[Message]:
    """Send a request now; what is awaited is the body of the answer, or Gone, or Refused.

    Raises:
        NotPossible: it is malformed, or its process has ended.
    """
    if command == "setBreakpoints":
        _check_breakpoints(arguments)
        return fleet.breakpoints.set(arguments)
    if command in BROADCAST:
        return _first([item.send(command, arguments) for item in fleet.attached_processes])
    if command == "threads":
        serving = fleet.serving_processes
        return _merged([_translated(item, "threads", item.send("threads", {})) for item in serving])
    owner = fleet.owner(arguments)
    if owner is None:
        raise NotPossible("The process that this belongs to has ended.")
    arguments = owner.inward(arguments)
    if command in ("pause", "continue"):
        # As debugpy's adapter does: all threads of the process.
        arguments["threadId"] = "*"
    return _translated(owner, command, owner.send(command, arguments))


async def whole(response: Awaitable[Message]) -> Message:
    """The body of a response; Refused where it is a refusal."""
    message = await response
    if not message.get("success"):
        raise Refused(str(message.get("message")))
    return message.get("body") or {}


def _check_breakpoints(arguments: Message) -> None:
    """Refuse what debugpy would never answer."""
    source, breakpoints = arguments.get("source"), arguments.get("breakpoints") or []
    is_file = isinstance(source, dict) and isinstance(source.get("path"), str)
    is_list = isinstance(breakpoints, list) and all(
        isinstance(item, dict) and type(item.get("line")) is int for item in breakpoints
    )
    if not is_file or not is_list:
        raise NotPossible("setBreakpoints takes a source with a path, and lines as numbers.")


async def _translated(item: Debuggee, command: str, response: Awaitable[Message]) -> Message:
    body = await whole(response)
    if command in LISTED:
        return item.outward_list(body, LISTED[command])
    return item.outward_body(body)


async def _first(responses: Sequence[Awaitable[Message]]) -> Message:
    """The body of the first answer; {} when nobody is there, for the next one is told the same."""
    for answer in await asyncio.gather(*responses, return_exceptions=True):
        if isinstance(answer, dict):
            return answer.get("body") or {}
    return {}


async def _merged(asked: Sequence[Awaitable[Message]]) -> Message:
    bodies = await asyncio.gather(*asked, return_exceptions=True)
    listed = [body["threads"] for body in bodies if isinstance(body, dict)]
    return {"threads": [thread for threads in listed for thread in threads]}
