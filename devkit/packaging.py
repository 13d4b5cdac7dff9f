"""Step 1, package: the service's image is made or found; what nobody needs any more goes."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass

from devkit import contract, predecessor
from devkit.config import Workspace
from devkit.engine import Engine, Image, Progress, Tag
from devkit.errors import EngineError
from devkit.package import entry_script, environment, image, network
from devkit.predecessor import Predecessor
from devkit.results import Packaged


@dataclass(frozen=True)
class BuildOptions:
    """What is said per build and never stands in devkit.yaml."""

    no_cache: bool = False
    pull: bool = False
    platform: str | None = None


def planned(workspace: Workspace, build: BuildOptions) -> image.Plan:
    """Decide the build; no engine is asked."""
    entry_script.check(workspace)
    wanted = environment.read(workspace)
    reach = network.found(workspace, wanted.wants)
    return image.plan(workspace, wanted, reach, platform=build.platform)


def packaged(
    engine: Engine,
    workspace: Workspace,
    build: BuildOptions,
    *,
    progress: Progress,
    note: Progress,
) -> Packaged:
    """Make the image, or find that the engine has it already; the one of before goes."""
    now, before = made(engine, workspace, build, progress=progress, note=note)
    if before:
        remove_unused(engine, workspace, [before.image.id])
    return now


def made(
    engine: Engine,
    workspace: Workspace,
    build: BuildOptions,
    *,
    progress: Progress,
    note: Progress,
) -> tuple[Packaged, Predecessor | None]:
    """Make the image; return the one, too, that lost its tag to it."""
    # Never as it is: an engine takes a word of hexadecimal digits for the beginning of an id.
    there = engine.image(str(Tag.parse(workspace.config.image.tag)))
    if there and (whose := _other_owner(there, workspace)):
        note(f"{workspace.config.image.tag} was {whose} and is taken over; --tag names another.")
    built = image.package(engine, workspace, progress=progress, **asdict(build))
    if not built.reused:
        for line in built.notes:
            note(line)
    now = Packaged(str(built.tag), built.image.id, built.reused, built.seconds)
    if there is None or there.id == built.image.id:
        return now, None
    before = predecessor.set_aside(engine, there, built.tag)
    if before.kept_as:
        note(f"{built.tag} is packaged anew; what commits came from is {before.kept_as} now.")
    return now, before


def _other_owner(image: Image, workspace: Workspace) -> str | None:
    """Say whose image it is, if it is none of this service."""
    service = image.labels.get(contract.LABEL_SERVICE)
    root = image.labels.get(contract.LABEL_WORKSPACE)
    if service is None:
        return "an image that devkit did not make"
    if (service, root) == (workspace.config.service, str(workspace.root)):
        return None
    return f"the image of the service {service} in {root}"


def remove_unused(engine: Engine, workspace: Workspace, ids: Collection[str]) -> None:
    """Remove those images that were made here and that no tag and no container holds."""
    ours = {
        contract.LABEL_SERVICE: workspace.config.service,
        contract.LABEL_WORKSPACE: str(workspace.root),
    }
    for old in filter(None, map(engine.image, ids)):
        is_used = old.tags or any(c.image_id == old.id for c in engine.containers({}))
        if not is_used and ours.items() <= old.labels.items():
            # Another container may take it just now, and another image may be made from it.
            with suppress(EngineError):
                engine.remove_image(old.id)
