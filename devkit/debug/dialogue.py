"""Step 3, attach: requests and answers over debug adapter connections that belong together.

Blocking and without threads: whoever waits reads for the whole family, so that a child session can
be set up while its parent waits for an answer.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from devkit.debug.wire import USABLE_AGAIN, Channel, Message
from devkit.errors import AlreadyAttached, DebuggerError, DebuggerUnreachable

T = TypeVar("T")

# How long a peer may take to close after "disconnect"; it has nothing left to do then.
CLOSING_S = 1.0


class Dialogue:
    """One connection; `family` is shared by those that are read together, the first is its root."""

    def __init__(
        self,
        channel: Channel,
        family: list[Dialogue],
        timeout_s: float,
        *,
        on_event: Callable[[str, Message], None],
        on_request: Callable[[Message], None],
        on_end: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._family = family
        self._timeout_s = timeout_s
        self._on_event = on_event
        self._on_request = on_request
        self._on_end = on_end
        self._answers: dict[str, Message] = {}
        self._is_open = True
        self._is_leaving = False
        family.append(self)

    def request(self, command: str, arguments: Mapping[str, Any]) -> Message:
        """Send a request and return its answer's body.

        Raises:
            DebuggerError: refused.
            DebuggerUnreachable: not answered in time, or the peer is gone.
        """
        return self.answer(command, self.send(command, arguments))

    def send(self, command: str, arguments: Mapping[str, Any]) -> int:
        """Send a request; `answer` waits for what comes of it."""
        return self._channel.request(command, arguments)

    def answer(self, command: str, seq: int) -> Message:
        """Wait for the answer to request `seq` and return its body; raises as `request` does."""
        return self.awaited(command, lambda: self.answered(command, seq))

    def answered(self, command: str, seq: int) -> Message | None:
        """The answer's body if it has come; raises DebuggerError if it is a refusal."""
        self.check(command, seq)
        answer = self._answers.pop(str(seq), None)
        if answer is None:
            return None
        body = answer.get("body")
        return body if isinstance(body, dict) else {}

    def check(self, command: str, seq: int) -> None:
        """Raise DebuggerError if request `seq` has been refused so far."""
        answer = self._answers.get(str(seq))
        if answer is not None and not answer.get("success"):
            raise _refusal(command, self._answers.pop(str(seq)))

    def awaited(self, command: str, wanted: Callable[[], T | None]) -> T:
        """Wait for what `command` brings about."""
        try:
            return self.until(wanted, self._timeout_s)
        except TimeoutError as error:
            raise DebuggerUnreachable(
                f"The debugger at {self._channel.peer} did not answer {command} "
                f"within {self._timeout_s:g} s.",
                hint=USABLE_AGAIN,
            ) from error

    def until(self, wanted: Callable[[], T | None], timeout_s: float) -> T:
        """Read until there is what is wanted; with 0 s only what has been read already counts.

        Raises:
            TimeoutError: it did not come.
        """
        deadline = time.monotonic() + timeout_s
        while (found := wanted()) is None:
            if not self._is_open:
                raise DebuggerUnreachable(
                    f"The debug session at {self._channel.peer} has ended.", hint=USABLE_AGAIN
                )
            remaining = deadline - time.monotonic()
            if remaining <= 0 < timeout_s:
                raise TimeoutError(f"not within {timeout_s:g} s")
            if any(member._handle_buffered() for member in list(self._family)):
                continue
            members = {member._channel: member for member in self._family}
            ready, _, _ = select.select(list(members), [], [], max(remaining, 0))
            if not ready or remaining <= 0:
                raise TimeoutError(f"not within {timeout_s:g} s")
            for channel in ready:
                members[channel]._fill()
        return found

    def listed(
        self, command: str, arguments: Mapping[str, Any], key: str, keys: tuple[str, ...]
    ) -> list[Message]:
        """Send a request; return its answer's list under `key`; each item has all `keys`."""
        return self.items(command, self.request(command, arguments), key, keys)

    def items(self, command: str, body: Message, key: str, keys: tuple[str, ...]) -> list[Message]:
        """The list under `key` of an answer's body; DebuggerUnreachable if it is not as said."""
        found = body.get(key)
        if isinstance(found, list) and all(
            isinstance(item, dict) and all(k in item for k in keys) for item in found
        ):
            return found
        raise DebuggerUnreachable(
            f"The debugger at {self._channel.peer} answered {command} with nonsense.",
            hint=USABLE_AGAIN,
        )

    def respond(self, request: Message, refusal: str = "") -> None:
        """Answer a request of the peer's."""
        answer = {
            "type": "response",
            "request_seq": request.get("seq"),
            "command": request.get("command"),
            "success": not refusal,
        }
        self._channel.send({**answer, "message": refusal} if refusal else answer)

    def leave(self) -> bool:
        """Disconnect, once, and let the peer close; return whether it has answered.

        debugpy ends its adapter on a second "disconnect". It stops listening when it is dropped
        before the answer, or when the next client comes before it has closed this connection.
        """
        if self._is_leaving:
            return False
        self._is_leaving = True
        try:
            self.request("disconnect", {"terminateDebuggee": False})
            self._channel.drain(timeout_s=CLOSING_S)
        except DebuggerError:
            return False
        finally:
            self._close()
        return True

    def _close(self) -> None:
        if not self._is_open:
            return
        self._is_open, self._is_leaving = False, True
        self._family.remove(self)
        self._channel.close()
        self._on_end()

    def _handle_buffered(self) -> bool:
        with self._unless_child():
            message = self._channel.buffered()
            if message is not None:
                self._handle(message)
            return message is not None
        return True

    def _fill(self) -> None:
        with self._unless_child():
            self._channel.fill(timeout_s=self._timeout_s)

    @contextmanager
    def _unless_child(self) -> Iterator[None]:
        """A child that is gone ends its own session; the others go on."""
        try:
            yield
        except DebuggerUnreachable:
            if self is self._family[0]:
                raise
            self._close()

    def _handle(self, message: Message) -> None:
        kind = message.get("type")
        if kind == "response":
            self._answers[str(message.get("request_seq"))] = message
        elif kind == "event":
            body = message.get("body")
            self._on_event(str(message.get("event")), body if isinstance(body, dict) else {})
        elif kind == "request":
            self._on_request(message)


def _refusal(command: str, answer: Message) -> DebuggerError:
    text = str(answer.get("message") or "no reason given")
    # debugpy: "Server[pid=1] is already being debugged."; devkit's multiplexer names the client.
    if command == "attach" and "already" in text:
        return AlreadyAttached(
            text, hint="Detach the other client (Shift+F5 in VS Code), then try again."
        )
    return DebuggerError(f"The debugger refused {command}: {text}")
