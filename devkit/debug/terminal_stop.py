"""Step 3, attach: a stop under the debugger as one reads it: source, stack, local variables.

What comes from the container is hostile: of local files only those of the service are read, and
what is shown is harmless for a terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from devkit.debug import dap
from devkit.output import sanitized

_AROUND = 2
_MOST_VARIABLES = 40
_LONGEST_VALUE = 200
# How pydevd groups what one seldom wants to see.
_GROUPS = {
    "special variables",
    "function variables",
    "class variables",
    "protected variables",
}

Style = Callable[[str, str], str]


@dataclass(frozen=True)
class Line:
    """A line of source."""

    line: int
    text: str


@dataclass(frozen=True)
class At:
    """A place in the stack; `file` is local where the service's mappings cover it."""

    function: str
    file: str
    line: int


@dataclass(frozen=True)
class Stop:
    """What is seen at a stop."""

    reason: str
    file: str
    line: int
    function: str
    source: tuple[Line, ...]
    stack: tuple[At, ...]
    locals: dict[str, str]


class View:
    """Shows places; `root` is the workspace, `folders` are those whose files may be read."""

    def __init__(self, root: Path, folders: Sequence[Path], style: Style) -> None:
        self._root = root
        self._folders = folders
        self._style = style

    def source(self, at: At, around: int = _AROUND) -> tuple[Line, ...]:
        """The lines around a place; none where the file is not the service's."""
        path = Path(at.file)
        try:
            real = path.resolve()
            if not any(real.is_relative_to(folder.resolve()) for folder in self._folders):
                return ()
            lines = real.read_text("utf-8", "replace").splitlines()
        except (OSError, ValueError):
            return ()
        first = max(at.line - around, 1)
        return tuple(
            Line(number, text)
            for number, text in enumerate(lines[first - 1 : at.line + around], first)
        )

    def place(self, at: At) -> str:
        """A place as "file:line in function()"."""
        path = Path(at.file)
        inside = path.is_relative_to(self._root)
        name = path.relative_to(self._root).as_posix() if inside else at.file
        return sanitized(f"{name}:{at.line} in {at.function}").replace("\n", " ")

    def listing(self, at: At, around: int = _AROUND) -> str:
        """The source around a place, the line itself marked."""
        found = self.source(at, around)
        if not found:
            return "    (no source of it in this workspace)\n"
        return "".join(self._numbered(item, is_here=item.line == at.line) for item in found)

    def stack(self, frames: Sequence[At], here: int) -> str:
        """All frames, innermost first, the one looked at marked."""
        return "".join(
            f"  {'>' if number == here else ' '} {self.place(at)}\n"
            for number, at in enumerate(frames)
        )

    def variables(self, values: dict[str, str]) -> str:
        """Names and values, long ones cut."""
        lines = [f"    {_short(f'{k} = {v}')}\n" for k, v in [*values.items()][:_MOST_VARIABLES]]
        rest = len(values) - _MOST_VARIABLES
        return "".join(lines) + (f"    ... and {rest} more\n" if rest > 0 else "")

    def stop(self, stop: Stop) -> str:
        """All that is seen at a stop."""
        here = At(stop.function, stop.file, stop.line)
        head = self._style(f"{self.place(here)}  ({sanitized(stop.reason)})", "bold")
        parts = [f"{head}\n", self.listing(here), "  stack\n", self.stack(stop.stack, 0)]
        if stop.locals:
            parts += ["  locals\n", self.variables(stop.locals)]
        return "".join(parts)

    def _numbered(self, item: Line, *, is_here: bool) -> str:
        text = f"{'->' if is_here else '  '} {item.line:>4}  {sanitized(item.text)}"
        return (self._style(text, "yellow") if is_here else text) + "\n"


def places(frames: Sequence[dap.Frame]) -> tuple[At, ...]:
    """The stack in our words; a line that is no number is 0."""
    return tuple(
        At(str(f.name), str(f.path), f.line if isinstance(f.line, int) else 0) for f in frames
    )


def local_variables(session: dap.Session, frame: int) -> dict[str, str]:
    """The local variables of a frame."""
    scopes = session.scopes(frame)
    reference = scopes.get("Locals") or next(iter(scopes.values()), 0)
    found = session.variables(reference) if reference else {}
    return {str(k): str(v) for k, v in found.items() if k not in _GROUPS}


def _short(text: str) -> str:
    text = sanitized(text).replace("\n", "\\n")
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]} ..."
