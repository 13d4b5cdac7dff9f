"""Step 1, package: one hash over all that decides an image; unchanged means no build."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from platformdirs import user_cache_path

from devkit.engine import BuildSpec, ContextFile
from devkit.errors import BadValue

# Below that, reading a file costs about as much as looking it up.
# How a build gets to its packages is not what it makes; Docker leaves these out of its cache, too.
_PROXIES = {"http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"}
_CACHED_FROM_BYTES = 256 * 1024
# A file changed so recently may change again without a new time stamp (git's "racy" entries).
_RACY_NS = 2_000_000_000


def of(spec: BuildSpec, *, base_id: str | None) -> str:
    """Hash Dockerfile, context, labels, arguments, platform and the base image.

    Args:
        spec: the build; its context files are read.
        base_id: the engine's id of the base image; None when it has none yet.

    Raises:
        BadValue: a file cannot be read.
    """
    digests = _Digests(user_cache_path("devkit") / "digests.json")
    said = [
        spec.dockerfile,
        spec.buildkit_dockerfile,
        sorted(spec.labels.items()),
        sorted(item for item in spec.args.items() if item[0].lower() not in _PROXIES),
        spec.platform,
        base_id,
        [
            (str(file.path), file.mode, file.link, digests.of(file))
            for file in sorted(spec.context, key=lambda file: file.path)
        ],
    ]
    digests.save()
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


class _Digests:
    """Remembers the digests of big files between runs, by size, times and inode."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._known = _read(store)
        self._fresh: dict[str, str] = {}

    def of(self, file: ContextFile) -> str:
        """Return the SHA-256 of a context file's bytes."""
        if isinstance(file.content, bytes):
            return hashlib.sha256(file.content).hexdigest()
        try:
            return self._of(file.content)
        except OSError as error:
            raise BadValue(
                f"{file.content} cannot be read: {error.strerror}.",
                hint="Correct its rights, or leave it out by a line in .dockerignore.",
            ) from error

    def _of(self, path: Path) -> str:
        info = path.stat()
        if info.st_size < _CACHED_FROM_BYTES:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        key = f"{path} {info.st_size} {info.st_mtime_ns} {info.st_ctime_ns} {info.st_ino}"
        digest = self._known.get(key)
        if digest is None:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            newest = max(info.st_mtime_ns, info.st_ctime_ns)
            if time.time_ns() - newest > _RACY_NS:
                self._fresh[key] = digest
        return digest

    def save(self) -> None:
        """Keep what was learnt; a cache that cannot be written is no error."""
        if not self._fresh:
            return
        kept = dict(_newest(self._known, 10_000)) | self._fresh
        try:
            self._store.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._store.with_suffix(f".{time.time_ns()}")
            temporary.write_text(json.dumps(kept), encoding="utf-8")
            temporary.replace(self._store)
        except OSError:
            return


def _read(store: Path) -> dict[str, str]:
    try:
        known = json.loads(store.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _newest(known: dict[str, str], count: int) -> Iterator[tuple[str, str]]:
    yield from list(known.items())[-count:]
