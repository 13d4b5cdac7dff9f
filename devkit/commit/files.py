"""Step 6, commit: files of a container, running or not, by their paths there."""

from __future__ import annotations

import hashlib
import tarfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from devkit.contract import LABEL_READING
from devkit.engine import LOST, Container, Engine, Member, listed
from devkit.tar_stream import tar_of

BLOCK = 1 << 20
# From so many files in a folder on, the folder is read as a whole.
_MANY = 10
_ROOT = PurePosixPath("/")
# What is no file of the image.
_SYSTEM = (("proc",), ("sys",), ("dev",))


@dataclass(frozen=True)
class File:
    """A file, or a link with the digest of what it leads to; `content` if that was asked for."""

    size: int
    digest: str
    content: bytes | None = None


@contextmanager
def opened(engine: Engine, image: str) -> Iterator[str]:
    """Make a container of an image for a while, which never runs; yield its id."""
    container = engine.create(image, {LABEL_READING: "1"})
    try:
        yield container.id
    finally:
        engine.remove(container.id)


def is_for_reading(container: Container) -> bool:
    """Whether a container is one that `opened` made, and never ran."""
    return LABEL_READING in container.labels and container.state == "created"


def tidied(engine: Engine, images: Collection[str]) -> None:
    """Remove what a devkit that was killed left open of images, by id."""
    for left in engine.containers({LABEL_READING: ""}):
        if left.image_id in images and is_for_reading(left):
            engine.remove(left.id)


def read(
    engine: Engine,
    container: str,
    paths: Iterable[PurePosixPath] | None,
    *,
    whole: Collection[PurePosixPath] = (),
    keeps: Callable[[PurePosixPath, int], bool] = lambda _path, _size: False,
) -> dict[PurePosixPath, File]:
    """Return what stands at those paths, all if None; `keeps` says of which the content matters.

    Of a folder nothing is returned, unless it is `whole`: then all that is below it.
    """
    if paths is None:
        return read_below(engine, container, _ROOT, keeps=keeps)
    found = members(engine, container, paths, whole=whole)
    return {path: _file(path, member, content, keeps) for path, member, content in found}


def read_below(
    engine: Engine,
    container: str,
    top: PurePosixPath,
    *,
    keeps: Callable[[PurePosixPath, int], bool] = lambda _path, _size: False,
) -> dict[PurePosixPath, File]:
    """Return all files below a folder; none where there is no such folder."""
    found = _every(engine, container, top)
    return {path: _file(path, member, content, keeps) for path, member, content in found}


def members(
    engine: Engine,
    container: str,
    paths: Iterable[PurePosixPath],
    *,
    whole: Collection[PurePosixPath] = (),
) -> Iterator[Member]:
    """Yield the files and links among `paths`, and those below `whole` folders among them.

    `paths` are as an engine lists them; what is yielded has its own name.
    """
    left = set(paths)
    for folder in _crowded(left):
        yield from _below(engine, container, folder, left)
    for path in sorted(left):
        yield from _at(engine, container, path, is_whole=path in whole)


def _every(engine: Engine, container: str, top: PurePosixPath) -> Iterator[Member]:
    try:
        with tar_of(engine.archive_out(container, top)) as archive:
            for member in archive:
                path = top.parent / member.name
                if path.parts[1:2] in _SYSTEM or not _is_file(member):
                    continue
                yield path, member, archive.extractfile(member) if member.isreg() else None
    except FileNotFoundError:
        return


def _crowded(paths: Collection[PurePosixPath]) -> list[PurePosixPath]:
    counts = Counter(path.parent for path in paths if LOST not in str(path))
    crowded = {folder for folder, count in counts.items() if count >= _MANY}
    # Of a name that was lost only the folder can be asked for.
    crowded |= {_known_folder(path) for path in paths if LOST in str(path)}
    crowded.discard(_ROOT)
    return sorted(folder for folder in crowded if not crowded.intersection(folder.parents))


def _known_folder(path: PurePosixPath) -> PurePosixPath:
    return next(parent for parent in path.parents if LOST not in str(parent))


def _below(
    engine: Engine, container: str, folder: PurePosixPath, wanted: set[PurePosixPath]
) -> Iterator[Member]:
    """Yield what stands below a folder of `wanted`; left are folders, and a file's other names."""
    stays = set[PurePosixPath]()
    try:
        with tar_of(engine.archive_out(container, folder)) as archive:
            for member in archive:
                path = folder.parent / member.name
                # Of several names of one file, only the first has the content: see _at.
                if member.islnk() or member.isdir():
                    stays.add(listed(path))
                elif listed(path) in wanted and _is_file(member):
                    yield path, member, archive.extractfile(member) if member.isreg() else None
    except FileNotFoundError:
        pass
    wanted -= {path for path in wanted if folder in path.parents} - stays


def _at(engine: Engine, container: str, path: PurePosixPath, *, is_whole: bool) -> Iterator[Member]:
    try:
        with tar_of(engine.archive_out(container, path)) as archive:
            for member in archive:
                if _is_file(member):
                    content = archive.extractfile(member) if member.isreg() else None
                    yield path.parent / member.name, member, content
                if not is_whole:
                    return
    except FileNotFoundError:
        return


def _is_file(member: tarfile.TarInfo) -> bool:
    return member.isreg() or member.issym() or member.islnk()


def _file(
    path: PurePosixPath,
    member: tarfile.TarInfo,
    content: IO[bytes] | None,
    keeps: Callable[[PurePosixPath, int], bool],
) -> File:
    if content is None:
        target = member.linkname.encode(errors="surrogateescape")
        return File(0, hashlib.sha256(target).hexdigest(), target)
    if keeps(path, member.size):
        text = content.read()
        return File(member.size, hashlib.sha256(text).hexdigest(), text)
    digest = hashlib.sha256()
    while block := content.read(BLOCK):
        digest.update(block)
    return File(member.size, digest.hexdigest())
