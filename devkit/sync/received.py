"""Step 5, sync: what came from the container, checked; it is not trusted.

Entries, paths, digests and texts become values here, or the stream is given up as nonsense.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

from devkit.sync.agent import known
from devkit.sync.agent.places import is_fleeting, leads_inside, parts
from devkit.sync.agent.side import FILE, FOLDER, LINK, OTHER, Entry, Moved, Signature

_DIGEST = re.compile(r"[0-9a-f]{64}")
# Of an answer that comes in pieces; a million files have 200 MB.
_MOST_ENTRIES = 2_000_000
_MOST_PATH_BYTES = 32 * 1024
_MOST_SCAN_BYTES = 500_000_000
_MOST_PARTS = 200


@dataclass
class Told:
    """What the agent told by itself: what is new where, and small contents by their digest.

    `order` grows with all that comes, answers too: of two words about a path, the later holds.
    """

    entries: dict[str, Entry | None] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    whole: bool = False
    order: int = 0
    contents: dict[str, bytes] = field(default_factory=dict)

    def add_content(self, message: Mapping[str, Any], content: bytes) -> None:
        """Take a small content, which comes before the word of its change."""
        self.contents[_digest(message["digest"])] = content

    def fill(self, message: Mapping[str, Any], order: int) -> None:
        """Take what changed."""
        changed = message["changed"].items()
        self.order = order
        self.entries = {_path(p): _entry(p, e) for p, e in changed if not is_fleeting(p)}
        self.unknown, self.whole = _unknown(message["unknown"]), message["whole"] is True


@dataclass
class RemoteScan:
    """All entries, and what is unknown and why; the digests, to be handed to the next agent.

    `without_events` says why the agent has to look again and again; "" where it has not.
    """

    seeds: Mapping[str, bytes] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    records: dict[str, bytes] = field(default_factory=dict)
    without_events: str = ""
    _path_bytes: int = 0

    def fill(self, message: Mapping[str, Any], content: bytes) -> bool:
        """Take a piece of a scan; True when it was the last."""
        if "same" in message:
            self._add_seeds(content)
            return False
        if "files" in message:
            self._add_files(known.received(message["files"], content))
            return False
        if "entries" in message:
            self._add(message["entries"])
            return False
        if message["count"] != len(self.entries):
            raise Nonsense("a scan that is not whole")
        self.unknown = _unknown(message["unknown"])
        self.without_events = _said(message["without_events"])
        return True

    def _add_seeds(self, holds: bytes) -> None:
        if len(holds) != len(self.seeds):
            raise Nonsense("not a word for each of the digests")
        for path, record in compress(self.seeds.items(), holds):
            self.records[path] = record
            self.entries[path] = known.entry_in(record)

    def _add_files(self, records: Mapping[str, bytes]) -> None:
        for path, record in records.items():
            if is_fleeting(_path(path)):
                raise Nonsense("an entry that no scan gives")
            self.records[path] = record
            self.entries[path] = known.entry_in(record)
        self._check_size(records)

    def _add(self, entries: Mapping[str, Any]) -> None:
        for path, value in entries.items():
            entry = _entry(_path(path), value)
            if entry is None or is_fleeting(path):
                raise Nonsense("an entry that no scan gives")
            self.entries[path] = entry
        self._check_size(entries)

    def _check_size(self, paths: Iterable[str]) -> None:
        self._path_bytes += sum(map(len, paths))
        if len(self.entries) > _MOST_ENTRIES or self._path_bytes > _MOST_SCAN_BYTES:
            raise Nonsense("too many files")


@dataclass(frozen=True)
class Answer:
    """The entry that is there now, and a content; `is_kept` says that it is the old one.

    `order` is as in `Told`; `failed` says what of several things could not be done.
    """

    entry: Entry | None
    content: bytes
    is_kept: bool
    signature: Signature | None
    order: int = 0
    failed: Mapping[str, Moved | OSError] = field(default_factory=dict)


class Nonsense(ValueError):
    """What came is not of the protocol."""


# How that shows, wherever it is read.
NONSENSE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


def answer(message: Mapping[str, Any], content: bytes, order: int) -> Answer | Moved | OSError:
    """Return what a request is answered, or why it could not be done."""
    if "moved" in message or "error" in message:
        return _refusal(message)
    entry, is_kept = _any_entry(message.get("entry")), message.get("kept") is True
    signed = message.get("signature")
    failed = {_path(path): _refusal(why) for path, why in message.get("failed", {}).items()}
    signature = _signature(signed) if signed else None
    return Answer(entry, content, is_kept, signature, order, failed)


def _refusal(message: Mapping[str, Any]) -> Moved | OSError:
    if "moved" in message:
        return Moved(_any_entry(message["moved"]))
    code = message.get("errno")
    return OSError(code if isinstance(code, int) else 0, _said(message["error"]))


def _path(path: str) -> str:
    if len(os.fsencode(path)) > _MOST_PATH_BYTES or len(parts(path)) > _MOST_PARTS:
        raise Nonsense("a path that is too long")
    return path


def _entry(path: str, value: Any) -> Entry | None:
    """Read an entry that stands at `path`."""
    entry = _any_entry(value)
    if entry is not None and entry.kind == LINK and not leads_inside(path, entry.digest):
        return Entry(OTHER)
    return entry


def _any_entry(value: Any) -> Entry | None:
    if value is None:
        return None
    kind, digest, executable = value
    if kind not in (FILE, FOLDER, LINK, OTHER) or not isinstance(executable, bool):
        raise Nonsense("an entry of another kind")
    if not isinstance(digest, str):
        raise Nonsense("a digest that is no text")
    if kind == LINK:
        os.fsencode(digest)  # a ValueError for what is no name of this system
        return Entry(kind, digest)
    return Entry(kind, _digest(digest), executable) if kind == FILE else Entry(kind)


def _digest(value: Any) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise Nonsense("what is no digest")
    return value


def _signature(value: Any) -> Signature:
    size, mtime, inode, mode, ctime = value
    if not all(type(number) is int for number in value) or not 0 <= size < 1 << 62:
        raise Nonsense("what is no signature")
    return (size, mtime, inode, mode, ctime)


def _unknown(value: Mapping[str, Any]) -> dict[str, str]:
    return {path and _path(path): _said(why) for path, why in value.items()}


def _said(value: Any) -> str:
    """A text of the container, fit to be shown."""
    return re.sub(r"[^\x20-\x7e\u00a0-\ud7ff]", "?", str(value))[:300]
