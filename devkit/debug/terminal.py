"""Step 3, attach: a debugger for a terminal: waits for stops, shows them, and takes commands.

Stops come from an attached session, commands a line each from anywhere. Nothing is read while the
program runs, so that a pipe may hold the commands for stops to come.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from devkit.debug import dap
from devkit.debug.terminal_stop import At, Stop, View, local_variables, places
from devkit.errors import DebuggerError, DebuggerUnreachable
from devkit.output import sanitized

HELP = """\
n next      run to the next line          s step    go into the call
r return    run until this call returns   c continue   run until the next stop
p EXPR      evaluate Python               l list    source around the line
u up        look at the caller            d down    and back
w where     the stack                     q quit    detach; the request goes on
An empty line does the last one again.
"""
_NAMES = {
    "n": "next",
    "s": "step",
    "r": "return",
    "c": "continue",
    "cont": "continue",
    "p": "print",
    "u": "up",
    "d": "down",
    "l": "list",
    "w": "where",
    "q": "quit",
    "bt": "where",
    "h": "help",
    "?": "help",
    "exit": "quit",
}
_STEPS = {"next": "next", "step": "stepIn", "return": "stepOut", "continue": "continue"}
# A step that ends the request brings no stop: after this long it is said that we wait.
_STEP_S = 0.5
# How often words of the debugger's own, such as a condition that raises, are looked for.
_WORDS_S = 1.0
_FOREVER_S = 10.0**7
_LIST_AROUND = 5
_OVER = "This stop is over: its process was reloaded or has ended."


class Terminal:
    """The dialog.

    `read` returns a line or None at the end; `show` takes text, `note` what is said in passing,
    `on_stop` each stop.
    """

    def __init__(
        self,
        session: dap.Session,
        view: View,
        *,
        read: Callable[[], str | None],
        show: Callable[[str], None],
        note: Callable[[str], None],
        on_stop: Callable[[Stop], None],
    ) -> None:
        self._session = session
        self._view = view
        self._read = read
        self._show = show
        self._note = note
        self._on_stop = on_stop
        self._last = ""
        self._thread = 0
        self._at: dap.Session = session
        self._frames: list[dap.Frame] = []
        self._here = 0

    def run(self, *, once: bool = False) -> None:
        """Go from stop to stop until told to quit; with `once`, see one and return."""
        is_step = False
        while True:
            event = self._awaited(is_step=is_step)
            try:
                stop = self._seen(event)
            except DebuggerUnreachable:
                raise
            except DebuggerError:
                self._note(_OVER)
                is_step = False
                continue
            self._on_stop(stop)
            if once:
                return
            then = self._commanded()
            if then is None:
                return
            is_step = then in ("next", "step", "return")

    def _awaited(self, *, is_step: bool) -> dap.Event:
        """Wait for the next stop: after a step, first for one of the same thread."""
        if is_step:
            with suppress(TimeoutError):
                return self._session.wait_for(
                    "stopped",
                    timeout_s=_STEP_S,
                    where=lambda event: event.body.get("threadId") == self._thread,
                )
        self._note("waiting: send a request (Ctrl-C ends)")
        while True:
            with suppress(TimeoutError):
                return self._session.wait_for("stopped", timeout_s=_WORDS_S)
            for words in outputs(self._session):
                self._note(words)

    def _seen(self, event: dap.Event) -> Stop:
        self._at, self._here = event.session, 0
        self._thread = int(event.body.get("threadId") or 0)
        self._frames = self._at.stack(self._thread)
        if not self._frames:
            raise DebuggerError("The thread has no frames.")
        stack = places(self._frames)
        at = stack[0]
        return Stop(
            reason=str(event.body.get("reason")),
            file=at.file,
            line=at.line,
            function=at.function,
            source=self._view.source(at),
            stack=stack,
            locals=local_variables(self._at, self._frames[0].id),
        )

    def _commanded(self) -> str | None:
        """Take commands until one lets the program go on; None: it is left."""
        while (line := self._read()) is not None:
            self._last = line.strip() or self._last
            word, _, rest = self._last.partition(" ")
            name = _NAMES.get(word, word)
            if name == "quit":
                return None
            if self._is_over():
                self._note(_OVER)
                return "continue"
            try:
                if name in _STEPS:
                    self._at.request(_STEPS[name], {"threadId": self._thread})
                    return name
                self._looked(name, rest.strip())
            except DebuggerUnreachable:
                if name != "print":  # an expression may take longer than we wait
                    raise
                self._note("No answer in time; the expression may still run.")
            except DebuggerError as error:
                self._show(f"{_last_line(error.message)}\n")
        return None

    def _looked(self, name: str, rest: str) -> None:
        """Do what leaves the program where it is."""
        if name == "print":
            frame = self._frames[self._here].id
            said = self._at.evaluate(rest, frame) if rest else "p needs an expression"
            self._show(f"{sanitized(said)}\n")
        elif name in ("up", "down"):
            here = self._here + (1 if name == "up" else -1)
            is_there = 0 <= here < len(self._frames)
            self._here = here if is_there else self._here
            self._show(self._placed() if is_there else f"There is no frame further {name}.\n")
        elif name == "list":
            self._show(self._view.listing(self._place, _LIST_AROUND))
        elif name == "where":
            self._show(self._view.stack(places(self._frames), self._here))
        elif name == "help":
            self._show(HELP)
        elif name:
            self._show(f"There is no command {sanitized(name)!r}; help lists them.\n")

    @property
    def _place(self) -> At:
        return places(self._frames)[self._here]

    def _placed(self) -> str:
        values = local_variables(self._at, self._frames[self._here].id)
        place = f"{self._view.place(self._place)}\n"
        return place + self._view.listing(self._place) + self._view.variables(values)

    def _is_over(self) -> bool:
        """Whether the thread has ended while one looked at it, as a reload ends it."""
        with suppress(TimeoutError):
            self._session.wait_for(
                "thread",
                timeout_s=0.01,
                where=lambda event: (
                    event.body.get("reason") == "exited"
                    and event.body.get("threadId") == self._thread
                ),
            )
            return True
        return False


def logged(session: dap.Session, show: Callable[[str], None], *, once: bool = False) -> None:
    """Show what logpoints say, until interrupted; with `once`, the first of it."""
    while True:
        event = session.wait_for("output", timeout_s=_FOREVER_S)
        if text := _words(event):
            show(text)
            if once:
                return


def outputs(session: dap.Session) -> list[str]:
    """What the debugger has said so far."""
    found = []
    with suppress(TimeoutError):
        while True:
            found.append(_words(session.wait_for("output", timeout_s=0)))
    return [text for text in found if text]


def _words(event: dap.Event) -> str:
    return str(event.body.get("output") or "").rstrip("\n")


def _last_line(text: str) -> str:
    lines = sanitized(text).strip().splitlines()
    return lines[-1] if lines else "refused"
