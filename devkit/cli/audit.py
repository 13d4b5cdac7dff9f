"""`devkit audit`: what must not be in production, in an image or a manifest."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

import click

from devkit.cli.group import command
from devkit.cli.options import App

if TYPE_CHECKING:
    from devkit.audit.finding import Finding


@command(
    "audit",
    always_acts=True,
    examples=[
        "devkit audit debug:1-release",
        "devkit audit --manifest deployment.yaml",
    ],
)
@click.argument("image", required=False)
@click.option(
    "--manifest",
    type=click.File("rb"),
    help="A Kubernetes or compose file instead; - is stdin, as from `helm template`.",
)
@click.pass_context
def audit(ctx: click.Context, *, image: str | None, manifest: IO[bytes] | None) -> None:
    """Look for what must not be in production; exit code 1 when something is found.

    That is a debugger, its variables and ports, secrets, root, an editor. The image is read, not
    run, and nothing is changed.
    """
    app = ctx.ensure_object(App)
    if (image is None) == (manifest is None):
        raise click.UsageError("Name an image, or a file with --manifest.")
    if manifest is not None:
        from devkit.audit import manifest as in_manifest

        subject = str(manifest.name)
        found = in_manifest.findings(manifest.read(), subject)
    else:
        from devkit import releasing

        subject = str(image)
        with app.session("Reading the image") as session:
            found = releasing.audit(session, subject)
    text = "\n".join([*map(_shown, found), _summary(subject, found)])
    app.out.result({"subject": subject, "findings": found}, text, ok=not found)
    ctx.exit(1 if found else 0)


def _shown(found: Finding) -> str:
    return f"{found.severity:6}  {found.title}\n        {found.where}\n        {found.remedy}"


def _summary(subject: str, found: list[Finding]) -> str:
    if not found:
        return f"{subject}: nothing found that must not be in production."
    return f"{subject}: findings: {len(found)}."
