"""Step 1, package: lines as pip reads them become `Requirements`.

They stand in requirements.txt, conda's pip section or pyproject.toml; nested files are followed.
Own code because pip's parser is not public and no well-kept library has one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from devkit.errors import EnvironmentInvalid, SecretRefused

_COMMENT = re.compile(r"(^|\s+)#.*$")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_LINE_OPTIONS = re.compile(r"\s+(?=--(?:hash|config-settings?|global-option)\b)")
_EGG = re.compile(r"#egg=([\w.\-]+(?:\[[\w,\-]+\])?)(&?)")
_VCS = re.compile(r"^(git|hg|svn|bzr)\+")
_LOCAL_EXTRAS = re.compile(r"^(?P<path>[^\[]+)(\[(?P<extras>[^\]]*)\])?$")
_KEPT_OPTIONS = ("--pre", "--prefer-binary", "--no-binary", "--only-binary", "--trusted-host")
_LONG = {"-r": "--requirement", "-c": "--constraint", "-e": "--editable", "-i": "--index-url"}
_LONG |= {"-f": "--find-links"}


@dataclass(frozen=True)
class Line:
    """One thing to install, as pip takes it, and the place "file:line" that asks for it."""

    text: str
    place: str

    @property
    def requirement(self) -> Requirement | None:
        """The parsed form; None for a bare address."""
        try:
            return Requirement(_LINE_OPTIONS.split(self.text)[0])
        except InvalidRequirement:
            return None

    @property
    def name(self) -> str:
        """The canonical package name; "" for a bare address."""
        return canonicalize_name(self.requirement.name) if self.requirement else ""


@dataclass(frozen=True)
class Local:
    """A project folder, wheel or source archive of this machine that is to be installed."""

    path: Path
    extras: str
    place: str

    def requirement(self, path: str) -> str:
        """The line that installs it from `path`."""
        return f"{path}[{self.extras}]" if self.extras else path


@dataclass(frozen=True)
class Requirements:
    """What a list of lines asks for; `options` are lines that pip and uv take as they are."""

    lines: tuple[Line, ...] = ()
    constraints: tuple[Line, ...] = ()
    local: tuple[Local, ...] = ()
    options: tuple[str, ...] = ()
    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    def __add__(self, other: Requirements) -> Requirements:
        """Both, in order; a later index replaces an earlier one, as in pip."""
        return Requirements(
            self.lines + other.lines,
            self.constraints + other.constraints,
            self.local + other.local,
            self.options + other.options,
            other.index_url or self.index_url,
            self.extra_index_urls + other.extra_index_urls,
            self.notes + other.notes,
            self.files + other.files,
        )


def read(path: Path, root: Path) -> Requirements:
    """Read a requirements file and all that it names.

    Raises:
        EnvironmentInvalid: a file is missing or a line cannot be understood; file:line is named.
        SecretRefused: an address holds a password.
    """
    return _read(path, root, place="", within=())


def parse(numbered: Iterable[tuple[int, str]], path: Path, root: Path) -> Requirements:
    """Understand lines (number, text) that stand in `path`; paths are relative to the workspace."""
    return _parsed(numbered, path, root, within=(path,))


def shown(path: Path, root: Path) -> str:
    """A path as messages show it: relative to the workspace where it can be."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _read(path: Path, root: Path, *, place: str, within: tuple[Path, ...]) -> Requirements:
    path = Path(os.path.realpath(path))
    if path in within:
        return Requirements()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        asked = f"{place} asks for {shown(path, root)}, which" if place else shown(path, root)
        raise EnvironmentInvalid(
            f"{asked} cannot be read: {reason}.", hint="Correct the path, or create the file."
        ) from error
    found = _parsed(_logical(text), path, root, within=(*within, path))
    return Requirements(files=(path,)) + found


def _logical(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number of the first line, text) with lines that end in a backslash joined."""
    start, parts = 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        start = start if parts else number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            parts.append(line[:-1])
            continue
        yield start, " ".join([*parts, line])
        parts = []
    if parts:
        yield start, " ".join(parts)


def _parsed(
    numbered: Iterable[tuple[int, str]], path: Path, root: Path, *, within: tuple[Path, ...]
) -> Requirements:
    found = Requirements()
    for number, raw in numbered:
        text = _VARIABLE.sub(_from_environment, _COMMENT.sub("", raw)).strip()
        if text:
            place = f"{shown(path, root)}:{number}"
            if "\0" in text:
                why = f"{place}: there is a zero byte in this line."
                raise EnvironmentInvalid(why, hint="Save the file as UTF-8 text.")
            found += _line(text, place, path, root, within)
    return found


def _from_environment(match: re.Match[str]) -> str:
    return os.environ.get(match[1], match[0])


def _line(text: str, place: str, path: Path, root: Path, within: tuple[Path, ...]) -> Requirements:
    if text.startswith("-"):
        return _option(text, place, path, root, within)
    local = _local(text, place, path, root)
    if local:
        return Requirements(local=(local,))
    return Requirements(lines=(_installable(text, place),))


def _option(
    text: str, place: str, path: Path, root: Path, within: tuple[Path, ...]
) -> Requirements:
    word, _, rest = re.sub(r"^(--[\w-]+)=", r"\1 ", text).partition(" ")
    if word[:2] in _LONG and not word.startswith("--"):
        word, rest = _LONG[word[:2]], (word[2:] + " " + rest)
    rest = rest.strip().strip("\"'")
    match word:
        case "--requirement":
            return _read(path.parent / rest, root, place=place, within=within)
        case "--constraint":
            inner = _read(path.parent / rest, root, place=place, within=within)
            return Requirements(constraints=inner.lines + inner.constraints, files=inner.files)
        case "--editable":
            return _editable(rest, place, path, root)
        case "--index-url":
            return Requirements(index_url=rest)
        case "--extra-index-url":
            return Requirements(extra_index_urls=(rest,))
        case "--find-links":
            return _find_links(rest, place)
        case _ if word in _KEPT_OPTIONS:
            return Requirements(options=(f"{word} {rest}".strip(),))
    raise EnvironmentInvalid(
        f"{place}: {word} is not an option that devkit can hand to the build.",
        hint="Remove the line; it is about pip on one machine, not about what to install.",
    )


def _editable(text: str, place: str, path: Path, root: Path) -> Requirements:
    local = _local(text, place, path, root)
    if local is None:
        return Requirements(lines=(_installable(text, place),))
    note = f"{place}: -e {text} is installed as a copy; after an edit there type `devkit run`."
    return Requirements(local=(local,), notes=(note,))


def _find_links(text: str, place: str) -> Requirements:
    if urlsplit(text).scheme in ("http", "https"):
        _refuse_password(text, place)
        return Requirements(options=(f"--find-links {text}",))
    note = f"{place}: --find-links {text} is a folder of this machine; a build cannot reach it."
    return Requirements(notes=(note,))


def _local(text: str, place: str, path: Path, root: Path) -> Local | None:
    """Find the file or folder that a line names; None when it names none."""
    bare = text.partition(" @ ")[2] if " @ file:" in text else text
    is_file_url = bare.startswith("file:")
    looks_local = is_file_url or bare.startswith((".", "/", "~")) or bare.endswith(".whl")
    if not looks_local or "://" in bare.removeprefix("file://"):
        return None
    match = _LOCAL_EXTRAS.match(bare.removeprefix("file://").removeprefix("file:"))
    if match is None:
        return None
    written = Path(match["path"].strip()).expanduser()
    for base in (root, path.parent):
        found = Path(os.path.realpath(base / written))
        if found.exists():
            return Local(found, match["extras"] or "", place)
    raise EnvironmentInvalid(
        f"{place} asks for {written}, which is not there.",
        hint="Paths are relative to the workspace; correct it or remove the line.",
    )


def _installable(text: str, place: str) -> Line:
    head = _LINE_OPTIONS.split(text)[0]
    address = head.partition(" @ ")[2] or head
    if "://" in address:
        _refuse_password(address, place)
    if egg := _EGG.search(head):
        # The name that pip once took from the address; uv wants it in front.
        named = head.replace(egg[0], "#" if egg[2] else "")
        return Line(f"{egg[1]} @ {named}", place)
    if _VCS.match(head) or head.startswith(("http://", "https://")):
        return Line(text, place)
    try:
        Requirement(head)
    except InvalidRequirement as error:
        raise EnvironmentInvalid(
            f"{place}: {head!r} is not a requirement ({str(error).splitlines()[0]}).",
            hint='Write it as "name==1.2.3", as pip takes it.',
        ) from error
    return Line(text, place)


def _refuse_password(address: str, place: str) -> None:
    if urlsplit(_VCS.sub("", address)).password or "@" in urlsplit(address).netloc.removeprefix(
        "git@"
    ):
        raise SecretRefused(
            f"{place}: this address holds a user name or password, which would stay in the image.",
            hint="Install that package from an index, or give its wheel as a local path.",
        )
