"""Step 1, package: which files of a folder go into the build context.

.dockerignore decides; version control, caches and what looks like a key are never in it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path, PurePosixPath

from docker.utils.build import PatternMatcher

from devkit.engine import ContextFile

_NEVER = (
    ".git .hg .svn .venv .devkit .vscode .idea .tox .nox .mypy_cache .ruff_cache .pytest_cache "
    ".hypothesis .ipynb_checkpoints __pycache__ *.pyc *.pyo .DS_Store .dockerignore"
)
# Names that gitleaks, git-secrets, shhgit and GitHub's .gitignore templates look for.
# These are keys and logins:
_KEYS = (
    ".env .env.* .envrc *.p12 *.pkcs12 *.pfx *.ppk *.jks *.jceks *.keystore *.keychain *.kdb "
    "*.kdbx *.agilekeychain id_rsa* id_dsa* id_ecdsa* id_ed25519* .ssh .gnupg .netrc _netrc "
    ".pypirc .pgpass .my.cnf .mylogin.cnf .npmrc .git-credentials .htpasswd .docker .dockercfg "
    ".dockerconfigjson .msmtprc .aws .azure .gcloud .boto .s3cfg .databrickscfg .kube "
    ".terraformrc .vault-token .vault_pass* .kaggle .cdsapirc .*_history"
)
# ... and these may be, or may be what a service reads: whoever names one in .dockerignore gets it.
_PERHAPS_KEYS = (
    "*.env secret.json secret.y*ml secrets.json secrets.y*ml secrets.toml secrets.ini *.secret "
    "*.secrets local.settings.json *.pem *.key *.p8 *.ovpn *_rsa *_dsa *_ecdsa *_ed25519 "
    "credentials credentials.json credentials.csv client_secret*.json service-account*.json "
    "service_account*.json kaggle.json *.publishsettings kubeconfig *.kubeconfig terraform.rc "
    "*.tfstate *.tfstate.* *.tfvars *.tfvars.json .yarnrc.yml"
)
_LARGE_BYTES = 100 * 1000 * 1000


def _any_of(patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(translate(pattern) for pattern in patterns.split()), re.IGNORECASE)


_NEVER_NAMES = _any_of(_NEVER)
_KEY_NAMES = _any_of(_KEYS)
_PERHAPS_KEY_NAMES = _any_of(_PERHAPS_KEYS)


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
    files, large = list[ContextFile](), list[str]()
    dropped = list[_Dropped]()
    for found in _walked(folder, folder, rules, leave_out):
        if isinstance(found, _Dropped):
            dropped.append(found)
        else:
            relative = found.relative_to(folder).as_posix()
            files.append(_context_file(found, under / relative))
            if (size := found.lstat().st_size) > _LARGE_BYTES:
                large.append(f"{relative} ({size / 1e6:,.0f} MB)")
    files.sort(key=lambda file: file.path)
    return Found(tuple(files), (*_notes(dropped), *_large_notes(large)))


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


def is_key(name: str) -> bool:
    """Whether a file of that name holds a key or a login, whoever made it."""
    return bool(_KEY_NAMES.fullmatch(name))


def never(folder: Path, ignore: Path) -> Callable[[str], bool]:
    """Return what says of a path below `folder` whether nothing brings it into a container.

    A folder's path has "/" at its end.
    """

    def is_never(relative: str) -> bool:
        path = relative.removesuffix("/")
        name = path.rpartition("/")[2]
        if _NEVER_NAMES.fullmatch(name) or _KEY_NAMES.fullmatch(name):
            return True
        if _PERHAPS_KEY_NAMES.fullmatch(name):
            return not _Rules.of(folder, ignore).asks_for(path)
        return path != relative and (folder / path / "pyvenv.cfg").is_file()

    return is_never


def left_out(folder: Path, ignore: Path) -> Callable[[str], bool]:
    """Return what says of a path below `folder` whether .dockerignore leaves it out."""
    rules = _Rules.of(folder, ignore)
    return lambda relative: rules.ignores(relative) and not rules.keep_below(relative)


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

    def asks_for(self, relative: str) -> bool:
        """Whether an exception names just this one; "!src/**" means no key in there."""
        return self.prefix + relative in self.exceptions

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
            if ignored and not (path.is_dir() and rules.keep_below(relative)):
                continue
            if _KEY_NAMES.fullmatch(entry.name):
                yield _Dropped(relative, "key")
            elif _PERHAPS_KEY_NAMES.fullmatch(entry.name) and not rules.asks_for(relative):
                yield _Dropped(relative, "perhaps")
            elif entry.is_symlink():
                yield from _link(path, top, relative)
            elif entry.is_dir():
                if not (path / "pyvenv.cfg").is_file():
                    yield from _walked(path, top, rules, leave_out)
            elif entry.is_file():
                yield path


def _link(path: Path, top: Path, relative: str) -> Iterator[Path | _Dropped]:
    target = Path(os.path.realpath(path))
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
        "perhaps": "Left out, as they may be keys or passwords: {}. "
        "A line in .dockerignore puts one in all the same: !{}",
        "link": "Left out, as these links lead out of the source directory: {}.",
    }
    for reason, text in texts.items():
        paths = sorted(item.path for item in dropped if item.reason == reason)
        if paths:
            yield text.format(_listed(paths), paths[0])


def _large_notes(large: list[str]) -> Iterator[str]:
    if large:
        they = "goes" if len(large) == 1 else "go"
        yield f"{_listed(sorted(large))} {they} into the image; .dockerignore can leave that out."


def _listed(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
