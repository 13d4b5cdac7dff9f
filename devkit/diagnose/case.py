"""Step 7, diagnose: what there is to look at, each part when it is first asked for.

A part that is not there, or cannot be had, is None or empty: a service may never have started.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from devkit import contract, labels, recorded
from devkit.config import Workspace
from devkit.diagnose import raised, sources
from devkit.diagnose.places import Places
from devkit.diagnose.raised import Raised
from devkit.engine import Container, Engine, Placement
from devkit.errors import ConfigError, DevkitError
from devkit.package import environment, models
from devkit.package.environment import Environment
from devkit.package.requirements import Line
from devkit.request import Answer
from devkit.running import RunningService, found, placements

if TYPE_CHECKING:
    from devkit.service import Status

_LOG_LINES = 2000
MOST_LOG = 1 << 20
"""Of a log so many characters are looked at, the newest."""
_MOST_LISTED = 500
_VERSION_OF = ("python", "-c", "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))")
_VERSION = re.compile(r"\d[\w.+!-]*", re.ASCII)
_MOST_VERSION = 100


@dataclass(frozen=True)
class Exchange:
    """A request that was sent, and what came back; `content_type` is what it said its body is.

    `time` is when, of one that was recorded.
    """

    answer: Answer
    sent: bytes | None = None
    content_type: str | None = None
    url: str = ""
    time: float | None = None


@dataclass
class Case:
    """A service, or what is known of one.

    Args:
        workspace: where its files are.
        connect: gives the engine; None where none is to be asked.
        log_text: a log from elsewhere, which stands for the container's.
        exchanges: requests and their answers.
        unanswered: why a request had no answer.
        code: a status code that somebody saw.
        asks_index: whether the package index may be asked, which takes seconds.
    """

    workspace: Workspace
    connect: Callable[[], Engine] | None = None
    log_text: str | None = None
    exchanges: tuple[Exchange, ...] = ()
    unanswered: DevkitError | None = None
    code: int | None = None
    asks_index: bool = True
    engine_error: DevkitError | None = field(default=None, init=False)

    @cached_property
    def environment(self) -> Environment | None:
        """What the environment file asks for."""
        try:
            return environment.read(self.workspace)
        except ConfigError:
            return None

    @cached_property
    def placed(self) -> tuple[Placement, ...]:
        """Where each model stands in the container."""
        try:
            return models.placements(self.workspace.config.models, self.workspace.root)
        except ConfigError:
            return ()

    @cached_property
    def script(self) -> sources.Script | None:
        """The entry script."""
        path = self.workspace.source / self.workspace.config.entry_script
        return sources.read(path, self.shown(path))

    @cached_property
    def scripts(self) -> tuple[sources.Script, ...]:
        """The entry script and what it imports of the workspace."""
        if self.script is None:
            return ()
        return sources.reachable(self.script, self.workspace.root, self.folders)

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders in which the container looks for the user's modules."""
        return (self.workspace.source,)

    @cached_property
    def engine(self) -> Engine | None:
        """The engine; why it cannot be asked is `engine_error`."""
        if self.connect is None:
            return None
        try:
            engine = self.connect()
            engine.info()
        except DevkitError as error:
            self.engine_error = error
            return None
        return engine

    @cached_property
    def running(self) -> RunningService | None:
        """The service's container, running or not."""
        if self.log_text is not None or self.engine is None:
            return None
        try:
            there = found(self.engine, self.workspace)
            labels.workspace(there.container)
            labels.layout(there.container)
        except DevkitError:
            return None
        return there

    def installed(self, package: str) -> str | None:
        """Return the version of a package in the container; None where it does not run."""
        if self.running is None or self.status is None:
            return None
        try:
            stream = self.running.engine.exec(self.running.container.id, [*_VERSION_OF, package])
            try:
                said = stream.read(_MOST_VERSION).decode("utf-8", "replace").strip()
            finally:
                stream.close()
        except DevkitError:
            return None
        return said if _VERSION.fullmatch(said) else None

    @property
    def container(self) -> Container | None:
        """The service's container as the engine sees it."""
        return self.running.container if self.running else None

    @cached_property
    def status(self) -> Status | None:
        """What the runtime says; None where it does not answer."""
        return self.running.status().runtime if self.running else None

    @cached_property
    def recorded(self) -> Exchange | None:
        """The last request that the runtime kept, if it failed; with `code`, the last such one."""
        if self.running is None or self.running.debug is None or self.exchanges:
            return None
        try:
            kept = recorded.entries(self.running)
            if self.code is not None:
                kept = [entry for entry in kept if entry.status == self.code]
            if not kept or not kept[-1].is_failing:
                return None
            found = recorded.request(self.running, str(kept[-1].id))
        except DevkitError:
            return None
        entry = found.entry
        answer = Answer(entry.status or 0, (), found.answer, (entry.ms or 0) / 1000)
        sent_as = {name.lower(): value for name, value in found.headers}.get("content-type")
        return Exchange(answer, found.body, sent_as, f"request {entry.id}", entry.time)

    @cached_property
    def log(self) -> str:
        """The end of the log: the one that was given, else the container's."""
        if self.log_text is not None:
            return self.log_text[-MOST_LOG:]
        if self.running is None:
            return ""
        try:
            return "".join(self.running.logs(tail=_LOG_LINES))[-MOST_LOG:]
        except DevkitError:
            return ""

    @cached_property
    def places(self) -> Places:
        """Finds the workspace's file for a path of the container."""
        known = self.running.mappings if self.running else placements(self.workspace.root, ())
        return Places(self.workspace, (*known, *self._planned))

    @property
    def _planned(self) -> tuple[Placement, ...]:
        source = self.workspace.source
        return (Placement(source, contract.APP_ROOT / source.name), *self.placed)

    @cached_property
    def raised(self) -> tuple[Raised, ...]:
        """What the log says was raised, newest first, each of the user's frames once.

        A frame whose line is another one by now says nothing: it was corrected since.
        """
        seen = dict[tuple[str, str, int | None], Raised]()
        for chain in reversed(raised.chains(self.log)):
            one = self.ours(chain)
            spot = self.spot(one)
            if spot is None or not spot.is_stale:
                key = (one.kind, spot.file if spot else str(one), spot.line if spot else None)
                seen.setdefault(key, one)
        return tuple(seen.values())

    def ours(self, chain: list[Raised]) -> Raised:
        """Return of several exceptions the last one that the user's code raised."""
        with_ours = [one for one in chain if self.spot(one)]
        return (with_ours or chain)[-1 if with_ours else 0]

    def spot(self, one: Raised) -> Spot | None:
        """Return the user's innermost line of an exception."""
        for frame in reversed(one.frames):
            path = self.places.local(frame.file)
            if path is not None:
                text = _text(path, frame.line)
                # A frame of several lines is shown by its first one only, or by another.
                is_stale = bool(frame.text) and (text or "").strip() != frame.text
                line = None if text is None else frame.line
                return Spot(self.shown(path), line, _phase(one), is_stale)
        return None

    def shown(self, path: Path) -> str:
        """Return a path as findings name it."""
        root = self.workspace.root
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

    def line(self, name: str) -> Line | None:
        """Return the environment's line that asks for a package (its canonical name)."""
        lines = self.environment.wants.lines if self.environment else ()
        return next((line for line in lines if line.name == name), None)

    @cached_property
    def model_files(self) -> tuple[PurePosixPath, ...]:
        """The files below azureml-models, as they stand in the container."""
        return tuple(self._model_files())[:_MOST_LISTED]

    def _model_files(self) -> Iterator[PurePosixPath]:
        for item in self.placed:
            if item.local.is_file():
                yield item.remote
                continue
            inside = (path for path in item.local.rglob("*") if path.is_file())
            for _, path in zip(range(_MOST_LISTED), inside, strict=False):
                yield item.remote / path.relative_to(item.local).as_posix()


@dataclass(frozen=True)
class Spot:
    """A line of the user's, and in what it ran: "import", "init" or "run".

    `line` is None where the file has no such line.
    """

    file: str
    line: int | None
    phase: str
    is_stale: bool = False


def place(text: str) -> tuple[str | None, int | None]:
    """Read "file:line" at the start of a text; (None, None) where there is none."""
    match = re.match(r"([^\s:][^:\n]{0,300}?):(\d{1,7})\b", text)
    return (match[1], int(match[2])) if match else (None, None)


def _phase(one: Raised) -> str:
    functions = {frame.function for frame in one.frames}
    if "run" in functions or "invoke_run" in functions:
        return "run"
    return "init" if "init" in functions or "invoke_init" in functions else "import"


def _text(path: Path, number: int) -> str | None:
    """A line of a file; None where it has no such line."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return next((text for n, text in enumerate(file, 1) if n == number), None)
    except OSError:
        return None
