"""Step 3, attach: our item in the text of launch.json or tasks.json, merged and taken out again.

Nothing here touches a file. An edit is a few splices; a second parser then has to agree that the
text means what was intended.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devkit import TEMPLATES
from devkit.launch import jsonc

Item = Mapping[str, Any]

# Stands behind the bracket of a list that was not there before, so that the list can go again.
_NOTE = "// made by devkit"


@dataclass(frozen=True)
class EditorFile:
    """One of VS Code's files: the list in it, and the key whose value makes an item ours."""

    name: str
    member: str
    key: str
    label: str

    def path(self, root: Path) -> Path:
        """Where it stands in a workspace."""
        return root / ".vscode" / self.name

    def ours(self, items: Sequence[Any]) -> list[int]:
        """Which items of the list carry our name."""
        return [
            index
            for index, item in enumerate(items)
            if isinstance(item, dict) and item.get(self.key) == self.label
        ]


LAUNCH = EditorFile("launch.json", "configurations", "name", "devkit: attach")
TASKS = EditorFile("tasks.json", "tasks", "label", "devkit: up")


def merged(text: str, item: Item, file: EditorFile = LAUNCH) -> str:
    """Put `item` into a file's text, or bring the one that is there up to date.

    Keys that the user added to our item stay. Merging again changes nothing.

    Raises:
        JsoncError: the text does not parse, or has something else where the list should be.
    """
    value = jsonc.data(text)
    if value is None:
        text = _with_template(text, file)
        value = jsonc.data(text)
    items = _list(text, value, file)
    if items is None:
        new = jsonc.inserted(text, (), [item], key=file.member, note=_NOTE)
        return _checked(new, {**value, file.member: [item]})
    found = file.ours(items)
    if not found:
        new = jsonc.inserted(text, (file.member,), item)
        return _checked(new, {**value, file.member: [*items, item]})
    new = text
    for index in found:
        new = _updated(new, (file.member, index), items[index], item)
    if new == text:
        return text
    wanted = [_merged(old, item) if index in found else old for index, old in enumerate(items)]
    return _checked(new, {**value, file.member: wanted})


def removed(text: str, file: EditorFile = LAUNCH) -> str:
    """Take exactly ours out of a file's text; blank when all of it was ours.

    Raises:
        JsoncError: as for `merged`.
    """
    value = jsonc.data(text)
    items = _list(text, value, file) if value is not None else None
    found = file.ours(items or [])
    if not items or not found:
        return text
    for index in reversed(found):
        text = jsonc.removed(text, (file.member, index))
    wanted = {**value, file.member: [item for i, item in enumerate(items) if i not in found]}
    if not wanted[file.member] and _NOTE in jsonc.comments(text, (file.member,)):
        text = jsonc.removed(text, (file.member,))
        del wanted[file.member]
    return _without_template(_checked(text, wanted), wanted, file)


@functools.lru_cache(maxsize=2)
def template(file: EditorFile) -> str:
    """The text of a file that has nothing but ours in it."""
    return (TEMPLATES / file.name).read_text(encoding="utf-8")


def _list(text: str, value: Any, file: EditorFile) -> list[Any] | None:
    if not isinstance(value, dict):
        raise jsonc.JsoncError("an object is expected", *jsonc.place(text, ()))
    items = value.get(file.member)
    if file.member in value and not isinstance(items, list):
        place = jsonc.place(text, (file.member,))
        raise jsonc.JsoncError(f'"{file.member}" has to be a list', *place)
    return items


def _updated(text: str, path: jsonc.Steps, old: Item, new: Item) -> str:
    """Splice only the values that differ, so that comments inside our item stay too."""
    for key, value in new.items():
        if key not in old:
            text = jsonc.inserted(text, path, value, key=key)
        elif isinstance(value, dict) and isinstance(old[key], dict):
            text = _updated(text, (*path, key), old[key], value)
        elif not _same(old[key], value):
            text = jsonc.replaced(text, (*path, key), value)
    return text


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
    return new


def _same(left: Any, right: Any) -> bool:
    """Equal as JSON; in Python true equals 1."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def _checked(text: str, wanted: Any) -> str:
    if not _same(jsonc.data(text), wanted):
        raise jsonc.JsoncError("devkit cannot edit this text safely", 1, 1)
    return text


def _with_template(text: str, file: EditorFile) -> str:
    """Put the template behind the comments of a text that has nothing else."""
    newline = "\r\n" if "\r\n" in text else "\n"
    gap = newline if text.strip("\ufeff") and not text.endswith("\n") else ""
    return text + gap + template(file).replace("\n", newline)


def _without_template(text: str, value: Item, file: EditorFile) -> str:
    """Take out what is left of our template, if nobody has added to it."""
    header = template(file).partition("\n")[0]
    before, found, after = text.partition(header)
    is_bare = found and value == {**_skeleton(file), file.member: []}
    if not is_bare or any(jsonc.comments(text, path) for path in ((), (file.member,))):
        return text
    body, bracket, tail = after.rpartition("}")
    if not bracket or not body.lstrip().startswith("{"):
        return text
    return before + tail.lstrip("\r\n")


def _skeleton(file: EditorFile) -> Item:
    value: Item = jsonc.data(template(file))
    return value
