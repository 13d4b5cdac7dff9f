"""devkit's own questions on the debugger's port, answered beside whatever an editor does there."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Dict, List

from . import code_lines
from .editor import Question
from .settings import Settings
from .wire import Message

if TYPE_CHECKING:
    from .supervisor import Supervisor

MOST_FILES = 100000
LONGEST_WAIT_S = 86400.0


class Questions:
    """Answers from the supervisor's state; it calls `tell` when a load has come to its end."""

    def __init__(self, settings: Settings, supervisor: Supervisor) -> None:
        self._roots = settings.watch_roots
        self._supervisor = supervisor
        self._settled = asyncio.Condition()

    def by_name(self) -> Dict[str, Question]:
        """The questions, by the command that asks them."""
        return {
            "devkit/status": self._status,
            "devkit/wait": self._wait,
            "devkit/verify": self._verify,
            "devkit/reload": self._reload,
            "devkit/requests": self._requests,
            "devkit/request": self._request,
            "devkit/stack": self._stack,
        }

    async def tell(self) -> None:
        """Wake those who wait."""
        async with self._settled:
            self._settled.notify_all()

    async def _status(self, _arguments: Message) -> Message:
        return self._supervisor.status()

    async def _wait(self, arguments: Message) -> Message:
        """Answer once the generation that is asked for is ready or failed, or the time is over."""
        wanted, timeout_s = arguments.get("generation"), arguments.get("timeout_s")
        timeout_s = float(timeout_s) if isinstance(timeout_s, (int, float)) else 60.0

        def is_there() -> bool:
            is_new = not isinstance(wanted, int) or self._supervisor.generation >= wanted
            return is_new and self._supervisor.is_settled

        async with self._settled:
            with contextlib.suppress(asyncio.TimeoutError):
                waiting = self._settled.wait_for(is_there)
                await asyncio.wait_for(waiting, min(timeout_s, LONGEST_WAIT_S))
        return self._supervisor.status()

    async def _reload(self, _arguments: Message) -> Message:
        await self._supervisor.reload()
        return await self._wait({"generation": self._supervisor.generation})

    async def _requests(self, _arguments: Message) -> Message:
        """The recorded requests, oldest first, without their bodies."""
        record = self._supervisor.record
        return {"is_on": record.is_on, "requests": [item.summary() for item in record.list()]}

    async def _request(self, arguments: Message) -> Message:
        """All of one recorded request; None when it is not there, or not any more."""
        wanted = arguments.get("id")
        found = [item for item in self._supervisor.record.list() if item.number == wanted]
        return {"request": found[0].whole() if found else None}

    async def _stack(self, _arguments: Message) -> Message:
        return {"workers": await self._supervisor.stacks()}

    async def _verify(self, arguments: Message) -> Message:
        files = arguments.get("files")
        asked = [
            (str(item.get("path")), _numbers(item.get("lines")))
            for item in (files if isinstance(files, list) else [])[:MOST_FILES]
            if isinstance(item, dict)
        ]
        # Beside the loop: reading and compiling many files must not hold a debugger.
        loop = asyncio.get_event_loop()
        checked = await loop.run_in_executor(
            None, lambda: [code_lines.verified(path, lines, self._roots) for path, lines in asked]
        )
        return {"files": checked}


def _numbers(value: Any) -> List[int]:
    return (
        [item for item in value if isinstance(item, int)][:1000] if isinstance(value, list) else []
    )
