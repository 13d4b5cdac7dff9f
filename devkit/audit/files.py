"""What an image's file names tell. A name is only looked at: nothing is extracted or opened."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from devkit.audit import finding
from devkit.audit.finding import Finding, Kind
from devkit.package.build_files import is_key

_DEBUGGER = re.compile(r"_?(?P<name>debugpy|ptvsd|pydevd|devkit_runtime)(?![a-z0-9]).*", re.I)
_EDITOR = re.compile(
    r"[rg]?(?P<name>n?vim|nano|emacs|code-server|openvscode-server)([.\-][\w.\-]+|diff|client)?"
)
_VSCODE = (".vscode-server", ".vscode-remote", ".code-server")
_BIN = ("bin", "sbin")
# Below the folder that holds one of these is one installation: a Python, a virtual or conda one.
_INSTALLED = ("bin", "lib", "lib64", "conda-meta", "pkgs")
# Packages bring keys of their own for tests, and certificates.
_PACKAGED = frozenset(["site-packages", "dist-packages", "node_modules", "pkgs"])
_SYSTEM = ("usr/", "lib/", "proc/", "sys/", "etc/ssl/", "etc/skel/")
_PASSWD, _PASSWD_MOST = "etc/passwd", 1 << 20
# A hostile image may hold any number of names: of each kind so many places are kept.
_MOST = 20


@dataclass(frozen=True)
class _Told:
    """What a path tells. One of each kind, title and group is shown: an installation is one."""

    kind: Kind
    title: str
    place: str
    group: str


class Files:
    """Takes the members of an image's tar, and keeps what they tell; memory is bounded."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], _Told] = {}
        self._more: dict[str, Kind] = {}
        self._users: dict[str, int] = {}

    def take(self, archive: tarfile.TarFile) -> None:
        """Read the archive to its end.

        Raises:
            tarfile.TarError: it is cut, or no archive.
        """
        while (member := archive.next()) is not None:
            # tarfile keeps each member for a second pass, which a stream never has.
            archive.members.clear()  # type: ignore[attr-defined]
            path = member.name.removeprefix("./").strip("/")
            if path == _PASSWD and member.isfile() and member.size <= _PASSWD_MOST:
                self._read_users(archive.extractfile(member))
            for told in _told(path, is_folder=member.isdir()):
                self._keep(told)

    def is_root(self, user: str) -> bool:
        """Whether /etc/passwd has that name as root's."""
        return self._users.get(user.partition(":")[0], 1) == 0

    def findings(self) -> Iterator[Finding]:
        """Yield what was found; where there are many places, the first ones."""
        for told in self._found.values():
            yield Finding.of(told.kind, told.title, told.place)
        for kind in self._more.values():
            yield Finding.of(kind, f"There are more than {_MOST} of these.", "/")

    def _keep(self, told: _Told) -> None:
        key = (told.kind.id, told.title, told.group)
        if key not in self._found and sum(id_ == told.kind.id for id_, *_ in self._found) >= _MOST:
            self._more[told.kind.id] = told.kind
        elif key not in self._found or _is_package(told) > _is_package(self._found[key]):
            self._found[key] = told

    def _read_users(self, file: IO[bytes] | None) -> None:
        for line in (file.read(_PASSWD_MOST) if file else b"").splitlines():
            parts = line.decode("utf-8", "replace").split(":")
            if len(parts) > 2 and parts[2].isdecimal():
                self._users.setdefault(parts[0], int(parts[2]))


def _told(path: str, *, is_folder: bool) -> Iterator[_Told]:
    parts = path.split("/")
    if debugger := _debugger(parts):
        yield debugger
    name, place = parts[-1], _place(parts)
    editor = _EDITOR.fullmatch(name) if len(parts) > 1 and parts[-2] in _BIN else None
    if editor and not is_folder:
        yield _Told(finding.EDITOR, f"The editor {editor['name']} is in it.", place, parts[-2])
    elif name in _VSCODE:
        yield _Told(finding.EDITOR, "VS Code's server is in it.", place, place)
    if not is_folder and _is_own(path, parts) and _is_login(parts):
        yield _Told(finding.KEY_FILE, "Its name is that of a key or login.", place, place)


def _debugger(parts: list[str]) -> _Told | None:
    for number, part in enumerate(parts):
        # The first part decides: debugpy brings a pydevd of its own.
        if match := _DEBUGGER.fullmatch(part):
            title = f"{match['name'].lower()} is in it."
            above = (n for n, it in enumerate(parts[:number]) if it in _INSTALLED)
            group = _place(parts[: next(above, number + 1)])
            return _Told(finding.DEBUGGER, title, _place(parts[: number + 1]), group)
    return None


def _is_package(told: _Told) -> bool:
    """Whether the place is the package, not its metadata or its command."""
    path = PurePosixPath(told.place)
    return path.parent.name in _PACKAGED and told.title.startswith(f"{path.name.lower()} ")


def _is_login(parts: list[str]) -> bool:
    """Whether the name, or a folder above, is that of keys; .env may be a virtual environment."""
    folders = (part for part in parts[:-1] if not part.startswith(".env"))
    return is_key(parts[-1]) or any(map(is_key, folders))


def _is_own(path: str, parts: list[str]) -> bool:
    return not path.startswith(_SYSTEM) and _PACKAGED.isdisjoint(parts)


def _place(parts: list[str]) -> str:
    return "/" + "/".join(parts)
