"""Step 1, package: a base image made from Debian packages, where no registry is reached.

debootstrap fills a temporary folder, `tar` streams it into the engine, the folder goes away again.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from devkit.child_process import child_process
from devkit.contract import LABEL_BASE_PYTHON, OFFICIAL_BASE, OWN_BASE
from devkit.engine import BuildSpec, Engine, Image, Progress, Tag
from devkit.errors import BadValue, BaseImageMissing, BuildError, NameInUse

log = logging.getLogger(__name__)

# The one Python 3 that each Debian release has.
SUITES: Mapping[str, str] = {"3.13": "trixie", "3.11": "bookworm", "3.9": "bullseye"}
PACKAGES = ("python3", "python3-pip", "python3-venv", "ca-certificates")
MIRROR = "http://deb.debian.org/debian"

# On the image beside its Python: from which release and day its packages are.
LABEL_SUITE = "devkit.base.suite"
LABEL_DATE = "devkit.base.date"

# What no image needs, or what says something about the machine that made it.
_LEFT_OUT = (
    "./dev/*",
    "./proc/*",
    "./sys/*",
    "./tmp/*",
    "./etc/hostname",
    "./etc/resolv.conf",
    "./var/cache/apt/archives/*.deb",
    "./var/cache/apt/*.bin",
    "./var/lib/apt/lists/*",
    "./var/log/*.log",
    "./usr/share/doc/*/*.gz",
    "./usr/share/locale/*",
    "./usr/share/man/*",
    # As in python:X.Y-slim: `RUN pip install` in a user's own Dockerfile has to work.
    "./usr/lib/python3*/EXTERNALLY-MANAGED",
)


def bootstrap(
    engine: Engine,
    *,
    python: str,
    tag: str | None = None,
    suite: str | None = None,
    progress: Progress,
) -> Image:
    """Make a base image with that Python ("3.13"), or find the one made before.

    Args:
        engine: where the image goes.
        python: the Python version "X.Y".
        tag: the image's tag; `devkit-base:X.Y` by default.
        suite: the Debian release; by default the one that has this Python.
        progress: takes a line for each thing that debootstrap does.

    Raises:
        BadValue: Debian has no such Python, and no `suite` was named.
        NameInUse: the tag belongs to an image that was not made here.
        BuildError: not root, no debootstrap, or debootstrap failed.
    """
    suite = suite or suite_of(python)
    name = Tag.parse(tag or OWN_BASE.format(python=python))
    found = engine.image(str(name))
    if found:
        return _checked(found, name, suite)
    _require_root()
    _require_debootstrap(progress)
    with tempfile.TemporaryDirectory(prefix="devkit-base-", ignore_cleanup_errors=True) as folder:
        root = Path(folder).resolve() / "root"
        with _unmounted_at_end(root):
            _fill(root, suite, mirror(), progress)
        _finish(root, python, suite)
        progress(f"Importing {name}")
        return _imported(engine, root, name, _labels(python, suite))


def ensure(engine: Engine, *, python: str, progress: Progress) -> Tag:
    """A base image with that Python: the official one, here or pulled, else a bootstrapped one.

    Raises:
        BadValue, NameInUse, BuildError: as `bootstrap`.
    """
    official, own = (Tag.parse(it.format(python=python)) for it in (OFFICIAL_BASE, OWN_BASE))
    for tag in (official, own):
        if engine.image(str(tag)):
            return tag
    try:
        _pull(engine, official, progress)
    except BaseImageMissing as error:
        progress(error.message)
        bootstrap(engine, python=python, progress=progress)
        return own
    return official


def _pull(engine: Engine, tag: Tag, progress: Progress) -> None:
    """Have the engine pull an image, as it does for each build that starts from it."""
    probe = Tag("devkit-probe", tag.version)
    spec = BuildSpec(tag=probe, dockerfile=f"FROM {tag}\n", context=(), labels={})
    engine.build(spec, progress=progress)
    engine.remove_image(str(probe))


def suite_of(python: str) -> str:
    """The Debian release that has this Python.

    Raises:
        BadValue: none has.
    """
    if python in SUITES:
        return SUITES[python]
    known = ", ".join(f"{version} ({suite})" for version, suite in SUITES.items())
    raise BadValue(
        f"Debian has no Python {python}; it has {known}.",
        hint="Choose one of these, or name a base image that you can pull: --base IMAGE.",
    )


def mirror() -> str:
    """The Debian mirror that this machine's apt uses, else Debian's own."""
    if not (shutil.which("apt-get") and _host_id() == "debian"):
        return MIRROR
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(COMPONENT) $(RELEASE)"],
        capture_output=True,
        text=True,
        check=False,
    )
    return chosen_mirror(listed.stdout, _host_id("VERSION_CODENAME"))


def chosen_mirror(targets: str, codename: str) -> str:
    """The first site with main of `codename`, out of apt's "site component release" lines."""
    for line in targets.splitlines():
        site, _, rest = line.partition(" ")
        if rest == f"main {codename}" and site.startswith(("http://", "https://")):
            return site.rstrip("/")
    return MIRROR


def _checked(image: Image, name: Tag, suite: str) -> Image:
    if image.labels.get(LABEL_SUITE) == suite:
        return image
    raise NameInUse(
        f"{name} is there already and is not a base image made from Debian {suite}.",
        hint=f"Remove it (docker image rm {name}) or choose another --tag.",
    )


def _host_id(key: str = "ID") -> str:
    try:
        lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return values.get(key, "").strip('"')


def _require_root() -> None:
    if os.geteuid() != 0:
        raise BuildError(
            "A base image can be bootstrapped only by root: debootstrap changes root and owners.",
            hint="Type `sudo devkit base bootstrap` (or run it under fakeroot fakechroot), "
            "or pull an image where a registry can be reached: --base IMAGE.",
        )


def _require_debootstrap(progress: Progress) -> None:
    if shutil.which("debootstrap"):
        return
    if _host_id() != "debian":
        raise BuildError(
            "debootstrap is not installed.",
            hint="Install it with this system's package manager, as in "
            "`apt-get install debootstrap debian-archive-keyring`.",
        )
    progress("Installing debootstrap with apt-get")
    install = "apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 debootstrap"
    command = f"{install} || (apt-get update && {install})"
    _run(["sh", "-c", command], progress, "debootstrap could not be installed")


def _fill(root: Path, suite: str, site: str, progress: Progress) -> None:
    include = f"--include={','.join(PACKAGES)}"
    command = ["debootstrap", "--variant=minbase", include, suite, str(root), site]
    _run(command, progress, f"Debian {suite} could not be bootstrapped from {_public(site)}")
    # The address, should it hold a password, must not stay in the image.
    sources = root / "etc/apt/sources.list"
    sources.write_text(f"deb {_public(site)} {suite} main\n", encoding="utf-8")


def _public(site: str) -> str:
    parts = urlsplit(site)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _finish(root: Path, python: str, suite: str) -> None:
    has = (root / "usr/bin/python3").readlink().name.removeprefix("python")
    if has != python:
        raise BuildError(
            f"Debian {suite} has Python {has}, not {python}.",
            hint=f"Type `devkit base bootstrap --python {has}`.",
        )
    # The official Python images have it, and so people's Dockerfiles call it.
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")


def _labels(python: str, suite: str) -> dict[str, str]:
    today = datetime.now(UTC).date().isoformat()
    return {LABEL_BASE_PYTHON: python, LABEL_SUITE: suite, LABEL_DATE: today}


def _imported(engine: Engine, root: Path, name: Tag, labels: Mapping[str, str]) -> Image:
    left_out = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
    command = ["tar", "-C", str(root), "--numeric-owner", *left_out, "-c", "."]
    with child_process(command, stderr=subprocess.DEVNULL) as (tar, output):
        image = engine.import_image(output, name, labels=labels)
        if tar.wait() != 0:
            engine.remove_image(str(name))
            raise BuildError(
                f"tar could not read the whole of {root}; {name} was not made.",
                hint="Is the disk of the temporary folder (TMPDIR) full? Try again.",
            )
    return image


def _run(command: Sequence[str], progress: Progress, failure: str) -> None:
    last: deque[str] = deque(maxlen=15)
    log.debug("%s", shlex.join(command))
    with child_process(command, stderr=subprocess.STDOUT) as (child, output):
        for raw in output:
            line = raw.decode(errors="replace").strip()
            last.append(line)
            progress(line.removeprefix("I: "))
        if child.wait() != 0:
            said = last[-1] if last else "it said nothing"
            raise BuildError(f"{failure}: {said}", hint=_tail(last))


def _tail(lines: Sequence[str]) -> str:
    return "Its last lines:\n" + "\n".join(f"  {line}" for line in lines)


@contextmanager
def _unmounted_at_end(root: Path) -> Iterator[None]:
    """Take away what a killed debootstrap leaves mounted below `root` (/proc, /sys)."""
    try:
        yield
    finally:
        below = [p.mountpoint for p in psutil.disk_partitions(all=True)]
        for mount in sorted((m for m in below if Path(m).is_relative_to(root)), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False)
