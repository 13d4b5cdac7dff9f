"""The workspace's trash, .devkit/trash: files of a container that devkit is about to overwrite."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO

from devkit.engine import Container
from devkit.own_folder import own_folder

_TRASH = "trash"
_README = "README-devkit.txt"
_HALF_DONE = "."
_MOST_NAMED = 10
# A devkit that was killed leaves its half-done folder; one as young may still be at it.
_ABANDONED_S = 3600


@dataclass(frozen=True)
class Edit:
    """An edited file, `name` as in the workspace; without `content` it could not be taken."""

    name: PurePosixPath
    content: IO[bytes] | None = None
    is_executable: bool = False


@dataclass(frozen=True)
class Saved:
    """What was kept, in `folder`; paths are as in the workspace. `left_out` could not be kept."""

    container: str
    folder: Path
    files: tuple[str, ...]
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        where = "/".join(self.folder.parts[-3:])
        kept = f"Edits made in the container {self.container} are kept in {where}"
        text = f"{kept}: {_listed(self.files)}" if self.files else ""
        if self.left_out:
            text += "\n" * bool(text)
            text += f"Edited in the container {self.container} and not kept, as it is too large "
            text += f"or cannot be read: {_listed(self.left_out)}"
        return text


def stored(edits: Iterator[Edit], container: Container, root: Path) -> Saved | None:
    """Write edits to a new folder in the workspace's trash; None when there are none.

    Raises:
        OSError: it cannot be written; nothing of it is left.
    """
    first = next(edits, None)
    if first is None:
        return None
    trash = own_folder(root, _TRASH)
    _sweep(trash)
    files, left_out = list[str](), list[str]()
    # Complete at once, by rename; a Ctrl-C meanwhile leaves nothing half done.
    with TemporaryDirectory(dir=trash, prefix=_HALF_DONE) as temporary:
        folder = Path(temporary, "edits")
        folder.mkdir(mode=0o700)
        for edit in chain((first,), edits):
            (files if edit.content else left_out).append(str(edit.name))
            if edit.content:
                _write(edit, folder)
        found = Saved(container.name, folder, tuple(sorted(files)), tuple(sorted(left_out)))
        _free(folder / _README).write_text(_readme(found, container), "utf-8")
        place = _free(trash / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{container.name}")
        folder.rename(place)
    return replace(found, folder=place)


def _sweep(trash: Path) -> None:
    """Remove half-done folders that were left behind."""
    for folder in trash.glob(f"{_HALF_DONE}*"):
        if not folder.is_symlink() and time.time() - folder.stat().st_mtime > _ABANDONED_S:
            shutil.rmtree(folder, ignore_errors=True)


def _write(edit: Edit, folder: Path) -> None:
    assert edit.content is not None
    target = folder.joinpath(*edit.name.parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise OSError(f"{edit.name} leads out of the workspace")
    with edit.content as content, _free(target).open("xb") as file:
        content.seek(0)
        shutil.copyfileobj(content, file)
    if edit.is_executable:
        Path(file.name).chmod(0o755)


def _free(path: Path) -> Path:
    """Return a name that nobody has; on some systems "A.py" and "a.py" are one."""
    while path.exists():
        path = path.with_name(f"{path.name}~")
    return path


def _readme(found: Saved, container: Container) -> str:
    left_out = f" Not kept: {', '.join(found.left_out)}." if found.left_out else ""
    return (
        f"Edited in the container {found.container} ({container.id[:12]}) and not the same in the "
        f"workspace; kept by devkit when it replaced, removed or overwrote them.{left_out}\n"
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
