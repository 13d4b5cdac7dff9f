"""What goes to production: an image without all that debugs, and the proof that it is one."""

from __future__ import annotations

from devkit.audit import image as in_image
from devkit.audit.finding import Finding
from devkit.package import release as step
from devkit.packaging import BuildOptions
from devkit.session import Session


def release(
    session: Session, build: BuildOptions, *, tag: str | None, source: str | None
) -> step.Released:
    """Make an image for production of `source`, else of the workspace, packaged first."""
    step.check(session.engine, source or session.workspace.config.image.tag, tag)
    return step.release(
        session.engine,
        session.workspace,
        source or session.package(build).image,
        progress=session.progress,
        tag=tag,
        platform=build.platform,
        no_cache=build.no_cache,
    )


def audit(session: Session, image: str) -> list[Finding]:
    """Find what must not be in production in an image; nothing of it is run."""
    with session.engine.contents(image) as (config, trees):
        return in_image.findings(config, trees)
