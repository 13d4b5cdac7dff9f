"""Step 6, commit: which files differ between images, the container and the workspace."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from devkit.commit import files, history
from devkit.commit.differ import MOST_TEXT_BYTES, Difference, differences
from devkit.commit.files import File
from devkit.engine import Engine, FileChange, Image
from devkit.errors import BadValue, NoService
from devkit.running import RunningService

CONTAINER, WORKSPACE = "container", "workspace"

Keeps = Callable[[PurePosixPath, int], bool]


@dataclass(frozen=True)
class Here:
    """The workspace's files by their place in the container, all below the folder `top` there."""

    files: Mapping[PurePosixPath, Path]
    top: PurePosixPath
    ignores: Callable[[PurePosixPath], bool]


@dataclass(frozen=True)
class _Side:
    """One of two: what of it may differ from the image `ground`, and how to read it.

    `changes` is None where nobody can tell.
    """

    ground: str | None
    changes: set[FileChange] | None
    read: Callable[[set[FileChange] | None, Keeps], Mapping[PurePosixPath, File]]


class Comparing:
    """Compares two of: an image by its tag, "container", "workspace"."""

    def __init__(
        self,
        engine: Engine,
        running: RunningService | None,
        *,
        repository: str,
        images: list[Image],
        here: Callable[[], Here],
    ) -> None:
        """Take what there is.

        Args:
            engine: where images and container are.
            running: the service; None where there is none.
            repository: of a tag that is only a version.
            images: the service's, the newest first.
            here: finds the workspace's files.
        """
        self._engine = engine
        self._running = running
        self._repository = repository
        self._images = images
        self._here = here

    def compared(self, before: str | None, after: str | None, *, text: bool) -> list[Difference]:
        """Return which files differ.

        Args:
            before: None for what the container was made from or last committed as.
            after: None for the container.
            text: also how text files differ.

        Raises:
            ImageMissing: there is no such image; the nearest one is named.
            NoService: there is no container.
            BadValue: both are the same.
        """
        after = after or CONTAINER
        before = before or self._origin()
        if before == after:
            raise BadValue(f"Both are {after}.", hint="`devkit diff debug:1 debug:2`")

        def keeps(_: PurePosixPath, size: int) -> bool:
            return text and size <= MOST_TEXT_BYTES

        here = self._here() if WORKSPACE in (before, after) else None
        with self._side(before, here) as old, self._side(after, here) as new:
            changes = _candidates(old, new)
            was, now = old.read(changes, keeps), new.read(changes, keeps)
        found = differences(was, now)
        return found if here is None else [item for item in found if _counts(here, item)]

    def _origin(self) -> str:
        container = self._of_service().container
        now = history.current(self._images, container)
        return now.id if now else container.image_id

    def _of_service(self) -> RunningService:
        if self._running is None:
            raise NoService("There is no container.", hint="`devkit diff A B` compares images.")
        return self._running

    @contextmanager
    def _side(self, name: str, here: Here | None) -> Iterator[_Side]:
        if name == WORKSPACE:
            assert here is not None
            yield _workspace(here)
        elif name == CONTAINER:
            yield self._container(here)
        else:
            image = history.wanted(self._engine, name, self._repository, self._images)
            ground, changes = self._changed(image)
            with files.opened(self._engine, image.id) as container:
                yield _Side(ground, changes, self._reader(container, here))

    def _container(self, here: Here | None) -> _Side:
        container = self._of_service().container
        image = self._engine.image(container.image_id)
        ground, changes = self._changed(image) if image else (None, None)
        if changes is not None and here is None:
            changes = changes.union(self._engine.changes(container.id))
        return _Side(ground, changes, self._reader(container.id, here))

    def _changed(self, image: Image) -> tuple[str | None, set[FileChange] | None]:
        try:
            return history.changes({i.id: i for i in self._images}, image)
        except KeyError:
            return None, None

    def _reader(
        self, container: str, here: Here | None
    ) -> Callable[[set[FileChange] | None, Keeps], Mapping[PurePosixPath, File]]:
        def read(changes: set[FileChange] | None, keeps: Keeps) -> Mapping[PurePosixPath, File]:
            if here is not None:
                return files.read_below(self._engine, container, here.top, keeps=keeps)
            if changes is None:
                return files.read(self._engine, container, None, keeps=keeps)
            paths = {change.path for change in changes}
            # Of a folder that one side deleted, the other one may have all that was in it.
            gone = {change.path for change in changes if change.kind == "deleted"}
            return files.read(self._engine, container, paths, whole=gone, keeps=keeps)

        return read


def _candidates(old: _Side, new: _Side) -> set[FileChange] | None:
    """Return what may differ; None for all."""
    if old.changes is None or new.changes is None or old.ground != new.ground:
        return None
    return old.changes | new.changes


def _workspace(here: Here) -> _Side:
    def read(_: set[FileChange] | None, keeps: Keeps) -> Mapping[PurePosixPath, File]:
        return {path: _local(path, local, keeps) for path, local in here.files.items()}

    return _Side(None, None, read)


def _local(path: PurePosixPath, local: Path, keeps: Keeps) -> File:
    if local.is_symlink():
        target = os.fsencode(local.readlink())
        return File(0, hashlib.sha256(target).hexdigest(), target)
    size = local.stat().st_size
    if keeps(path, size):
        content = local.read_bytes()
        return File(len(content), hashlib.sha256(content).hexdigest(), content)
    with local.open("rb") as file:
        return File(size, hashlib.file_digest(file, "sha256").hexdigest())


def _counts(here: Here, found: Difference) -> bool:
    """Whether a path is the workspace's business: what is left alone there is no difference."""
    path = PurePosixPath(found.path)
    return path in here.files or (path.is_relative_to(here.top) and not here.ignores(path))
