"""Doctor: what of devkit's own is left over and can go; never a file of the user's."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from devkit import contract
from devkit.config import Workspace
from devkit.diagnose.finding import Finding
from devkit.doctor.check import Machine
from devkit.doctor.reach import Reach
from devkit.engine import Engine
from devkit.engines.docker_asked import Asked
from devkit.errors import EngineError, OwnFolderUnusable
from devkit.own_folder import NAME
from devkit.sync import control
from devkit.sync.agent import places
from devkit.sync.agent.side import Side

# Younger ones may be of a devkit that is at work.
ABANDONED_S = 3600.0
_SERVICE = contract.LABEL_SERVICE
_ENOUGH = {"watches": 524288, "instances": 1024}


@dataclass(frozen=True)
class Repair:
    """What would be done, in words, and how; `asks`: only after a yes."""

    text: str
    do: Callable[[], object]
    asks: bool = False


def planned(
    machine: Machine,
    reach: Reach,
    findings: Sequence[Finding] = (),
    *,
    older_s: float = ABANDONED_S,
) -> list[Repair]:
    """Decide what is to be done; nothing is changed."""
    found = list[Repair]()
    if machine.workspace is not None:
        found += _of_workspace(machine.workspace)
    engine = reach.engine_or_none()
    if engine is not None and engine.name != "process":
        found += _containers(engine, reach.asked(), older_s)
        found += _networks(engine, reach.asked(), older_s)
    return [*found, *_limits(machine, findings)]


def _of_workspace(workspace: Workspace) -> list[Repair]:
    """What syncs have left that ended; nothing while one runs, which clears up by itself."""
    own = workspace.root / NAME
    sync = own / "sync"
    if own.is_symlink() or not sync.is_dir() or sync.is_symlink():
        return []
    with _alone(workspace.root) as is_alone:
        if not is_alone:
            return []
        return [*_states(workspace, sync), *_databases(own), *_temporaries(workspace)]


@contextmanager
def _alone(root: Path) -> Iterator[bool]:
    """Keep all syncs of a workspace from beginning; yield False where one runs."""
    sync = root / NAME / "sync"
    services = sorted({path.stem for path in [*sync.glob("*.lock"), *sync.glob("*.json")]})
    with ExitStack() as held:
        try:
            is_alone = all(held.enter_context(control.only_one(root, name)) for name in services)
        except OwnFolderUnusable:  # without a lock nobody knows
            is_alone = False
        yield is_alone


def _if_alone(root: Path, do: Callable[[], object]) -> Callable[[], None]:
    def repair() -> None:
        with _alone(root) as is_alone:
            if not is_alone:
                raise EngineError("A sync has begun meanwhile, which clears up by itself.")
            do()

    return repair


def _states(workspace: Workspace, sync: Path) -> Iterator[Repair]:
    # A lock's file stays: to remove one lets two syncs hold a lock each. The lock itself goes with
    # its process.
    for path in sorted(sync.glob("*.json")):
        text = f"remove the address of the sync of {path.stem}, which ended: {path}"
        yield Repair(text, partial(_forget, workspace.root, path))


def _forget(root: Path, path: Path) -> None:
    with control.only_one(root, path.stem) as is_mine:
        if not is_mine:
            return
        with suppress(OSError, ValueError, KeyError, TypeError):
            _unlink_socket(Path(json.loads(path.read_text("utf-8"))["address"]))
        path.unlink(missing_ok=True)


def _unlink_socket(path: Path) -> None:
    """Remove a socket, if it stands where devkit's sockets do: the file may say anything."""
    folder = Path(tempfile.gettempdir(), f"devkit-{os.getuid()}")
    if path.parent == folder and path.suffix == ".sock" and stat.S_ISSOCK(path.lstat().st_mode):
        path.unlink()


def _databases(own: Path) -> Iterator[Repair]:
    trash = [] if (own / "trash").is_symlink() else [own / "trash" / "journal.db"]
    for path in sorted([*(own / "sync").glob("*.db"), *trash]):
        if path.is_file() and not path.is_symlink() and _is_broken(path):
            aside = path.with_name(f"{path.name}.broken-{time.strftime('%Y%m%d-%H%M%S')}")
            text = f"set a broken database aside: {path} -> {aside.name}"
            yield Repair(text, _if_alone(own.parent, partial(path.rename, aside)))


def _is_broken(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            return bool(database.execute("PRAGMA quick_check").fetchone() != ("ok",))
    except sqlite3.OperationalError:
        return False  # locked, or not to be read: the file is sound
    except sqlite3.DatabaseError:
        return True


def _temporaries(workspace: Workspace) -> Iterator[Repair]:
    for above, folders, files in os.walk(workspace.source):
        folders[:] = [name for name in folders if not places.is_fleeting_name(name)]
        for name in sorted(name for name in files if name.startswith(places.TEMPORARY)):
            path = Path(above, name)
            # What was put aside may hold what somebody wrote: it gets a name that is seen.
            verb = "show" if name.startswith(places.ASIDE) else "remove"
            text = f"{verb} what a sync that was killed has left: {path}"
            yield Repair(text, _if_alone(workspace.root, partial(_cleared, path)))


def _cleared(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if path.name.startswith(places.ASIDE):
            Side(str(path.parent)).recover(folder, path.name)
        else:
            places.unlink(folder, path.name)
    finally:
        os.close(folder)


def _containers(engine: Engine, asked: Asked, older_s: float) -> Iterator[Repair]:
    for left in asked.never_started(contract.LABEL_READING):
        if left.age_s >= older_s:
            text = f"remove a container that was made to read an image only: {left.id[:12]}"
            yield Repair(text, partial(engine.remove, left.id))


def _networks(engine: Engine, asked: Asked, older_s: float) -> Iterator[Repair]:
    has_container = {c.labels[_SERVICE] for c in engine.containers({_SERVICE: ""})}
    for left in asked.networks(_SERVICE):
        service = left.labels.get(_SERVICE, "")
        is_ours = left.name == f"devkit-{service}" and service not in has_container
        if is_ours and left.age_s >= older_s:
            text = f"remove the network of a service that is gone: {left.name}"
            yield Repair(text, partial(engine.remove_network, left.name))


def _limits(machine: Machine, findings: Sequence[Finding]) -> Iterator[Repair]:
    """Raise inotify's limits: the machine's, so root only, and only if somebody says yes."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return
    for what, enough in _ENOUGH.items():
        if any(finding.id == f"inotify-{what}-low" for finding in findings):
            path = machine.system / f"proc/sys/fs/inotify/max_user_{what}"
            text = (
                f"raise fs.inotify.max_user_{what} of this machine to {enough}, until it restarts"
            )
            yield Repair(text, partial(path.write_text, f"{enough}\n", "ascii"), asks=True)
