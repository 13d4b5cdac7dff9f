"""Between steps: what was edited inside a container is found, and kept before that is lost.

The container is not trusted: a file is taken under a name that was asked for, and only a regular
one, up to a size.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import SpooledTemporaryFile
from typing import IO

from devkit import contract, trash, written
from devkit.engine import Container, Engine, FileChange, Placement, Progress
from devkit.errors import ContainerMissing, SyncHalted
from devkit.running import RunningService
from devkit.tar_stream import tar_of
from devkit.trash import Edit, Saved

MOST_BYTES_EACH = 50_000_000
MOST_BYTES = 200_000_000

_MODELS = contract.APP_ROOT / contract.MODELS_DIR
# What editors, interpreters and devkit's own writes leave behind.
_FLEETING = re.compile(
    r"__pycache__|\.ipynb_checkpoints|\.(mypy|ruff|pytest)_cache|.*\.(pyc|pyo|tmp|part)"
    r"|\..*\.sw[a-px]|.*~|\.#.*|#.*#|\.nfs.*"
)
# One request per file up to here; beyond, one for the folder that holds them all.
_FEW = 4
_BLOCK = 1 << 20
# More than that takes longer than the engine's list of changes.
_LOOKED_AT_BYTES = 64 * _BLOCK


_File = tuple[PurePosixPath, tarfile.TarInfo | None, IO[bytes] | None]


@dataclass(frozen=True)
class _Place:
    """A file in the container, its counterpart here, and its name in the trash."""

    remote: PurePosixPath
    local: Path
    name: PurePosixPath


def kept(
    running: RunningService,
    *,
    root: Path,
    note: Progress,
    only: Collection[PurePosixPath] | None = None,
) -> Saved | None:
    """Save the edits in a service's container and say so; see `saved`.

    `root` is the workspace that gets them: the caller's, whatever the container names.
    """
    found = saved(
        running.engine,
        running.container,
        mappings=running.mappings,
        root=root,
        only=only,
    )
    if found:
        note(str(found))
    return found


def saved(
    engine: Engine,
    container: Container,
    *,
    mappings: Sequence[Placement],
    root: Path,
    only: Collection[PurePosixPath] | None = None,
) -> Saved | None:
    """Copy files that were edited in a container, running or not, to .devkit/trash.

    Args:
        engine: where it is.
        container: its files are only read.
        mappings: the source directory and the models; what lies elsewhere is none of ours.
        root: the workspace.
        only: these paths in the container, instead of all.

    Returns:
        None when nothing was edited, or only to what the workspace has too.

    Raises:
        SyncHalted: an edit is there and cannot be stored; the caller must not go on.
    """
    try:
        if only is None and _is_known(engine, container, mappings, root):
            return None
        places = _places(engine.changes(container.id), mappings, root, only)
        return trash.stored(_edits(engine, container, places, root), container, root)
    except ContainerMissing:
        return None
    except OSError as error:
        why = str(error).removesuffix(".")
        raise SyncHalted(
            f"What was edited in the container {container.name} cannot be kept: {why}.",
            hint=f"Make room in {root}, or correct its rights. To give the edits up: "
            f"`docker rm --force {container.name}`",
        ) from error


def _is_known(
    engine: Engine, container: Container, mappings: Sequence[Placement], root: Path
) -> bool:
    """Whether all files are what the workspace has or devkit wrote, as far as a short look shows.

    It takes 0.05 s; the engine's own list of changes, 0.7 s and, on a busy machine, seconds.
    """
    ours = written.digests(root, container.id)
    left = _LOOKED_AT_BYTES
    try:
        with tar_of(engine.archive_out(container.id, contract.APP_ROOT)) as archive:
            for member in archive:
                left -= member.size
                place = _place(contract.APP_ROOT.parent / member.name, mappings, root)
                if left < 0 or member.size > MOST_BYTES_EACH or (place and member.islnk()):
                    return False
                content = archive.extractfile(member) if place and member.isreg() else None
                if place and content:
                    digest = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
                    if not _is_ours_or_local(place, member.size, digest, ours):
                        return False
    except (FileNotFoundError, tarfile.TarError):
        return False
    return True


def _is_ours_or_local(place: _Place, size: int, digest: str, ours: Mapping[str, str]) -> bool:
    if digest == ours.get(str(place.remote)):
        return True
    local = place.local
    return local.is_file() and local.stat().st_size == size and digest == _digest(local)


def _places(
    changes: Sequence[FileChange],
    mappings: Sequence[Placement],
    root: Path,
    only: Collection[PurePosixPath] | None,
) -> list[_Place]:
    """Return the changed files that are ours, by their paths."""
    folders = {parent for change in changes for parent in change.path.parents}
    return [
        place
        for change in changes
        if change.kind != "deleted" and change.path not in folders
        if only is None or change.path in only
        if (place := _place(change.path, mappings, root)) is not None
    ]


def _place(path: PurePosixPath, mappings: Iterable[Placement], root: Path) -> _Place | None:
    """Return what a path in the container is here; None for what is none of ours."""
    if ".." in path.parts or not path.is_relative_to(contract.APP_ROOT):
        return None
    # A model that was added inside has no mapping of its own.
    for mapping in (*mappings, Placement(root / contract.MODELS_DIR, _MODELS)):
        if path.is_relative_to(mapping.remote):
            inner = path.relative_to(mapping.remote)
            local = mapping.local / inner
            if any(_FLEETING.fullmatch(part) for part in inner.parts):
                return None
            # What the workspace does not hold keeps the path that it has in the container.
            is_inside = local.is_relative_to(root)
            name = local.relative_to(root) if is_inside else path.relative_to(contract.APP_ROOT)
            return _Place(path, local, PurePosixPath(name.as_posix()))
    return None


def _edits(
    engine: Engine, container: Container, places: Sequence[_Place], root: Path
) -> Iterator[Edit]:
    """Yield what differs from the workspace and from what devkit itself wrote."""
    if not places:
        return
    ours = written.digests(root, container.id)
    by_path = {place.remote: place for place in places}
    left = MOST_BYTES
    for path, member, content in _files(engine, container.id, list(by_path)):
        place = by_path[path]
        if member is None or content is None:
            yield Edit(place.name)
            continue
        edit = _compared(place, member, content, ours, min(left, MOST_BYTES_EACH))
        if edit is not None:
            left -= member.size if edit.content else 0
            yield edit


def _compared(
    place: _Place, member: tarfile.TarInfo, content: IO[bytes], ours: Mapping[str, str], most: int
) -> Edit | None:
    if member.size > MOST_BYTES_EACH:
        return None if _looks_same(place.local, member) else Edit(place.name)
    is_small = member.size <= most
    local_size = place.local.stat().st_size if place.local.is_file() else None
    if not is_small and local_size != member.size:
        return Edit(place.name)
    buffer = SpooledTemporaryFile[bytes](max_size=_BLOCK)
    digest = hashlib.sha256()
    while block := content.read(_BLOCK):
        digest.update(block)
        if is_small:
            buffer.write(block)
    if _is_ours_or_local(place, member.size, digest.hexdigest(), ours):
        buffer.close()
        return None
    return Edit(place.name, buffer if is_small else None, bool(member.mode & 0o111))


def _looks_same(local: Path, member: tarfile.TarInfo) -> bool:
    """Compare what stands before the content, which is not read: it may be a model of many GB."""
    if not local.is_file():
        return False
    stat = local.stat()
    return (stat.st_size, int(stat.st_mtime)) == (member.size, int(member.mtime))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(engine: Engine, container_id: str, paths: Sequence[PurePosixPath]) -> Iterator[_File]:
    """Yield the regular files among `paths`, each with its content; without it, if unreadable."""
    left = set(paths)
    if len(paths) > _FEW:
        yield from _below(engine, container_id, PurePosixPath(os.path.commonpath(paths)), left)
    for path in sorted(left):
        missing = {path}
        yield from _below(engine, container_id, path, missing)
        yield from ((path, None, None) for path in missing)


def _below(
    engine: Engine, container_id: str, top: PurePosixPath, wanted: set[PurePosixPath]
) -> Iterator[_File]:
    """Yield what stands at or below `top` of `wanted`, and take it from there.

    It ends before a file that is too large to read: the way past it leads through its content.
    """
    left = MOST_BYTES
    try:
        with tar_of(engine.archive_out(container_id, top)) as archive:
            for member in archive:
                path = top.parent / member.name
                left -= 0 if path in wanted else member.size
                if path != top and (left < 0 or member.size > MOST_BYTES_EACH):
                    return
                if path in wanted:
                    wanted.discard(path)
                    if member.isreg():
                        yield path, member, archive.extractfile(member)
                    elif member.islnk():
                        # Of several names of one file, only the first has the content.
                        yield from _files(engine, container_id, [path])
                if not wanted:
                    return
    except (FileNotFoundError, tarfile.TarError):
        return  # what was not read is still wanted
