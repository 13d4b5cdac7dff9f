"""Doctor: do file events arrive: the system's limits, and the file system of the workspace."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from devkit.diagnose.finding import Finding
from devkit.doctor.check import Machine, Seen, unseen
from devkit.sync.agent import places

# Events of other machines never arrive there; 9p and drvfs are how WSL shows Windows' disks.
_WITHOUT_EVENTS = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "gpfs"),
    *("9p", "drvfs", "vboxsf", "virtiofs", "prl_fs", "vmhgfs"),
    *(
        "fuse.sshfs",
        "fuse.vmhgfs-fuse",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.gcsfuse",
        "fuse.rclone",
    ),
}
_MOST_S = 3.0
_INOTIFY = "proc/sys/fs/inotify"


def limits(machine: Machine) -> Seen:
    """How many folders the system lets one watch, against those of the workspace."""
    watches = _number(machine.system / _INOTIFY / "max_user_watches")
    instances = _number(machine.system / _INOTIFY / "max_user_instances")
    if watches is None or instances is None:
        return unseen("this system has none")
    folders, is_all = counted(machine.workspace.source if machine.workspace else machine.root)
    used_instances, used_watches = _used(machine.system / "proc")
    more = "" if is_all else " or more"
    noun = "folder" if folders == 1 and is_all else "folders"
    text = f"{watches} watches ({used_watches} in use) for {folders}{more} {noun}"
    findings = list[Finding]()
    if used_watches + folders > watches:
        findings.append(_few("watches", folders + used_watches, watches, 524288))
    # The sync has one, and so has each of the editor's own watchers.
    if used_instances + 2 > instances:
        findings.append(_few("instances", used_instances + 2, instances, 1024))
    return Seen(text, tuple(findings))


def file_system(machine: Machine) -> Seen:
    """Whether the workspace is where events are told."""
    kind, mount = _mount(machine)
    if _is_wsl(machine.system) and _is_windows_disk(machine.root):
        finding = Finding(
            "wsl-windows-disk",
            "warning",
            f"The workspace is on Windows' disk ({machine.root}).",
            "WSL gets no file events from there: a save is seen only by looking each second, and "
            "every access takes longer.",
            f"Move it into WSL: cp -r {machine.root} ~/ and open that folder by `code .` there.",
        )
        return Seen(f"{kind or 'unknown'} on Windows' disk", (finding,))
    if kind in _WITHOUT_EVENTS:
        finding = Finding(
            "no-file-events",
            "warning",
            f"The workspace is on {kind}, mounted at {mount}.",
            "What others change there is told by no event: devkit looks at all files each second.",
            "Work in a folder of a local disk.",
        )
        return Seen(f"{kind} at {mount}", (finding,))
    return Seen(f"{kind} at {mount}") if kind else unseen("not known")


def counted(folder: Path, *, most_s: float = _MOST_S) -> tuple[int, bool]:
    """Count the folders that are watched; False where there was no time for all of them."""
    until, pending, count = time.monotonic() + most_s, [os.fspath(folder)], 0
    while pending:
        if time.monotonic() > until:
            return count, False
        count += 1
        with suppress(OSError), os.scandir(pending.pop()) as listed:
            pending += [
                item.path
                for item in listed
                if item.is_dir(follow_symlinks=False) and not places.is_fleeting_name(item.name)
            ]
    return count, True


def _few(what: str, needed: int, has: int, enough: int) -> Finding:
    setting = f"fs.inotify.max_user_{what}"
    return Finding(
        f"inotify-{what}-low",
        "warning",
        f"{setting} is {has}; {needed} are needed.",
        "Beyond that no file events come, and devkit looks at all files each second instead.",
        f"Type: echo {setting}={enough} | sudo tee /etc/sysctl.d/60-devkit.conf && "
        "sudo sysctl --system",
    )


def _used(proc: Path) -> tuple[int, int]:
    """Instances and watches that processes of this user have, as far as they can be seen."""
    instances = watches = 0
    for folder in _own_processes(proc):
        with suppress(OSError):
            for link in (folder / "fd").iterdir():
                with suppress(OSError):
                    if link.readlink().name == "anon_inode:inotify":
                        instances += 1
                        text = (folder / "fdinfo" / link.name).read_text("ascii", "replace")
                        watches += text.count("\ninotify ")
    return instances, watches


def _own_processes(proc: Path) -> Iterator[Path]:
    if not hasattr(os, "geteuid"):
        return
    for folder in proc.glob("[0-9]*"):
        with suppress(OSError):
            if folder.stat().st_uid == os.geteuid():
                yield folder


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None


def _is_wsl(system: Path) -> bool:
    try:
        return "microsoft" in (system / "proc/version").read_text("utf-8", "replace").lower()
    except OSError:
        return False


def _is_windows_disk(root: Path) -> bool:
    return root.parts[:2] == ("/", "mnt") and len(root.parts) > 2 and len(root.parts[2]) == 1


def _mount(machine: Machine) -> tuple[str, str]:
    """The kind of file system of the workspace, and where it is mounted."""
    best = ("", "")
    for kind, mount in _mounts(machine.system):
        # The last of those mounted at one place covers the others.
        if machine.root.is_relative_to(mount) and len(mount) >= len(best[1]):
            best = kind, mount
    return best


def _mounts(system: Path) -> Iterator[tuple[str, str]]:
    try:
        lines = (system / "proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        import psutil

        yield from ((p.fstype, p.mountpoint) for p in psutil.disk_partitions(all=True))
        return
    for line in lines:
        before, _, after = line.partition(" - ")
        words = before.split(" ")
        if len(words) > 4 and after:
            yield after.split(" ")[0], _unescaped(words[4])


def _unescaped(text: str) -> str:
    for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, letter)
    return text
