"""`devkit package` and `devkit base bootstrap`: from the workspace to an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from devkit.cli.group import Command, command, group
from devkit.cli.options import App, image_options

if TYPE_CHECKING:
    from devkit.packaging import BuildOptions


@command(
    "package",
    examples=[
        "devkit package",
        "devkit package --tag debug:1 --base python:3.11-slim",
        "devkit package --release",
        "devkit package --release iris:1 --from debug:2",
    ],
)
@image_options
@click.option("--print-dockerfile", is_flag=True, help="Print the Dockerfile and build nothing.")
@click.option(
    "--release",
    is_flag=False,
    flag_value="",
    metavar="[NAME:VERSION]",
    help="Make an image for production, too: the same code, models and packages; no debugger, "
    "no editor, nothing of devkit, not root.  [default name: the image's own and -release]",
)
@click.option(
    "--from",
    "source",
    metavar="NAME:VERSION",
    help="With --release: of that packaged or committed image instead of the workspace.",
)
@click.pass_obj
def package(
    app: App,
    *,
    print_dockerfile: bool,
    release: str | None,
    source: str | None,
    no_cache: bool,
    pull: bool,
    platform: str | None,
) -> None:
    """Build the service's image; nothing is built when nothing changed."""
    from devkit.packaging import BuildOptions

    if source is not None and release is None:
        raise click.UsageError("--from says what a release is made from: add --release.")
    build = BuildOptions(no_cache=no_cache, pull=pull, platform=platform)
    if release is not None:
        _release(app, build, release or None, source, print_dockerfile=print_dockerfile)
        return
    with app.session("Packaging") as session:
        if print_dockerfile:
            text = session.plan(build).spec.dockerfile
            app.out.result({"dockerfile": text}, text)
        elif app.dry_run:
            plan = session.plan(build).spec
            files = [str(file.path) for file in plan.context]
            app.out.result(
                {"image": str(plan.tag), "context": files},
                "\n".join([f"Would build {plan.tag} from:", *(f"  {name}" for name in files)]),
            )
        else:
            made = session.package(build)
            how = "reused: nothing changed" if made.reused else f"{made.package_s:.1f} s"
            app.out.result(made, f"Packaged {made.image} ({how}).")


def _release(
    app: App, build: BuildOptions, tag: str | None, source: str | None, *, print_dockerfile: bool
) -> None:
    """Make the release, or say what it would be."""
    from devkit import releasing

    with app.session("Releasing") as session:
        if print_dockerfile or app.dry_run:
            from devkit.package import release

            debugged = source or session.workspace.config.image.tag
            spec = release.plan(session.workspace, debugged, tag=tag).spec
            if print_dockerfile:
                app.out.result({"dockerfile": spec.dockerfile}, spec.dockerfile)
            else:
                text = f"Would make {spec.tag} of {debugged}."
                app.out.result({"image": str(spec.tag), "source": debugged}, text)
            return
        made = releasing.release(session, build, tag=tag, source=source)
    how = "reused: nothing changed" if made.reused else f"{made.release_s:.1f} s"
    text = f"Released {made.image} of {made.source} ({how}); `devkit audit {made.image}` checks it."
    app.out.result(made, text)


@group(
    "base",
    examples=[
        "devkit base bootstrap --python 3.13",
    ],
)
def base() -> None:
    """Make base images where no registry can be reached."""


@base.command(
    "bootstrap",
    always_acts=True,
    cls=Command,
    examples=[
        "devkit base bootstrap --python 3.13",
        "devkit debug --base devkit-base:3.13",
    ],
)
@click.option("--python", metavar="X.Y", help="Which Python (default: the service's).")
@click.option("--tag", metavar="NAME:VERSION", help="What to call it (default: devkit-base:X.Y).")
@click.pass_obj
def bootstrap(app: App, *, python: str | None, tag: str | None) -> None:
    """Make a base image out of Debian packages, with debootstrap."""
    with app.session("Bootstrapping") as session:
        image = session.bootstrap(python=python, tag=tag)
    name = image.tags[0]
    app.out.result({"image": name, "id": image.id}, f"Made {name}; use it with `--base {name}`.")
