"""`devkit commit`, `history`, `diff` and `images`: a container becomes the next image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from devkit.cli.group import command, group
from devkit.cli.options import App, global_options

if TYPE_CHECKING:
    from devkit.commit.differ import Difference
    from devkit.commit.make import Committed

# More changed files are told by their number.
_MOST_SHOWN = 20


@command(
    "commit",
    examples=[
        'devkit commit -m "scaling fixed"',
        "devkit commit debug:7",
    ],
)
@click.argument("tag", required=False)
@click.option("-m", "--message", default="", help="A line for `devkit history`.")
@click.option(
    "--pull-back/--no-pull-back",
    default=True,
    help="Bring workspace and container in step first, so that both have the same (default).",
)
@click.option("--force", is_flag=True, help="Take the tag from an image that has it.")
@click.option("--adopt", metavar="CONTAINER", help="A container that devkit did not make.")
@click.pass_obj
def commit(
    app: App, *, tag: str | None, message: str, pull_back: bool, force: bool, adopt: str | None
) -> None:
    """Make an image of the container as it is now: debug:1 becomes debug:2.

    It starts as the packaged image does: variables that were given at the start are not in it, nor
    is anything of devkit's. The container goes on running.
    """
    from devkit import committing

    with app.session("Committing") as session:
        if app.dry_run:
            plan = committing.planned(session, tag, force=force, adopt=adopt)
            app.out.result({"would": plan}, str(plan))
            return
        made = committing.commit(
            session, tag, message=message, force=force, pull_back=pull_back, adopt=adopt
        )
    app.out.result(_as_json(made), _told(made))


@command(
    "history",
    examples=[
        "devkit history",
    ],
)
@click.pass_obj
def history(app: App) -> None:
    """List the service's images, what became of which, and which one runs (*)."""
    from devkit import committing

    with app.session() as session:
        found = committing.history(session)
    text = "\n".join(map(str, found)) or "No image yet: `devkit package` makes the first."
    app.out.result({"images": found}, text)


@command(
    "diff",
    examples=[
        "devkit diff                      what the next commit will have",
        "devkit diff debug:1 debug:3 --text",
        "devkit diff workspace container",
    ],
)
@click.argument("before", metavar="[A]", required=False)
@click.argument("after", metavar="[B]", required=False)
@click.option("--text", is_flag=True, help="How text files differ, as a patch.")
@click.option("--stat", is_flag=True, help="Sizes beside the names.")
@click.pass_obj
def diff(app: App, *, before: str | None, after: str | None, text: bool, stat: bool) -> None:
    """List the files that were added (A), modified (M) and deleted (D) from A to B.

    Each is an image's tag, "container" or "workspace". Without B it is the container; without A
    what that was last committed as, or came from.
    """
    from devkit import committing

    with app.session("Comparing") as session:
        found = committing.diff(session, before, after, text=text)
    lines = "\n".join(_line(item, text=text, stat=stat) for item in found)
    app.out.result({"files": found}, lines or "Nothing differs.")


@group(
    "images",
    params=global_options(),
    examples=["devkit images prune --keep 3"],
)
def images() -> None:
    """Look after the service's images; `devkit history` lists them."""


@images.command("prune", examples=["devkit images prune --keep 3", "devkit images prune --dry-run"])
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="The newest so many stay.",
)
@click.pass_obj
def prune(app: App, *, keep: int) -> None:
    """Remove older images, and what builds have left without a tag; never one that is used."""
    from devkit import committing

    with app.session("Pruning") as session:
        found = committing.superfluous(session, keep)
        names = [name for image in found for name in image.tags or (image.id,)]
        if app.dry_run or not found:
            app.out.result({"would_remove": names}, "\n".join(names) or "Nothing to remove.")
            return
        app.confirm(f"Remove {', '.join(names)}?")
        gone = committing.prune(session, found)
    app.out.result({"removed": gone}, f"Removed {', '.join(gone)}." if gone else "Nothing removed.")


def _as_json(made: Committed) -> dict[str, Any]:
    return {
        "image": made.image,
        "id": made.id,
        "parent": made.parent,
        "changed": [
            {"path": item.path, "kind": item.kind, "bytes": item.bytes} for item in made.changed
        ],
        "not_in_image": made.left,
        "leaks": made.leaks,
        "stall_s": made.stall_s,
        "seconds": round(made.seconds, 3),
    }


def _told(made: Committed) -> str:
    lines = [f"{item.kind:>8}  {item.path}" for item in made.changed[:_MOST_SHOWN]]
    if len(made.changed) > _MOST_SHOWN:
        lines.append(f"          and {len(made.changed) - _MOST_SHOWN} more")
    stalled = "" if made.stall_s is None else f", the service waited {made.stall_s * 1000:.0f} ms"
    lines = lines or [f"Nothing changed since {made.parent}."]
    head = f"Committed {made.parent} as {made.image} in {made.seconds:.1f} s{stalled}."
    return "\n".join([head, *lines])


def _line(item: Difference, *, text: bool, stat: bool) -> str:
    if text and item.text is not None:
        return item.text.rstrip("\n")
    return item.stat if stat or text else str(item)
