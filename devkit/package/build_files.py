"""Step 1, package: which files of a folder go into the build context.

.dockerignore decides; version control, caches and what looks like a key are never in it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path, PurePosixPath

from docker.utils.build import PatternMatcher

from devkit.engine import ContextFile

_NEVER = (
    ".git .hg .svn .venv .devkit .vscode .idea .tox .nox .mypy_cache .ruff_cache .pytest_cache "
    ".hypothesis .ipynb_checkpoints __pycache__ *.pyc *.pyo .DS_Store .dockerignore"
)
_KEYS = (
    ".env .env.* *.pem *.key *.p12 *.pfx *.jks *.kdbx *.ppk id_rsa* id_dsa* id_ecdsa* id_ed25519* "
    ".netrc _netrc .pypirc .pgpass .npmrc .git-credentials .htpasswd .aws .azure .ssh .gnupg "
    ".kube .docker .boto .s3cfg .databrickscfg"
)


def _any_of(patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(translate(pattern) for pattern in patterns.split()), re.IGNORECASE)


_NEVER_NAMES = _any_of(_NEVER)
_KEY_NAMES = _any_of(_KEYS)


@dataclass(frozen=True)
class Found:
    """The files of a folder, and what was left out on purpose."""

    files: tuple[ContextFile, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Dropped:
    path: str
    reason: str


def source(folder: Path, under: PurePosixPath, *, ignore: Path, leave_out: set[Path]) -> Found:
    """Collect a source folder.

    Args:
        folder: the folder, without links in its own path.
        under: where it stands in the context.
        ignore: the folder whose .dockerignore counts, unless `folder` has one of its own.
        leave_out: files and folders that reach the image by another way.
    """
    rules = _Rules.of(folder, ignore)
    files = list[ContextFile]()
    dropped = list[_Dropped]()
    for found in _walked(folder, folder, rules, leave_out):
        if isinstance(found, _Dropped):
            dropped.append(found)
        else:
            files.append(_context_file(found, under / found.relative_to(folder).as_posix()))
    files.sort(key=lambda file: file.path)
    return Found(tuple(files), tuple(_notes(dropped)))


def whole(path: Path, under: PurePosixPath) -> tuple[ContextFile, ...]:
    """Collect a model, a file or a whole folder; links become what they lead to."""
    if path.is_file():
        return (_context_file(path, under),)
    files = []
    seen = set[str]()
    for directory, names, inside in os.walk(path, followlinks=True):
        real = os.path.realpath(directory)
        if real in seen:
            names.clear()  # a link to a folder above: it would never end
            continue
        seen.add(real)
        names[:] = sorted(name for name in names if name not in (".git", "__pycache__"))
        for name in sorted(inside):
            file = Path(directory, name)
            if file.is_file():
                place = under / file.relative_to(path).as_posix()
                files.append(_context_file(file.resolve(), place))
    return tuple(files)


@dataclass(frozen=True)
class _Rules:
    """A .dockerignore; `prefix` leads from its folder to the folder that is walked."""

    matcher: PatternMatcher | None
    prefix: str = ""
    exceptions: tuple[str, ...] = ()

    @classmethod
    def of(cls, folder: Path, ignore: Path) -> _Rules:
        for base in (folder, ignore):
            path = base / ".dockerignore"
            if path.is_file() and folder.is_relative_to(base):
                lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
                patterns = [p for p in map(str.strip, lines) if p and not p.startswith("#")]
                prefix = folder.relative_to(base).as_posix().removeprefix(".")
                return cls(
                    PatternMatcher(patterns),
                    f"{prefix}/" if prefix else "",
                    tuple(p[1:].strip("/ ") for p in patterns if p.startswith("!")),
                )
        return cls(None)

    def ignores(self, relative: str) -> bool:
        if self.matcher is None:
            return False
        # The stubs want a path; the matcher takes only text.
        return bool(self.matcher.matches(self.prefix + relative))  # type: ignore[arg-type]

    def keep_below(self, relative: str) -> bool:
        """Whether an exception ("!docs/a.md") brings something of an ignored folder back."""
        return any(text.startswith(self.prefix + relative) for text in self.exceptions)


def _walked(
    folder: Path, top: Path, rules: _Rules, leave_out: set[Path]
) -> Iterator[Path | _Dropped]:
    """Yield files and links to ship; what is dropped with a reason comes as `_Dropped`."""
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            relative = path.relative_to(top).as_posix()
            if _NEVER_NAMES.fullmatch(entry.name) or path in leave_out:
                continue
            ignored = rules.ignores(relative)
            if ignored and not (entry.is_dir() and rules.keep_below(relative)):
                continue
            if _KEY_NAMES.fullmatch(entry.name):
                yield _Dropped(relative, "key")
            elif entry.is_symlink():
                yield from _link(path, top, relative)
            elif entry.is_dir():
                if not (path / "pyvenv.cfg").is_file():
                    yield from _walked(path, top, rules, leave_out)
            elif entry.is_file():
                yield path


def _link(path: Path, top: Path, relative: str) -> Iterator[Path | _Dropped]:
    target = path.resolve()
    if path.readlink().is_absolute() or not target.is_relative_to(top):
        yield _Dropped(relative, "link")
    else:
        yield path


def _context_file(path: Path, under: PurePosixPath) -> ContextFile:
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode):
        return ContextFile(under, b"", 0o777, link=path.readlink().as_posix())
    # One umask or another must not decide about the image: only the run bit is taken over.
    return ContextFile(under, path, 0o755 if info.st_mode & 0o111 else 0o644)


def _notes(dropped: list[_Dropped]) -> Iterator[str]:
    texts = {
        "key": "Left out, as they look like keys or passwords: {}.",
        "link": "Left out, as these links lead out of the source directory: {}.",
    }
    for reason, text in texts.items():
        paths = sorted(item.path for item in dropped if item.reason == reason)
        if paths:
            more = f" and {len(paths) - 10} more" if len(paths) > 10 else ""
            yield text.format(", ".join(paths[:10]) + more)
