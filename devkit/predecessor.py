"""Step 1, package: the image that loses its tag to the one that is packaged anew.

Where commits came from it, it stays under a tag of its own: `devkit history`, `diff` and `rollback`
go on to mean it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from devkit.commit import history, record
from devkit.contract import LABEL_SERVICE, LABEL_WORKSPACE
from devkit.engine import Engine, Image, Tag
from devkit.errors import EngineError


@dataclass(frozen=True)
class Predecessor:
    """The image that had `tag`; `kept_as` is the one that it has now, None where it needs none."""

    image: Image
    tag: Tag
    kept_as: Tag | None


def set_aside(engine: Engine, image: Image, tag: Tag) -> Predecessor:
    """Give an image that has lost `tag` another one, if commits came from it."""
    now = engine.image(image.id)
    if now is None or now.tags or not _has_commits(engine, image):
        return Predecessor(image, tag, None)
    kept_as = next(name for name in _names(tag) if engine.image(str(name)) is None)
    engine.tag(image.id, kept_as)
    return Predecessor(image, tag, kept_as)


def bring_back(engine: Engine, predecessor: Predecessor) -> None:
    """Give it its tag back, as what took it does not run."""
    with suppress(EngineError):  # why that does not run is what the user has to see
        engine.tag(predecessor.image.id, predecessor.tag)
        if predecessor.kept_as is not None:
            engine.remove_image(str(predecessor.kept_as))


def _has_commits(engine: Engine, image: Image) -> bool:
    # Its own service's: another one may have the same tag.
    service, root = (image.labels.get(label) for label in (LABEL_SERVICE, LABEL_WORKSPACE))
    if service is None or root is None:
        return False
    said = filter(None, map(record.of, history.images(engine, service, Path(root))))
    return any(image.id in (one.packaged, one.parent) for one in said)


def _names(tag: Tag) -> Iterator[Tag]:
    yield replace(tag, version=f"{tag.version}-before")
    for number in count(2):
        yield replace(tag, version=f"{tag.version}-before-{number}")
