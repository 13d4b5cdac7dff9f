"""Doctor: a service that is thrown away goes the whole way, through what a user's commands call."""

from __future__ import annotations

import json
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from devkit import config, deleting, interrupt
from devkit.debug import dap, proof
from devkit.diagnose.finding import Finding
from devkit.engine import Progress
from devkit.errors import DebuggerError, DevkitError, Interrupted, NotReady
from devkit.launch import jsonc_tree
from devkit.packaging import BuildOptions
from devkit.results import Debugging
from devkit.session import Session
from devkit.start import StartOptions

_PATIENCE_S = 30
_SCORE = """\
import json

VERSION = 1


def init():
    pass


def run(raw_data):
    total = sum(json.loads(raw_data)["data"])
    return {"version": VERSION, "total": total}
"""
_LINE = 1 + _SCORE.splitlines().index('    return {"version": VERSION, "total": total}')
_BODY = b'{"data": [1, 2, 3]}'
_INSIDE = (
    "import sys; p = sys.argv[1]; t = open(p).read(); open(p, 'w').write(t.replace('= 2', '= 3'))"
)


@dataclass(frozen=True)
class Step:
    """One step, what was seen, and how long it took."""

    name: str
    ok: bool
    seconds: float
    text: str

    def __str__(self) -> str:
        return f"{'✓' if self.ok else '✗'} {self.name:<18} {self.seconds:6.2f} s  {self.text}"


@dataclass
class Way:
    """The steps so far, and what is wrong with the last."""

    steps: list[Step] = field(default_factory=list)
    finding: Finding | None = None

    @contextmanager
    def step(self, name: str, show: Callable[[Step], None]) -> Iterator[list[str]]:
        """Time a step; what is put into the list is its text."""
        began, said = time.monotonic(), list[str]()
        try:
            yield said
        except BaseException as error:
            self._ended(Step(name, False, time.monotonic() - began, str(error)), show)
            # What comes after the first failure may be its consequence.
            self.finding = self.finding or _failed(name, error)
            raise
        self._ended(Step(name, True, time.monotonic() - began, ", ".join(said)), show)

    def _ended(self, step: Step, show: Callable[[Step], None]) -> None:
        self.steps.append(step)
        show(step)


def went(
    choice: Mapping[str, str | None],
    *,
    base: str | None,
    progress: Progress,
    show: Callable[[Step], None],
) -> Way:
    """Go the whole way; nothing of it is left, also after a Ctrl-C.

    `choice` are the options that find the engine, `base` the base image, None for the default.
    """
    way = Way()
    try:
        with _thrown_away(choice, base, progress) as tried:
            try:
                _Walk(tried, way, show).all()
            finally:
                with way.step("clean up", show) as said, interrupt.held():
                    _removed(tried)
                    said.append("nothing of it is left")
    except Interrupted:
        raise
    except (DevkitError, TimeoutError, OSError) as error:
        # Before the first step, nobody has said it yet.
        way.finding = way.finding or _failed("start", error)
    return way


class _Walk:
    def __init__(self, session: Session, way: Way, show: Callable[[Step], None]) -> None:
        self._session = session
        self._script = session.workspace.root / "score.py"
        self._way = way
        self._show = show

    def _step(self, name: str) -> AbstractContextManager[list[str]]:
        return self._way.step(name, self._show)

    def all(self) -> None:
        session = self._session
        with self._step("package") as said:
            said.append(session.package(BuildOptions()).image)
        with self._step("run, attach") as said:
            made = session.debug(BuildOptions(), StartOptions())
            if made.error:
                raise made.error
            said.append(f"{made.running.container} at {made.running.score_uri}")
        with self._step("request") as said:
            said.append(str(self._answer(1)))
        with self._step("breakpoint") as said:
            said.append(self._stopped(made))
        with self._step("edit, reload") as said:
            self._save("VERSION = 1", "VERSION = 2")
            said.append(str(self._answer(2)))
        if session.engine.name != "process":  # there, both are the same file
            with self._step("edit inside") as said:
                said.append(self._edited_inside(made))

    def _save(self, old: str, new: str) -> None:
        self._script.write_text(self._script.read_text("utf-8").replace(old, new), "utf-8")
        if self._session.engine.name != "process":
            self._session.syncing().ask("flush")

    def _answer(self, version: int) -> Any:
        """Ask until the answer is that version's."""
        until = time.monotonic() + _PATIENCE_S
        service = self._session.service()
        while True:
            answer = service.invoke(_BODY, headers=["Content-Type: application/json"])
            with suppress(ValueError, KeyError, TypeError):
                found = json.loads(answer.text())
                if answer.ok and found["version"] == version:
                    return found
            if time.monotonic() > until:
                said = f"The service still answers {answer.status}: {answer.text()[:200]}"
                raise NotReady(said, hint="Look at the events of this file system: `devkit doctor`")

    def _stopped(self, made: Debugging) -> str:
        """Stop at a line of run(), look at a variable, go on."""
        assert made.launch_json is not None
        assert made.running.debug is not None
        root = self._session.workspace.root
        launch = jsonc_tree.data(made.launch_json.read_text("utf-8"))
        entry = next(e for e in launch["configurations"] if e["type"] == "debugpy")
        address = made.running.debug
        wanted = {str(self._script): [dap.Breakpoint(_LINE)]}
        with (
            ThreadPoolExecutor(1) as beside,
            dap.Session.attach(
                address.host,
                address.port,
                proof.filled(entry, root),
                breakpoints=wanted,
                client="doctor",
            ) as debugger,
        ):
            asked = beside.submit(self._answer, 1)
            event = debugger.wait_for("stopped", timeout_s=_PATIENCE_S)
            thread = int(event.body["threadId"])
            frame = event.session.stack(thread)[0]
            total = event.session.evaluate("total", frame.id)
            event.session.resume(thread)
            asked.result(_PATIENCE_S)
        if (Path(frame.path), frame.line, total) != (self._script, _LINE, "6"):
            raise DebuggerError(f"It stopped at {frame.path}:{frame.line}, where total is {total}.")
        return f"stopped in {self._script.name}:{frame.line}, total = {total}"

    def _edited_inside(self, made: Debugging) -> str:
        """An edit in the container comes to the workspace, and is served."""
        engine, container = self._session.engine, self._session.service().container
        remote = PurePosixPath(made.mappings[0].remote) / self._script.name
        stream = engine.exec(container.id, ["python3", "-c", _INSIDE, str(remote)])
        try:
            if stream.wait():
                raise NotReady(f"The edit failed: {stream.stderr().decode(errors='replace')}")
        finally:
            stream.close()
        found = self._answer(3)
        self._session.syncing().ask("flush")
        if "VERSION = 3" not in self._script.read_text("utf-8"):
            raise NotReady("The edit did not come to the workspace.", hint="`devkit sync status`")
        return f"{found}, and the workspace has it"


@contextmanager
def _thrown_away(
    choice: Mapping[str, str | None], base: str | None, progress: Progress
) -> Iterator[Session]:
    """A folder with a service in it, and a session for it."""
    name = f"doctor-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="devkit-doctor-") as folder:
        root = Path(folder).resolve()
        (root / "score.py").write_text(_SCORE, "utf-8")
        values = {"service": name, "image.tag": f"devkit-{name}:1", "image.base": base}
        values |= {"ports.score": "auto", "ports.debug": "auto"}
        given = {key: value for key, value in values.items() if value}
        # What this shell sets for another workspace is not meant here.
        workspace = config.load(root, overrides=given, environ={})
        engine, host, context = (choice.get(key) for key in ("engine", "host", "context"))
        with Session(
            workspace, progress=progress, kind=engine, host=host, context=context
        ) as session:
            yield session


def _removed(session: Session) -> None:
    """Take container, network, sync and image away."""
    if "engine" not in session.__dict__:
        return  # it was never connected to
    deleting.delete(session, deleting.planned(session, with_launch=False))
    session.engine.remove_image(session.workspace.config.image.tag)


def _failed(name: str, error: BaseException) -> Finding:
    message = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
    hint = getattr(error, "hint", None) or "`devkit doctor --bundle FILE` makes a bug report of it."
    title = f"The end-to-end test failed in the step: {name}."
    return Finding(
        f"e2e-{name.replace(', ', '-').replace(' ', '-')}", "error", title, message, hint
    )
