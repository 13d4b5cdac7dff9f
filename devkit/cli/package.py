"""`devkit package` and `devkit base bootstrap`: from the workspace to an image."""

from __future__ import annotations

import click

from devkit.cli.group import Command, command, group
from devkit.cli.options import App, image_options


@command(
    "package",
    examples=[
        "devkit package",
        "devkit package --tag debug:1 --base python:3.11-slim",
    ],
)
@image_options
@click.option("--print-dockerfile", is_flag=True, help="Print the Dockerfile and build nothing.")
@click.pass_obj
def package(
    app: App, *, print_dockerfile: bool, no_cache: bool, pull: bool, platform: str | None
) -> None:
    """Build the service's image; nothing is built when nothing changed."""
    from devkit.start import BuildOptions

    with app.session("Packaging") as session:
        build = BuildOptions(no_cache=no_cache, pull=pull, platform=platform)
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
