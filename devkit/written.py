"""Which content devkit itself wrote into a container: what else changed there was edited inside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile

from devkit.own_folder import NAME, own_folder

_FILE = "written.json"
# Containers that are gone drop out by and by.
_MOST_CONTAINERS = 8


def digests(root: Path, container_id: str) -> Mapping[str, str]:
    """Return the sha256 of what was written last, by absolute path in the container."""
    found = _read(root / NAME / _FILE).get(container_id)
    return found if isinstance(found, dict) else {}


def remember(root: Path, container_id: str, written: Mapping[PurePosixPath, str]) -> None:
    """Add what was written. Where it cannot be stored, an edit too many is kept, never one less."""
    with suppress(OSError):
        path = own_folder(root) / _FILE
        known = _read(path)
        now = {str(place): digest for place, digest in written.items()}
        before = digests(root, container_id)
        known.pop(container_id, None)
        known[container_id] = {**before, **now}
        _store(path, dict(list(known.items())[-_MOST_CONTAINERS:]))


def _read(path: Path) -> dict[str, Mapping[str, str]]:
    try:
        known = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _store(path: Path, known: Mapping[str, Mapping[str, str]]) -> None:
    with NamedTemporaryFile("w", dir=path.parent, encoding="utf-8", delete=False) as fresh:
        json.dump(known, fresh)
    Path(fresh.name).replace(path)
