from __future__ import annotations

import io
import tarfile
from pathlib import Path, PurePosixPath

import pytest

from devkit.engine import BuildSpec, ContextFile, Tag
from devkit.engines.build_context import DOCKERFILE, base_images, tar_stream
from devkit.errors import BuildError


def spec(*files: ContextFile) -> BuildSpec:
    return BuildSpec(Tag("x", "1"), "FROM a", files, {})


def members(*files: ContextFile) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    data = b"".join(tar_stream(spec(*files), "FROM a"))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {
            member.name: (
                member,
                content.read() if (content := archive.extractfile(member)) else b"",
            )
            for member in archive
            if not member.issym()
        } | {member.name: (member, b"") for member in archive if member.issym()}


def test_the_dockerfile_travels_with_the_context() -> None:
    assert members()[DOCKERFILE][1] == b"FROM a"


def test_names_contents_modes_and_links_arrive(tmp_path: Path) -> None:
    for size in (0, 1, 511, 512, 513, 3_000_000):
        (tmp_path / str(size)).write_bytes(b"x" * size)
    name = "ä b/" + "n" * 150
    found = members(
        ContextFile(PurePosixPath(name), b"hello", mode=0o755),
        ContextFile(PurePosixPath("link"), b"", link="ä b"),
        *(ContextFile(PurePosixPath(p.name), p) for p in sorted(tmp_path.iterdir())),
    )
    assert found[name][1] == b"hello"
    assert (found[name][0].mode, found[name][0].uid, found[name][0].gid) == (0o755, 0, 0)
    assert found["link"][0].linkname == "ä b"
    for size in (0, 1, 511, 512, 513, 3_000_000):
        assert found[str(size)][1] == b"x" * size
    assert found["1"][0].mtime == pytest.approx((tmp_path / "1").stat().st_mtime)


def test_a_file_that_went_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="gone"):
        members(ContextFile(PurePosixPath("gone"), tmp_path / "gone"))


def test_a_file_that_shrinks_while_it_is_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "shrinks"
    path.write_bytes(b"x" * (3 << 20))
    stream = tar_stream(spec(ContextFile(PurePosixPath("shrinks"), path)), "")
    header = [next(stream) for _ in range(4)]
    assert header
    path.write_bytes(b"")
    with pytest.raises(BuildError, match="shrinks became shorter"):
        list(stream)


@pytest.mark.parametrize(
    ("dockerfile", "images"),
    [
        ("FROM python:3.13-slim", ("python:3.13-slim",)),
        ("FROM a AS one\nFROM b\nCOPY --from=one /x /x\nFROM one", ("a", "b")),
        ("from --platform=linux/amd64 a:1 as x\nRUN true", ("a:1",)),
        ("FROM scratch\nADD x /", ()),
        ("ARG BASE=a:1\nFROM ${BASE}", ("a:1",)),
        ("ARG BASE=a:1\nARG V=2\nFROM $BASE\nFROM b:$V", ("a:1", "b:2")),
        ("FROM ${MISSING:-a}", ()),
        ("FROM a\nFROM a", ("a",)),
        ('# FROM x\nFROM "a"', ("a",)),
    ],
)
def test_the_images_that_a_dockerfile_builds_on(dockerfile: str, images: tuple[str, ...]) -> None:
    assert base_images(dockerfile, {}) == images


def test_a_build_argument_chooses_the_base() -> None:
    assert base_images("ARG BASE=a\nFROM $BASE", {"BASE": "b"}) == ("b",)
