"""Step 3, attach: put devkit's entries in .vscode/launch.json and tasks.json, leaving the rest be.

What an entry looks like stands in templates/; here it gets this service's values. Both files are
planned before either is stored.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from devkit.engine import Placement
from devkit.errors import LaunchFileBroken
from devkit.launch import jsonc
from devkit.launch.text import LAUNCH, TASKS, EditorFile, Item, merged, removed, template

# VS Code's files are some kilobytes; the parser takes seconds for a megabyte.
_MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class Written:
    """A file that was looked after, and whether its bytes changed."""

    path: Path
    changed: bool


@dataclass(frozen=True)
class _Edit:
    """What a file holds and is to hold; None: there is no such file."""

    path: Path
    before: str | None
    after: str | None


def entry(
    root: Path,
    *,
    port: int,
    mappings: Sequence[Placement],
    host: str = "127.0.0.1",
    just_my_code: bool = True,
    windows: bool = sys.platform == "win32",
) -> dict[str, Any]:
    """The attach configuration, its mappings relative to the workspace `root` where they can be."""
    values: dict[str, Any] = {
        "connect": {"host": host, "port": port},
        "pathMappings": path_mappings(root, mappings),
        "justMyCode": just_my_code,
    }
    if windows:
        # Other clients than Microsoft's extension leave debugpy to guess the editor's system.
        values["clientOS"] = "windows"
    return {**_template_item(LAUNCH), **values}


def path_mappings(root: Path, mappings: Sequence[Placement]) -> list[dict[str, str]]:
    """Write mappings as VS Code has them, longest local root first.

    debugpy takes the first that matches, not the longest (microsoft/debugpy#1911).
    """
    ordered = sorted(mappings, key=lambda m: (-len(m.local.parts), m.local, m.remote))
    return [
        {"localRoot": _in_workspace(root, m.local), "remoteRoot": str(m.remote)} for m in ordered
    ]


def task(*, command: str = "devkit") -> dict[str, Any]:
    """The background task that F5 starts; the editor waits until it says that it is ready."""
    return {**_template_item(TASKS), "command": command}


def devkit_command(root: Path) -> str:
    """How the editor can start this devkit: by name, else by path.

    A virtual environment is on the PATH of the shell that activated it, not on the editor's.
    """
    script = Path(sys.prefix) / ("Scripts/devkit.exe" if os.name == "nt" else "bin/devkit")
    found = shutil.which("devkit")
    is_elsewhere = found is not None and not Path(found).is_relative_to(sys.prefix)
    if sys.prefix == sys.base_prefix or is_elsewhere or not script.exists():
        return "devkit"
    return _in_workspace(root, script)


def problem(message: str, *, file: str = "devkit.yaml", line: int = 1) -> str:
    """A line that the task's problem matcher lists under Problems; `file` is in the workspace."""
    return f"devkit: {file}:{line}: error: {' '.join(message.split())}"


def write(root: Path, entry: Item, task: Item) -> tuple[Written, ...]:
    """Bring launch.json and tasks.json of a workspace up to date.

    Raises:
        LaunchFileBroken: one of them does not parse or cannot be written; both were left alone.
    """
    return _stored(_planned(root, entry, task))


def render(root: Path, entry: Item, task: Item) -> dict[Path, str]:
    """The text that `write` would leave in each file."""
    return {edit.path: edit.after or "" for edit in _planned(root, entry, task)}


def check(root: Path, entry: Item, task: Item) -> bool:
    """Whether `write` would change nothing."""
    return all(edit.before == edit.after for edit in _planned(root, entry, task))


def remove(root: Path) -> tuple[Written, ...]:
    """Take ours out of both files; a file that devkit made and nobody added to goes.

    Raises:
        LaunchFileBroken: as for `write`.
    """
    return _stored([_removal(root, file) for file in (LAUNCH, TASKS)])


def _template_item(file: EditorFile) -> dict[str, Any]:
    item: dict[str, Any] = jsonc.data(template(file))[file.member][0]
    return item


def _in_workspace(root: Path, path: Path) -> str:
    # A workspace may be opened through a link: the editor knows it by that name only.
    for base, inner in ((root, path), (root.resolve(), path.resolve())):
        if inner.is_relative_to(base):
            relative = inner.relative_to(base).as_posix()
            return "${workspaceFolder}" if relative == "." else f"${{workspaceFolder}}/{relative}"
    return str(path)


def _planned(root: Path, entry: Item, task: Item) -> list[_Edit]:
    edits = []
    for file, item in ((LAUNCH, entry), (TASKS, task)):
        path = file.path(root)
        before = _read(path)
        after = _translated(path, partial(merged, before or "", item, file))
        edits.append(_Edit(path, before, after))
    return edits


def _removal(root: Path, file: EditorFile) -> _Edit:
    path = file.path(root)
    before = _read(path)
    if before is None:
        return _Edit(path, None, None)
    after = _translated(path, partial(removed, before, file))
    is_gone = after != before and not after.strip("\ufeff \t\r\n")
    return _Edit(path, before, None if is_gone else after)


def _translated(path: Path, edit: Callable[[], str]) -> str:
    try:
        return edit()
    except jsonc.JsoncError as error:
        raise LaunchFileBroken(
            f"{path}:{error.line}:{error.column} cannot be edited: {error.reason}.",
            hint="Put that line right; devkit left the file as it is. "
            "`devkit launch --print` shows what belongs in it.",
        ) from error


def _read(path: Path) -> str | None:
    try:
        # Text mode would turn CRLF into LF.
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise LaunchFileBroken(
                f"{path} is larger than {_MAX_BYTES // 1_000_000} MB; devkit left it as it is.",
                hint="`devkit debug --no-launch` leaves .vscode/ alone.",
            )
        return data.decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise LaunchFileBroken(
            f"{path} is not UTF-8 text; devkit left it as it is.", hint="Save it as UTF-8."
        ) from error
    except (OSError, RuntimeError) as error:
        raise LaunchFileBroken(
            f"{path} cannot be read: {error}.", hint="Correct its rights, or remove it."
        ) from error


def _stored(edits: Sequence[_Edit]) -> tuple[Written, ...]:
    return tuple(Written(edit.path, _store(edit)) for edit in edits)


def _store(edit: _Edit) -> bool:
    if edit.before == edit.after:
        return False
    if _read(edit.path) != edit.before:
        raise LaunchFileBroken(
            f"{edit.path} changed while devkit was editing it; it was left as it is.",
            hint="Run the command again.",
        )
    try:
        if edit.after is None:
            edit.path.unlink()
            with suppress(OSError):  # the folder has other files
                edit.path.parent.rmdir()
        else:
            _replace(edit.path.resolve(), edit.after)
    except (OSError, RuntimeError) as error:
        raise LaunchFileBroken(
            f"{edit.path} cannot be written: {getattr(error, 'strerror', None) or error}.",
            hint="Correct the folder's rights; `devkit launch --print` prints what belongs there, "
            "and `devkit debug --no-launch` leaves .vscode/ alone.",
        ) from error
    return True


def _replace(path: Path, text: str) -> None:
    """Write beside the file and rename, so that no reader sees half of it; mode and owner stay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".devkit-") as folder:
        fresh = Path(folder) / path.name
        fresh.write_bytes(text.encode())
        if path.exists():
            shutil.copymode(path, fresh)
            if hasattr(os, "chown"):
                with suppress(PermissionError):
                    os.chown(fresh, path.stat().st_uid, path.stat().st_gid)
        fresh.replace(path)
