"""What processes of this machine have not: images of their files."""

# ruff: noqa: ARG002  # the protocol's

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import PurePosixPath
from typing import BinaryIO

from devkit.engine import Container, Contents, Image, Member, Tag
from devkit.errors import Unsupported

_HINT = "Use a container engine: leave --engine process out."


class NoImages:
    """The methods of `Engine` that make images out of files, each refused with `Unsupported`."""

    def images(self, labels: Mapping[str, str]) -> list[Image]:
        """List none: what is built here is a virtual environment."""
        return []

    def import_image(self, tar: BinaryIO, tag: Tag, *, labels: Mapping[str, str]) -> Image:
        """Refuse: a process has no root file system of its own."""
        raise Unsupported(f"A process has no base image, so {tag} cannot be imported.", hint=_HINT)

    def commit(self, container: str, *, pause: bool = True) -> Image:
        """Refuse: a process has the workspace's own files."""
        raise _refused()

    def image_like(
        self, files: str, like: str, tag: Tag, *, labels: Mapping[str, str], comment: str
    ) -> Image:
        """Refuse, as `commit` does."""
        raise _refused()

    def tag(self, image: str, tag: Tag) -> None:
        """Refuse, as `commit` does."""
        raise _refused()

    def top_layer(self, image: str, paths: Iterable[PurePosixPath]) -> Iterator[Member] | None:
        """Return None: nothing is stored in layers."""
        return None

    def contents(self, image: str) -> AbstractContextManager[Contents]:
        """Refuse: there is none that could be looked into."""
        raise Unsupported("A process has no image that could be looked into.", hint=_HINT)

    def create(self, image: str, labels: Mapping[str, str]) -> Container:
        """Refuse: nothing is in it that could be read."""
        raise _refused()

    def rename(self, container: str, name: str) -> None:
        """Refuse: its folder and its processes know it by its name."""
        raise Unsupported("A service that runs as processes keeps its name.", hint=_HINT)


def _refused() -> Unsupported:
    why = "A process runs on the workspace's own files: no image holds them."
    return Unsupported(why, hint=_HINT)
