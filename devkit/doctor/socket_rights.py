"""Doctor: why this user may not use an engine's socket, from its owner and the user's groups."""

from __future__ import annotations

import os
import re
from pathlib import Path

from devkit.diagnose.finding import Finding
from devkit.errors import EngineDenied

try:
    import grp
    import pwd
except ImportError:  # Windows has no such sockets
    grp = pwd = None  # type: ignore[assignment]

_SOCKET = re.compile(r"unix://(/[^\s()]+)")


def denied(error: EngineDenied) -> Finding:
    """Say which group the socket is for, and whether only a new login is missing."""
    cause, remedy = error.message, error.hint or "Ask its owner for access."
    match = _SOCKET.search(error.message)
    if match and grp is not None:
        cause, remedy = _of_socket(Path(match[1]), cause, remedy)
    title = "The engine runs, but this user may not use it."
    return Finding("engine-denied", "error", title, cause, remedy)


def _of_socket(path: Path, cause: str, remedy: str) -> tuple[str, str]:
    try:
        info = path.stat()
    except OSError as error:
        return f"{cause} {path} cannot be looked at: {error.strerror}.", remedy
    user, group = _user(), _group(info.st_gid)
    cause = f"{path} is for the user {_name(info.st_uid)} and the group {group} (mode "
    cause += f"{info.st_mode & 0o777:o}); {user} is neither."
    if not info.st_mode & 0o060:
        return cause, remedy
    if info.st_gid in _groups_of(user) and info.st_gid not in os.getgroups():
        cause = f"{user} is in the group {group}, but not since this login."
        return cause, f"Log in again, or type: newgrp {group}"
    return cause, f"Type: sudo usermod -aG {group} {user}   and log in again."


def _user() -> str:
    return _name(os.geteuid())


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _groups_of(user: str) -> list[int]:
    try:
        return os.getgrouplist(user, pwd.getpwnam(user).pw_gid)
    except (KeyError, OSError):
        return []
