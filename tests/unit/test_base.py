"""Making a base image, with a debootstrap and an engine that only say what they would do."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, cast

import psutil
import pytest

from devkit import base
from devkit.engine import BuildSpec, Engine, Image, Progress, Tag
from devkit.errors import BadValue, BaseImageMissing, BuildError, NameInUse

TARGETS = """\
http://deb.debian.org/debian main bookworm
http://mirror.lan/debian contrib trixie
http://mirror.lan/debian/ main trixie
cdrom:[Debian]/ main trixie
"""

# Leaves a root like the real one: a Python, a network file of the host, a cache.
DEBOOTSTRAP = """\
#!/bin/sh
echo "I: Retrieving Packages for $3"
root=$4
mkdir -p "$root/usr/bin" "$root/usr/local/bin" "$root/etc/apt" "$root/var/cache/apt/archives"
ln -s python3.13 "$root/usr/bin/python3"
touch "$root/etc/resolv.conf" "$root/var/cache/apt/archives/a.deb" "$root/usr/bin/python3.13"
echo "deb $5 $3 main" > "$root/etc/apt/sources.list"
"""


class Images:
    """The part of an engine that base images need."""

    def __init__(self, *tags: str, registry: bool = False) -> None:
        self.images = {tag: Image(tag, (tag,), {}, {}, 0) for tag in tags}
        self.registry = registry
        self.files: dict[str, bytes] = {}

    def image(self, tag: str) -> Image | None:
        return self.images.get(tag)

    def build(self, spec: BuildSpec, *, progress: Progress) -> Image:
        needed = spec.dockerfile.removeprefix("FROM ").strip()
        if not self.registry:
            raise BaseImageMissing(f"{needed} cannot be pulled.")
        self._add(needed, {})
        return self._add(str(spec.tag), spec.labels)

    def import_image(self, tar: BinaryIO, tag: Tag, *, labels: Mapping[str, str]) -> Image:
        with tarfile.open(fileobj=io.BytesIO(tar.read())) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                self.files[member.name] = content.read() if content else b""
        return self._add(str(tag), labels)

    def remove_image(self, tag: str) -> None:
        self.images.pop(tag, None)

    def _add(self, tag: str, labels: Mapping[str, str]) -> Image:
        self.images[tag] = Image(tag, (tag,), labels, {}, 0)
        return self.images[tag]


def engine(images: Images) -> Engine:
    return cast(Engine, images)


@pytest.fixture
def debootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A debootstrap of our own first in PATH, root's rights, and a folder for temporary files."""
    script = tmp_path / "bin" / "debootstrap"
    script.parent.mkdir()
    script.write_text(DEBOOTSTRAP, encoding="utf-8")
    script.chmod(0o755)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("PATH", str(script.parent), prepend=os.pathsep)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return script


def left_behind(script: Path) -> list[Path]:
    return list((script.parent.parent / "tmp").iterdir())


@pytest.mark.parametrize(
    ("python", "suite"), [("3.13", "trixie"), ("3.11", "bookworm"), ("3.9", "bullseye")]
)
def test_a_python_comes_from_the_debian_release_that_has_it(python: str, suite: str) -> None:
    assert base.suite_of(python) == suite


def test_a_python_that_debian_lacks_is_refused_with_those_that_it_has() -> None:
    with pytest.raises(BadValue, match=r"no Python 3\.12.*3\.13 \(trixie\).*3\.11 \(bookworm\)"):
        base.suite_of("3.12")


@pytest.mark.parametrize(
    ("codename", "site"),
    [
        ("trixie", "http://mirror.lan/debian"),
        ("bookworm", "http://deb.debian.org/debian"),
        ("bullseye", base.MIRROR),
    ],
)
def test_packages_come_from_the_mirror_of_this_machine(codename: str, site: str) -> None:
    assert base.chosen_mirror(TARGETS, codename) == site


def test_the_image_has_the_packages_and_nothing_of_this_machine(debootstrap: Path) -> None:
    images = Images()
    said: list[str] = []
    made = base.bootstrap(engine(images), python="3.13", progress=said.append)
    assert made.tags == ("devkit-base:3.13",)
    assert made.labels["devkit.base.suite"] == "trixie"
    assert "./usr/local/bin/python" in images.files
    assert "./etc/resolv.conf" not in images.files
    assert "./var/cache/apt/archives/a.deb" not in images.files
    assert said == ["Retrieving Packages for trixie", "Importing devkit-base:3.13"]
    assert left_behind(debootstrap) == []


def test_a_password_in_the_mirrors_address_stays_out_of_the_image(
    debootstrap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "mirror", lambda: "http://me:secret@mirror.lan/debian")
    images = Images()
    base.bootstrap(engine(images), python="3.13", progress=lambda line: None)
    assert images.files["./etc/apt/sources.list"] == b"deb http://mirror.lan/debian trixie main\n"


def test_an_image_made_before_is_found_again(debootstrap: Path) -> None:
    images = Images()
    first = base.bootstrap(engine(images), python="3.13", progress=lambda line: None)
    debootstrap.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    assert base.bootstrap(engine(images), python="3.13", progress=lambda line: None) == first


def test_a_tag_of_somebody_else_is_left_alone(debootstrap: Path) -> None:
    with pytest.raises(NameInUse, match="mine:1 is there already"):
        base.bootstrap(
            engine(Images("mine:1")), python="3.13", tag="mine:1", progress=lambda line: None
        )


def test_a_release_with_another_python_is_named(debootstrap: Path) -> None:
    with pytest.raises(BuildError, match=r"Debian sid has Python 3\.13, not 3\.14"):
        base.bootstrap(engine(Images()), python="3.14", suite="sid", progress=lambda line: None)
    assert left_behind(debootstrap) == []


def test_a_failing_debootstrap_is_quoted_and_leaves_nothing(debootstrap: Path) -> None:
    debootstrap.write_text(
        '#!/bin/sh\nmkdir -p "$4"\necho "E: No such mirror"\nexit 1\n', encoding="utf-8"
    )
    with pytest.raises(BuildError, match=r"trixie could not be bootstrapped.*E: No such mirror"):
        base.bootstrap(engine(Images()), python="3.13", progress=lambda line: None)
    assert left_behind(debootstrap) == []


def test_ctrl_c_ends_debootstrap_and_leaves_nothing(debootstrap: Path) -> None:
    debootstrap.write_text(
        '#!/bin/sh\nmkdir -p "$4"\necho $$\nexec tail -f /dev/null\n', encoding="utf-8"
    )
    pids: list[int] = []

    def interrupted(line: str) -> None:
        pids.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        base.bootstrap(engine(Images()), python="3.13", progress=interrupted)
    assert not psutil.pid_exists(pids[0])
    assert left_behind(debootstrap) == []


def test_only_root_can_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(BuildError, match="only by root") as caught:
        base.bootstrap(engine(Images()), python="3.13", progress=lambda line: None)
    assert "sudo devkit base bootstrap" in (caught.value.hint or "")


@pytest.mark.parametrize("tag", ["python:3.13-slim", "devkit-base:3.13"])
def test_a_base_image_that_is_here_is_taken(tag: str) -> None:
    assert str(base.ensure(engine(Images(tag)), python="3.13", progress=print)) == tag


def test_a_base_image_is_pulled_where_a_registry_is_reached() -> None:
    images = Images(registry=True)
    assert str(base.ensure(engine(images), python="3.13", progress=print)) == "python:3.13-slim"
    assert list(images.images) == ["python:3.13-slim"]


def test_a_base_image_that_cannot_be_pulled_is_bootstrapped(debootstrap: Path) -> None:
    made = base.ensure(engine(Images()), python="3.13", progress=lambda line: None)
    assert str(made) == "devkit-base:3.13"
