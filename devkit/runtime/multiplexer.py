"""The debugger's port: who is let in, and which one editor has the session.

The editor sees one running program: its requests go to the process that their ids belong to, its
breakpoints to all, and to each new one (fleet.py).
"""

from __future__ import annotations

import asyncio
import time
from typing import Callable, Dict, List, Optional

from . import peers, wire
from .editor import Editor, Question
from .fleet import Fleet
from .relay import NotPossible
from .settings import Settings
from .wire import Message, say

# How long an attach waits for a first process, and then for the rest of them.
ATTACH_S = 20.0
OTHERS_S = 3.0
# How long an editor may take to leave before the next one is refused.
LEAVE_S = 0.3
MAX_CONNECTIONS = 64


class Multiplexer:
    """The port, and the attached editor."""

    def __init__(self, settings: Settings, fleet: Fleet, questions: Dict[str, Question]) -> None:
        self._settings = settings
        self._questions = questions
        # In the order of their coming.
        self._clients: List[Editor] = []
        self.fleet = fleet
        self.on_wanted: Optional[Callable[[bool], None]] = None

    async def start(self) -> None:
        """Listen; OSError when the address is taken."""
        host, port = self._settings.debug_address
        await asyncio.start_server(self._accept, host, port, limit=wire.MAX_HEADER)

    @property
    def is_wanted(self) -> bool:
        """Whether an editor is attached or attaching, so that processes have to connect."""
        return self.fleet.editor is not None

    @property
    def is_configured(self) -> bool:
        """Whether an editor, not a check of devkit's, is attached and has said all it wants."""
        editor = self.fleet.editor
        return editor is not None and editor.is_configured and not editor.is_check

    @property
    def is_checked(self) -> bool:
        """Whether devkit is proving that an editor could attach."""
        return self.fleet.editor is not None and self.fleet.editor.is_check

    @property
    def attached(self) -> Optional[Message]:
        """Who is attached, since when (Unix seconds)."""
        if self.fleet.editor is None:
            return None
        return {"client": self.fleet.editor.name, "since": self.fleet.editor.since}

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address, own = (
            str((writer.get_extra_info(name) or ("?",))[0]) for name in ("peername", "sockname")
        )
        if not self._settings.any_client and not peers.is_host(address, own):
            say("refused a debugger connection from {}: only the host may attach".format(address))
            writer.close()
            return
        if len(self._clients) >= MAX_CONNECTIONS and not self._evict():
            writer.close()
            return
        editor = Editor(self, reader, writer, self._questions)
        self._clients.append(editor)
        try:
            await editor.run()
        finally:
            if editor in self._clients:
                self._clients.remove(editor)

    def _evict(self) -> bool:
        """Make room: whoever only holds a connection must not keep an editor out."""
        oldest = next((item for item in self._clients if item.is_idle), None)
        if oldest is None:
            return False
        self._clients.remove(oldest)
        oldest.hang_up()
        return True

    async def claim(self, editor: Editor) -> None:
        """Make `editor` the one that debugs, and bring the processes in.

        Raises:
            NotPossible: another one is attached, debugging is off, or nothing can be debugged.
        """
        if not self._settings.debug:
            raise NotPossible("Debugging is off in this container (DEVKIT_DEBUG=0).")
        await self._wait_for_turn()
        fleet = self.fleet
        fleet.bring_in(editor)
        if self.on_wanted is not None:
            self.on_wanted(True)
        await self.fleet.until(
            lambda: bool(fleet.attached_processes or fleet.undebuggable), ATTACH_S
        )
        if not fleet.attached_processes:
            await self.release(editor)
            text = "No process of the service could be debugged in time."
            raise NotPossible(fleet.undebuggable or text)
        await self.fleet.until(lambda: fleet.is_complete, OTHERS_S)

    async def release(self, editor: Editor) -> None:
        """The editor is gone, or wants to be: every process runs on without it."""
        if self.fleet.editor is editor and not self.fleet.is_detaching:
            await self.fleet.let_go()
            if self.on_wanted is not None:
                self.on_wanted(False)

    async def _wait_for_turn(self) -> None:
        """Wait for a check of devkit's and for a session that is ending, not for an editor."""
        # Two connections through a proxy: the end of one may come after the start of the next.
        if not self._is_passing:
            await self.fleet.until(lambda: self.fleet.editor is None, LEAVE_S)
        await self.fleet.until(lambda: self.fleet.editor is None or not self._is_passing, ATTACH_S)
        if self.fleet.editor is not None:
            since = time.strftime("%H:%M:%S", time.gmtime(self.fleet.editor.since))
            text = "{} is already attached, since {} UTC; end that session first (Shift+F5 there)."
            raise NotPossible(text.format(self.fleet.editor.name, since))

    @property
    def _is_passing(self) -> bool:
        editor = self.fleet.editor
        has_left = editor is not None and editor.has_left
        return has_left or self.fleet.is_detaching or self.is_checked
