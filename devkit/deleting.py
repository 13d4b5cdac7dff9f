"""The end of a service: its container, its network and its entries in the editor's files."""

from __future__ import annotations

from contextlib import suppress

from devkit import attach
from devkit import container as step_run
from devkit.errors import NoService
from devkit.results import Deletion
from devkit.session import Session
from devkit.start import removed_service


def planned(session: Session, *, with_launch: bool) -> Deletion:
    """Decide what `delete` takes away."""
    name, root, container = session.workspace.config.service, session.workspace.root, None
    with suppress(NoService):
        running = session.service()
        name, container = running.name, running.container
        # The entries of another workspace's service are in that one, which is left alone.
        with_launch = with_launch and running.root == root
    return Deletion(
        service=name,
        container=container.name if container else None,
        container_id=container.id if container else None,
        network=step_run.network_name(name),
        launch_root=root if with_launch else None,
    )


def delete(session: Session, plan: Deletion) -> Deletion:
    """Remove what was planned, and return what of it was there.

    What was edited in the container is kept, and the result says where.
    """
    # Nobody agreed to remove one that was started since.
    removed, saved = removed_service(
        session.engine,
        session.workspace,
        plan.service,
        plan.container_id or "",
        note=session.note,
    )
    root = plan.launch_root
    return Deletion(
        service=plan.service,
        container=plan.container if removed.container else None,
        container_id=plan.container_id if removed.container else None,
        network=plan.network if removed.network else None,
        launch_root=root if root and attach.removed(root).changed else None,
        edits=saved.folder if saved else None,
    )
