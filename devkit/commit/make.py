"""Step 6, commit: a container's files, as an image that starts as the packaged one does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from devkit import labels
from devkit.commit import files, layer, record
from devkit.commit.record import Changed, Git, Record
from devkit.commit.stall import measured
from devkit.contract import LABEL_CONTENT, LABEL_RUN
from devkit.engine import Container, Engine, FileChange, Image, Tag
from devkit.errors import EngineError, ImageMissing, NoEngine

# The content is another by now, and a start is not the next one.
_DROPPED = (LABEL_CONTENT, LABEL_RUN, labels.OPTIONS, labels.FRAME)
# Set at each start, and said by devkit itself.
_OURS = ("DEVKIT_", "SCORING_TIMEOUT_MS")


@dataclass(frozen=True)
class Left:
    """What of a container no commit has: variables, by name, and what stands in mounts."""

    env: tuple[str, ...]
    mounts: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"Not in the image: {name}, which was given at the start." for name in self.env]
        lines += [f"Not in the image: what is in {mount}." for mount in self.mounts]
        return "\n".join(lines)


@dataclass(frozen=True)
class Committed:
    """An image made of a container; `leaks` names variables whose value stands in a file."""

    image: str
    id: str
    parent: str
    changed: tuple[Changed, ...]
    left: Left
    leaks: Mapping[str, str]
    stall_s: float | None
    seconds: float


def left_out(engine: Engine, container: Container) -> Left:
    """Say what a commit will not have."""
    image = engine.image(container.image_id)
    built = image.env if image else {}
    names = [
        name
        for name, value in container.env.items()
        if built.get(name) != value and not name.startswith(_OURS)
    ]
    mounts = (f"{mount.path} ({mount.kind})" for mount in container.mounts)
    return Left(tuple(sorted(names)), tuple(sorted(mounts)))


def commit(
    engine: Engine,
    container: Container,
    tag: Tag,
    *,
    parent: Image | None,
    left: Left,
    message: str,
    git: Git | None,
    uri: str | None,
) -> Committed:
    """Make an image of a container, running, paused or stopped.

    Args:
        engine: where it is.
        container: whose files count.
        tag: the new image's, which another one may lose to it.
        parent: what it was committed as before; None for the image that it was started from.
        left: what the image will not have; see `left_out`.
        message: a line for the history.
        git: the workspace's revision.
        uri: where the service answers, to see how long it does not; None where it does not run.

    Raises:
        ImageMissing: the image that it was started from is gone.
    """
    began = time.monotonic()
    packaged = _packaged(engine, container)
    with measured(uri) as stall:
        made = _committed(engine, container)
    try:
        # The engine's list comes after: what was changed last is on it, and read from the image.
        found = _layer(engine, container, made, left)
        said = _record(container, parent or packaged, packaged, found, message=message, git=git)
        carried = {**_labels(container, packaged), **said.labels()}
        image = engine.image_like(made.id, packaged.id, tag, labels=carried, comment=message)
    finally:
        # An engine that is gone, or keeps it, is no reason to lose what was made.
        with suppress(EngineError):
            engine.remove_image(made.id)
    return Committed(
        image=str(tag),
        id=image.id,
        parent=said.parent_tag or said.parent,
        changed=said.changed,
        left=left,
        leaks=found.leaks,
        stall_s=stall.longest_s,
        seconds=time.monotonic() - began,
    )


def _committed(engine: Engine, container: Container) -> Image:
    try:
        return engine.commit(container.id)
    except NoEngine as error:
        # It pauses the container, and nobody knows whether it came to its end.
        unpause = f"`docker unpause {container.name}`"
        error.hint = f"If the container is paused now: {unpause}. {error.hint or ''}".strip()
        raise


def _layer(engine: Engine, container: Container, made: Image, left: Left) -> layer.Layer:
    secrets = {name: container.env[name] for name in left.env}
    changes = engine.changes(container.id)
    paths = layer.paths(changes)
    if (stored := engine.top_layer(made.id, paths)) is not None:
        with suppress(OSError):
            return layer.read(changes, stored, secrets=secrets)
    changes = _with_replaced(engine, container.image_id, changes)
    with files.opened(engine, made.id) as committed:
        there = files.members(engine, committed, paths)
        return layer.read(changes, there, secrets=secrets)


def _with_replaced(engine: Engine, image: str, changes: list[FileChange]) -> list[FileChange]:
    """Say of files that are folders by now that they are deleted."""
    perhaps = layer.perhaps_replaced(changes)
    if not perhaps:
        return changes
    with files.opened(engine, image) as before:
        were = {path for path, _, _ in files.members(engine, before, perhaps)}
    return [replace(c, kind="deleted") if c.path in were else c for c in changes]


def _record(
    container: Container,
    parent: Image,
    packaged: Image,
    found: layer.Layer,
    *,
    message: str,
    git: Git | None,
) -> Record:
    before = record.of(parent)
    same_ground = before is not None and before.packaged == packaged.id
    changed = record.since(before.layer if before and same_ground else (), found.files)
    return Record(
        parent=parent.id,
        parent_tag=next(iter(parent.tags), ""),
        packaged=packaged.id,
        container=container.id,
        message=message,
        committed=datetime.now(UTC).isoformat(timespec="microseconds"),
        changed=tuple(changed),
        layer=found.files,
        files=len(changed),
        git=git,
    )


def _labels(container: Container, packaged: Image) -> dict[str, str]:
    """Return the labels that the image shares with the packaged one, and who owns it."""
    mine = {n: v for n, v in container.labels.items() if n.startswith("devkit.")}
    both = {**mine, **packaged.labels}
    return {n: v for n, v in both.items() if n not in _DROPPED and not record.is_label(n)}


def _packaged(engine: Engine, container: Container) -> Image:
    found = engine.image(container.image_id)
    if found is None:
        raise ImageMissing(f"The image of the container {container.name} is gone.")
    return found
