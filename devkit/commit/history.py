"""Step 6, commit: the images of a service, and which became which."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from rich.filesize import decimal

from devkit.commit import record
from devkit.commit.record import Git, Record
from devkit.contract import LABEL_CONTENT, LABEL_SERVICE, LABEL_WORKSPACE
from devkit.engine import Container, Engine, FileChange, Image, Tag
from devkit.errors import ImageMissing

# In characters; a message may be a text.
_LONGEST = 300


@dataclass(frozen=True)
class Version:
    """An image of a service: packaged, or committed from `parent`, a tag or an id.

    `size_bytes` is what it has beyond the packaged one. `runs`: the container was made from it, or
    was last committed as it.
    """

    image: str
    id: str
    parent: str | None
    message: str
    created: str
    changed: int
    size_bytes: int
    runs: bool
    git: Git | None = None

    def __str__(self) -> str:
        mark = "*" if self.runs else " "
        how = f"{self.changed} changed since {self.parent}" if self.parent else "packaged"
        git = f"  {self.git.revision[:9]}{'+' * self.git.dirty}" if self.git else ""
        when = self.created[:16].replace("T", " ")
        size = decimal(self.size_bytes)
        row = f"{mark} {self.image:<16} {when}  {size:>10}  {how:<26}{git}  {self.message}"
        # Whoever writes a message writes no rows.
        row = " ".join(row.rstrip().splitlines())
        return row if len(row) <= _LONGEST else f"{row[:_LONGEST]}..."


def images(engine: Engine, service: str, root: Path) -> list[Image]:
    """List the packaged and committed images of a service, the newest first."""
    ours = engine.images({LABEL_SERVICE: service, LABEL_WORKSPACE: str(root)})
    known = [image for image in ours if record.of(image) or LABEL_CONTENT in image.labels]
    # An image that somebody builds on one of them has its labels, too.
    own = [image for image in known if not any(_is_built_on(image, other) for other in known)]
    return sorted(own, key=_when, reverse=True)


def _is_built_on(image: Image, other: Image) -> bool:
    """Whether an image is another one with more layers, which says of itself what that does."""
    below = image.layers[: len(other.layers)]
    has_more = len(image.layers) > len(other.layers) > 0 and below == other.layers
    same_content = image.labels.get(LABEL_CONTENT) == other.labels.get(LABEL_CONTENT)
    return has_more and same_content and record.of(image) == record.of(other)


def versions(images: Sequence[Image], running: Container | None) -> list[Version]:
    """Describe those that have a tag; the newest first."""
    by_id = {image.id: image for image in images}
    now = None if running is None else current(images, running)
    return [_version(image, by_id, is_current=image == now) for image in images if image.tags]


def current(images: Iterable[Image], container: Container) -> Image | None:
    """Return what a container was last committed as, or came from."""
    ours = list(images)
    for image in ours:  # the newest first
        said = record.of(image)
        if said and said.container == container.id:
            return image
    return next((image for image in ours if image.id == container.image_id), None)


def changes(images: Mapping[str, Image], image: Image) -> tuple[str, set[FileChange]]:
    """Return the id of the image that was packaged, and in which files this one differs from it.

    Raises:
        KeyError: it, or one between, lists not all its files.
    """
    found, seen, ground = set[FileChange](), {image.id}, image.id
    said = record.of(image)
    while said is not None:
        if len(said.layer) >= record.MOST_FILES:
            raise KeyError(image.id)
        found.update(FileChange(PurePosixPath(item.path), item.kind) for item in said.layer)
        ground = said.packaged
        # It may be pruned by now; and labels may name a ring of images.
        below = None if ground in seen else images.get(ground)
        seen.add(ground)
        said = record.of(below) if below else None
    return ground, found


def wanted(engine: Engine, tag: str, repository: str, known: Sequence[Image]) -> Image:
    """Find an image by its tag, or by its version alone.

    Raises:
        ImageMissing: there is none; the nearest one is named.
    """
    # Never as it is: an engine takes a word of hexadecimal digits for the beginning of an id.
    names = [tag] if ":" in tag else [f"{repository}:{tag}", tag]
    for name in names:
        found = engine.image(str(Tag.parse(name)))
        if found is not None:
            return found
    text = names[0]
    tags = [name for image in known for name in image.tags]
    near = get_close_matches(text, tags, n=1, cutoff=0.3)
    hint = f"The nearest one is {near[0]}; " if near else ""
    raise ImageMissing(f"There is no image {text}.", hint=f"{hint}`devkit history` lists them.")


def _version(image: Image, by_id: Mapping[str, Image], *, is_current: bool) -> Version:
    said = record.of(image)
    ground = by_id.get(said.packaged) if said else None
    return Version(
        image=image.tags[0],
        id=image.id,
        parent=_parent(said, by_id) if said else None,
        message=said.message if said else "",
        created=said.committed if said else image.created,
        changed=said.files if said else 0,
        size_bytes=image.size_bytes - (ground.size_bytes if ground else 0),
        runs=is_current,
        git=said.git if said else None,
    )


def _parent(said: Record, by_id: Mapping[str, Image]) -> str:
    """Name the parent by the tag that it has now."""
    tags = by_id[said.parent].tags if said.parent in by_id else ()
    # What had that tag may be gone, and another one have it.
    is_taken = any(said.parent_tag in image.tags for image in by_id.values())
    own = "" if is_taken else said.parent_tag
    return tags[0] if tags else own or said.parent.removeprefix("sha256:")[:12]


def _when(image: Image) -> datetime:
    said = record.of(image)
    # Of nine digits after the point, Python takes six.
    text = re.sub(r"(\.\d{6})\d+", r"\1", said.committed if said else image.created)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return when if when.tzinfo else when.replace(tzinfo=UTC)
