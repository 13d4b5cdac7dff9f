"""Step 6, commit: what can be asked of a service's versions, its container's among them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from devkit import turn
from devkit.commit import files, history, make, tags
from devkit.commit.history import Version
from devkit.commit.make import Committed, Left
from devkit.commit.record import Git
from devkit.config import Workspace
from devkit.contract import CONFLICT
from devkit.engine import Container, Engine, Image, Progress, Tag
from devkit.errors import EngineError, NameInUse, NoService, NotOurs
from devkit.running import RunningService

_GIT_TIMEOUT_S = 10


@dataclass(frozen=True)
class Planned:
    """What a commit would make."""

    image: str
    parent: str
    left: Left

    def __str__(self) -> str:
        told = f"Would commit {self.parent} as {self.image}."
        return f"{told}\n{self.left}".rstrip()


class Versions:
    """The images of a service, and its container, which is the next one of them."""

    def __init__(
        self,
        engine: Engine,
        workspace: Workspace,
        running: RunningService | None,
        *,
        note: Progress,
    ) -> None:
        self._engine = engine
        self._workspace = workspace
        self._running = running
        self._note = note
        self.images = self._found()

    def _found(self) -> list[Image]:
        service = self._running.name if self._running else self._workspace.config.service
        return history.images(self._engine, service, self._workspace.root)

    def history(self) -> list[Version]:
        """Return the versions, the newest first."""
        return history.versions(self.images, self._running.container if self._running else None)

    def committed(self) -> str | None:
        """Return what the container was last committed as; None where it was not."""
        container = self._of_service().container
        now = history.current(self.images, container)
        return now.tags[0] if now and now.tags and now.id != container.image_id else None

    @property
    def repository(self) -> str:
        """What the images are called, without their versions."""
        newest = (image.tags[0] for image in self.images if image.tags)
        known = self._running.container.image if self._running else next(newest, None)
        return Tag.parse(known or self._workspace.config.image.tag).repository

    def wanted(self, tag: str) -> Image:
        """Find one by its tag, or its version alone.

        Raises:
            ImageMissing: there is none; the nearest one is named.
            NotOurs: it is none of this service.
        """
        image = history.wanted(self._engine, tag, self.repository, self.images)
        if image.id not in {known.id for known in self.images}:
            raise NotOurs(
                f"{tag} is no image of the service {self._workspace.config.service}.",
                hint="`devkit history` lists those that are.",
            )
        return image

    # Committing.

    def planned(self, tag: str | None, *, force: bool, adopted: Container | None = None) -> Planned:
        """Say what `commit` would do.

        Raises:
            BadValue: the tag is none.
            NameInUse: it exists.
        """
        container = adopted or self._of_service().container
        parent, new = self._parent_and_tag(container, tag, force=force)
        shown = next(iter(parent.tags), parent.id) if parent else container.image
        return Planned(str(new), shown, make.left_out(self._engine, container))

    def commit(
        self,
        tag: str | None,
        *,
        message: str,
        force: bool,
        in_step: Callable[[], object],
        adopted: Container | None = None,
    ) -> Committed:
        """Make the container the next image.

        Args:
            tag: its tag; None for the one that comes next.
            message: a line for the history.
            force: take the tag from an image that has it.
            in_step: brings in what was edited just before.
            adopted: this container instead of the service's.

        Raises:
            BadValue: the tag is none.
            NameInUse: it exists, or another devkit commits just now.
        """
        container = adopted or self._of_service().container
        with turn.taken(self._workspace.root, container.name):
            # What another commit has made until now counts: neither takes the other's tag.
            self.images = self._found()
            parent, new = self._parent_and_tag(container, tag, force=force)
            left = make.left_out(self._engine, container)
            if str(left):
                self._note(str(left))
            in_step()
            made = make.commit(
                self._engine,
                container,
                new,
                parent=parent,
                left=left,
                message=message,
                git=revision(self._workspace.root),
                uri=self._answers_at(container),
            )
        for name, path in made.leaks.items():
            self._note(f"{path} holds the value of {name}, and is in the image.")
        for item in made.changed:
            if item.kind != "deleted" and CONFLICT in item.path:
                self._note(f"{item.path} is what a conflict left, and is in the image.")
        return made

    def _answers_at(self, container: Container) -> str | None:
        service = self._running
        # A paused one takes connections, and answers nobody.
        is_asked = service and service.container.id == container.id and container.is_running
        return service.score_uri if service and is_asked else None

    def _of_service(self) -> RunningService:
        if self._running is None:
            service = self._workspace.config.service
            raise NoService(
                f"There is no container of the service {service}.",
                hint="`devkit debug` starts it; `devkit commit --adopt NAME` takes another one.",
            )
        return self._running

    def _parent_and_tag(
        self, container: Container, tag: str | None, *, force: bool
    ) -> tuple[Image | None, Tag]:
        parent = history.current(self.images, container)
        taken = _Taken(self._engine)
        before = self._tag_before(container, parent)
        if tag is None:
            return parent, tags.next_tag(before, taken)
        new = Tag.parse(tag if ":" in tag or "/" in tag else f"{before.repository}:{tag}")
        if not force and self._engine.image(str(new)):
            free = tags.next_tag(new, taken)
            raise NameInUse(
                f"There is an image {new} already.",
                hint=f"`devkit commit {free}`, or --force to take its tag.",
            )
        return parent, new

    def _tag_before(self, container: Container, parent: Image | None) -> Tag:
        """Return the tag of what a container was last committed as, or started from."""
        if parent is not None and parent.tags:
            return Tag.parse(parent.tags[0])
        # Who starts one by its image's id gets no name for it.
        if container.image_id.removeprefix("sha256:").startswith(
            container.image.removeprefix("sha256:")
        ):
            image = self._engine.image(container.image_id)
            names = image.tags if image else ()
            return Tag.parse(names[0] if names else self._workspace.config.image.tag)
        return Tag.parse(container.image)

    # Removing.

    def superfluous(self, keep: int) -> list[Image]:
        """Return the images that `prune` takes away, with the tags that it takes from them.

        All but the `keep` newest versions, and what earlier builds left without a tag; never one
        that a container was made from, or that it was last committed as, nor a tag of another
        repository.
        """
        every = self._engine.containers({})
        used = {container.image_id for container in every if not files.is_for_reading(container)}
        if self._running and (now := history.current(self.images, self._running.container)):
            used.add(now.id)
        ours = [image for image in map(self._with_own_tags, self.images) if image is not None]
        kept = {image.id for image in [image for image in ours if image.tags][:keep]}
        return [image for image in ours if image.id not in kept | used]

    def _with_own_tags(self, image: Image) -> Image | None:
        """Leave out tags of another repository: an image that has only such is the user's own."""
        own = tuple(n for n in image.tags if Tag.parse(n).repository == self.repository)
        return replace(image, tags=own) if own or not image.tags else None

    def prune(self, images: Iterable[Image]) -> list[str]:
        """Remove images; return the names of those that are gone."""
        gone, images = list[str](), list(images)
        files.tidied(self._engine, {image.id for image in images})
        for image in images:
            for name in image.tags or (image.id,):
                try:
                    self._engine.remove_image(name)
                except EngineError as error:
                    self._note(f"{name} stays: {error}")
                else:
                    gone.append(name)
        return gone


class _Taken:
    """The tags that the engine has."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __contains__(self, tag: object) -> bool:
        return self._engine.image(str(tag)) is not None


def revision(root: Path) -> Git | None:
    """Return the workspace's git revision; None without git, or without a commit."""
    try:
        head = _git(root, "rev-parse", "HEAD")
        return Git(head.strip(), dirty=bool(_git(root, "status", "--porcelain", "--", ".")))
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *words: str) -> str:
    # Asking changes nothing: no lock is taken while an editor uses git, too.
    command = ["git", "--no-optional-locks", "-C", str(root), *words]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S
    )
    return done.stdout
