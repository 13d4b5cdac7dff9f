"""What a command shows: the result on stdout (text, or one JSON object), all else on stderr."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from rich.status import Status

# Colour is all that a terminal is let do by text from a container; `sanitized` drops it.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# C0 but tab and newline, DEL, C1, the letters that turn the direction of text around them, and
# halves of a character, which no stream takes.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def sanitized(text: str) -> str:
    r"""Make text from outside harmless for a terminal: "\x1b]0;title" is shown, not obeyed."""
    return _CONTROL.sub(_escaped, _COLOUR.sub("", text.replace("\r\n", "\n")))


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def as_json_line(value: Any) -> str:
    """Write JSON on one line, letters as they are, with what a terminal would obey escaped."""
    text = json.dumps(jsonable(value), ensure_ascii=False)
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"


def wants_colour(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether to colour what goes to `stream`: NO_COLOR, then FORCE_COLOR, then what it is."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return is_live(stream, environ)


def is_live(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether someone watches `stream` on a terminal that can redraw a line."""
    in_ci = environ.get("CI", "") not in ("", "0", "false")
    return stream.isatty() and environ.get("TERM") != "dumb" and not in_ci


class Detail(str):
    """A line of a tool that devkit runs, as a builder: where no line is redrawn, only -v shows it.

    A build prints hundreds; a failure has the last of them in its own words.
    """

    __slots__ = ()


class Failure(Protocol):
    """What is shown of an error; see devkit/errors.py."""

    message: str
    hint: str | None

    @property
    def code(self) -> str:
        """The stable name of its kind."""


@dataclass
class Output:
    """Where a command's words go. `as_json`: stdout carries exactly one object and nothing else."""

    as_json: bool = False
    colour: bool | None = None
    verbosity: int = 0
    _has_result: bool = False

    def result(self, value: Any, text: str, *, ok: bool = True) -> None:
        """Show what the command is about: `value` as JSON, else `text`, made harmless."""
        self._has_result = True
        if self.as_json:
            sys.stdout.write(as_json_line({"ok": ok, **jsonable(value)}))
        elif text:
            text = sanitized(text)
            sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()

    def failure(self, error: Failure) -> None:
        """Show an error: the sentence and what to do about it. After a result it is no result."""
        if self.as_json and not self._has_result:
            what = {"code": error.code, "message": error.message, "hint": error.hint}
            sys.stdout.write(as_json_line({"ok": False, "error": what}))
            sys.stdout.flush()
            return
        # Who pressed Ctrl-C knows why it ended: that is no error of anything.
        label = "" if error.code == "Interrupted" else f"{self.styled('Error:', 'red')} "
        sys.stderr.write(f"{label}{sanitized(error.message)}\n")
        if error.hint:
            sys.stderr.write(f"{self.styled('Hint:', 'cyan')}  {sanitized(error.hint)}\n")

    def note(self, text: str) -> None:
        """Say something in passing, on stderr; `-q` leaves it out."""
        if self.verbosity >= 0:
            sys.stderr.write(sanitized(text) + "\n")
            sys.stderr.flush()

    def log(self, text: str) -> None:
        """Show lines of the service's log, on stderr where stdout is for a result."""
        stream = sys.stderr if self.as_json else sys.stdout
        stream.write(sanitized(text))
        stream.flush()

    def styled(self, text: str, style: str, *, stream: TextIO | None = None) -> str:
        """Return `text` in a style where colour is wanted."""
        wanted = wants_colour(stream or sys.stderr) if self.colour is None else self.colour
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if wanted else text

    @contextmanager
    def progress(self, title: str, *, live: bool = True) -> Iterator[Progress]:
        """Show long work: one moving line on a terminal; elsewhere a line for each step of ours."""
        if live and is_live(sys.stderr) and self.verbosity == 0:
            from rich.console import Console  # 50 ms that only a terminal needs

            plain = self.colour is False
            with Console(stderr=True, no_color=plain or None).status(title) as status:
                yield Progress(self, status)
        else:
            yield Progress(self, None)


@dataclass
class Progress:
    """Takes the lines of long work, as a `devkit.engine.Progress` does."""

    output: Output
    status: Status | None
    _is_building: bool = False

    def __call__(self, line: str) -> None:
        """Show one line; on a terminal it takes the place of the one before."""
        if self.status is None:
            self._say(line)
            return
        from rich.text import Text

        width = self.status.console.width - 4
        self.status.update(Text(sanitized(line).strip()[:width]))

    def _say(self, line: str) -> None:
        is_left_out = isinstance(line, Detail) and self.output.verbosity == 0
        if not is_left_out:
            self.output.note(line)
        elif not self._is_building:
            self.output.note("Building; -v shows each line of it")
        self._is_building = is_left_out

    def keep(self, line: str) -> None:
        """Show one line that stays."""
        if self.status is None or self.output.verbosity < 0:
            self.output.note(line)
            return
        self.status.console.print(sanitized(line), highlight=False, markup=False)


def jsonable(value: Any) -> Any:
    """Turn our values into what JSON has: dataclasses and paths too."""
    if is_dataclass(value) and not isinstance(value, type):
        return jsonable(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(inner) for inner in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value) if isinstance(value, PurePath) else value
