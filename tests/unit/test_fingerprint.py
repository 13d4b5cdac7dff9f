"""One hash over all that decides an image."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from devkit.engine import BuildSpec, ContextFile, Tag
from devkit.errors import BadValue
from devkit.package import fingerprint


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setattr(fingerprint, "user_cache_path", lambda name: folder)
    return folder / "digests.json"


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A file that is worth remembering: big, and not changed just now."""
    path = tmp_path / "model.bin"
    path.write_bytes(b"a" * 300_000)
    return path


def spec(*files: ContextFile) -> BuildSpec:
    return BuildSpec(Tag("a", "1"), "FROM b", files, {"k": "v"})


def file(content: bytes | Path, path: str = "app/x", mode: int = 0o644) -> ContextFile:
    return ContextFile(PurePosixPath(path), content, mode)


def test_the_same_build_has_the_same_hash_in_any_order() -> None:
    a, b = file(b"1", "a"), file(b"2", "b")
    assert fingerprint.of(spec(a, b), base_id="x") == fingerprint.of(spec(b, a), base_id="x")


def test_a_file_on_disk_counts_by_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"1")
    on_disk = fingerprint.of(spec(file(tmp_path / "f")), base_id=None)
    assert on_disk == fingerprint.of(spec(file(b"1")), base_id=None)


def test_each_thing_that_decides_the_image_changes_the_hash() -> None:
    one = spec(file(b"1"))
    others = [
        replace(one, dockerfile="FROM c"),
        replace(one, labels={"k": "w"}),
        replace(one, args={"A": "1"}),
        replace(one, platform="linux/arm64"),
        spec(file(b"2")),
        spec(file(b"1", "app/y")),
        spec(file(b"1", mode=0o755)),
        spec(replace(file(b""), link="x")),
    ]
    hashes = [fingerprint.of(other, base_id="x") for other in (one, *others)]
    hashes.append(fingerprint.of(one, base_id="y"))
    assert len(set(hashes)) == len(hashes)


def test_a_changed_big_file_is_seen_though_size_and_mtime_are_the_same(
    big: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "_RACY_NS", -1)  # as if it had been written long ago
    first = fingerprint.of(spec(file(big)), base_id=None)
    info = big.stat()
    while big.stat().st_ctime_ns == info.st_ctime_ns:  # the clock of files ticks slowly
        big.write_bytes(b"b" * 300_000)
    os.utime(big, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert fingerprint.of(spec(file(big)), base_id=None) != first


def test_a_big_file_is_read_once(big: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "_RACY_NS", -1)
    first = fingerprint.of(spec(file(big)), base_id=None)
    assert cache.is_file()
    monkeypatch.setattr("hashlib.file_digest", _refused)
    assert fingerprint.of(spec(file(big)), base_id=None) == first


def test_a_file_that_was_just_written_is_not_remembered(big: Path, cache: Path) -> None:
    fingerprint.of(spec(file(big)), base_id=None)
    assert not cache.exists()


def test_a_broken_cache_is_no_error(big: Path, cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("{")
    assert fingerprint.of(spec(file(big)), base_id=None)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="gone cannot be read"):
        fingerprint.of(spec(file(tmp_path / "gone")), base_id=None)


def _refused(stream: object, algorithm: str) -> None:
    raise AssertionError(f"{stream} was read again")


def test_another_way_to_the_packages_is_the_same_image() -> None:
    one = replace(spec(file(b"1")), args={"A": "1"})
    other = replace(one, args={"A": "1", "HTTPS_PROXY": "http://me:secret@proxy:3128"})
    assert fingerprint.of(one, base_id=None) == fingerprint.of(other, base_id=None)
