"""Step 6, commit: what differs between two sets of files."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from devkit.commit.files import File
from devkit.commit.record import Kind

# Larger ones, and what is no text, are told by their sizes.
MOST_TEXT_BYTES = 1 << 20


@dataclass(frozen=True)
class Difference:
    """A file that differs, and how large it was and is; `text` is a unified diff."""

    path: str
    kind: Kind
    before_bytes: int
    after_bytes: int
    text: str | None = None

    def __str__(self) -> str:
        sign = {"added": "A", "modified": "M", "deleted": "D"}[self.kind]
        return f"{sign}  {self.path}"

    @property
    def stat(self) -> str:
        """The line that `--stat` prints."""
        return f"{self}  {self.before_bytes:,} -> {self.after_bytes:,} bytes"


def differences(
    before: Mapping[PurePosixPath, File], after: Mapping[PurePosixPath, File]
) -> list[Difference]:
    """Return what differs, by path; texts where both contents were kept."""
    return [
        _difference(path, before.get(path), after.get(path))
        for path in sorted(before.keys() | after.keys())
        if _digest(before.get(path)) != _digest(after.get(path))
    ]


def _difference(path: PurePosixPath, was: File | None, now: File | None) -> Difference:
    kind: Kind = "added" if was is None else "deleted" if now is None else "modified"
    sizes = (was.size if was else 0, now.size if now else 0)
    return Difference(str(path), kind, *sizes, text=_unified(path, was, now))


def _unified(path: PurePosixPath, was: File | None, now: File | None) -> str | None:
    old, new = _lines(was), _lines(now)
    if old is None or new is None:
        return None
    names = ("/dev/null" if was is None else f"a{path}", "/dev/null" if now is None else f"b{path}")
    return "".join(_whole(difflib.unified_diff(old, new, *names)))


def _whole(lines: Iterator[str]) -> Iterator[str]:
    """End each line, as diff and git do."""
    for line in lines:
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _lines(file: File | None) -> list[str] | None:
    if file is None:
        return []
    if file.content is None or b"\0" in file.content:
        return None
    try:
        # As diff and git do: a form feed ends no line.
        return io.StringIO(file.content.decode(), newline="\n").readlines()
    except UnicodeDecodeError:
        return None


def _digest(file: File | None) -> str | None:
    return None if file is None else file.digest
