"""Which files of a folder get into the build context."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pytest

from devkit.package import build_files

UNDER = PurePosixPath("app/svc")


def fill(root: Path, *paths: str) -> None:
    for name in paths:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def shipped(folder: Path, *, ignore: Path | None = None, out: Iterable[Path] = ()) -> set[str]:
    found = build_files.source(folder, UNDER, ignore=ignore or folder, leave_out=set(out))
    return {file.path.relative_to(UNDER).as_posix() for file in found.files}


def test_a_folder_is_shipped_with_its_inner_paths(tmp_path: Path) -> None:
    fill(tmp_path, "score.py", "pkg/__init__.py", "data/a b ü.csv")
    assert shipped(tmp_path) == {"score.py", "pkg/__init__.py", "data/a b ü.csv"}


def test_version_control_caches_and_environments_are_never_shipped(tmp_path: Path) -> None:
    fill(tmp_path, "score.py", ".git/config", "pkg/__pycache__/a.pyc", "a.pyc", ".venv/x")
    fill(tmp_path, ".devkit/x", ".vscode/launch.json", "env3/pyvenv.cfg", "env3/lib/a.py")
    assert shipped(tmp_path) == {"score.py"}


@pytest.mark.parametrize(
    "name",
    [".env", ".env.local", "a.KDBX", "id_rsa", "id_ed25519", ".netrc", ".pypirc", ".bash_history"],
)
def test_what_looks_like_a_key_is_left_out_and_named(tmp_path: Path, name: str) -> None:
    fill(tmp_path, "score.py", f"conf/{name}")
    found = build_files.source(tmp_path, UNDER, ignore=tmp_path, leave_out=set())
    assert [file.path.name for file in found.files] == ["score.py"]
    assert found.notes == (f"Left out, as they look like keys or passwords: conf/{name}.",)


@pytest.mark.parametrize("name", ["prod.env", "secrets.json", "tls.pem", "a.KEY", "x.tfvars"])
def test_what_may_be_a_key_is_left_out_until_dockerignore_names_it(
    tmp_path: Path, name: str
) -> None:
    fill(tmp_path, "score.py", f"conf/{name}")
    found = build_files.source(tmp_path, UNDER, ignore=tmp_path, leave_out=set())
    assert [file.path.name for file in found.files] == ["score.py"]
    assert found.notes == (
        f"Left out, as they may be keys or passwords: conf/{name}. "
        f"A line in .dockerignore puts one in all the same: !conf/{name}",
    )
    (tmp_path / ".dockerignore").write_text(f"!conf/{name}\n")
    assert shipped(tmp_path) == {"score.py", f"conf/{name}"}
    (tmp_path / ".dockerignore").write_text("*\n!score.py\n!conf/**\n")
    assert shipped(tmp_path) == {"score.py"}


def test_a_large_file_is_named_with_its_size(tmp_path: Path) -> None:
    fill(tmp_path, "score.py")
    for name, size in (("data.bin", 100_000_001), ("small.bin", 100_000_000)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    found = build_files.source(tmp_path, UNDER, ignore=tmp_path, leave_out=set())
    assert found.notes == (
        "data.bin (100 MB) goes into the image; .dockerignore can leave that out.",
    )


def test_a_folder_of_credentials_is_left_out_as_a_whole(tmp_path: Path) -> None:
    fill(tmp_path, "score.py", ".aws/credentials", ".ssh/config")
    found = build_files.source(tmp_path, UNDER, ignore=tmp_path, leave_out=set())
    assert len(found.files) == 1
    assert ".aws, .ssh" in found.notes[0]


def test_a_dockerignore_decides_with_its_exceptions(tmp_path: Path) -> None:
    fill(tmp_path, "score.py", "docs/a.md", "docs/keep.md", "x/y/tmp/a", "a.log", "sub/b.log")
    (tmp_path / ".dockerignore").write_text("# c\n\ndocs\n!docs/keep.md\n**/tmp\n*.log\n")
    # As in Docker, a pattern without **/ counts from the top only.
    assert shipped(tmp_path) == {"score.py", "docs/keep.md", "sub/b.log"}


def test_a_dockerignore_of_the_workspace_counts_for_a_source_folder_in_it(tmp_path: Path) -> None:
    fill(tmp_path, "src/score.py", "src/big.bin", "src/other.bin")
    (tmp_path / ".dockerignore").write_text("src/big.bin\nother.bin\n")
    assert shipped(tmp_path / "src", ignore=tmp_path) == {"score.py", "other.bin"}


def test_an_exception_does_not_bring_a_key_back(tmp_path: Path) -> None:
    fill(tmp_path, "score.py", ".env")
    (tmp_path / ".dockerignore").write_text("*\n!score.py\n!.env\n")
    assert shipped(tmp_path) == {"score.py"}


def test_what_reaches_the_image_by_another_way_is_left_out(tmp_path: Path) -> None:
    fill(tmp_path, "score.py", "models/a.pkl", "models/b.pkl", "net/w")
    out = {tmp_path / "models/a.pkl", tmp_path / "net"}
    assert shipped(tmp_path, out=out) == {"score.py", "models/b.pkl"}


def test_links_inside_stay_links_and_links_outwards_are_dropped(tmp_path: Path) -> None:
    source = tmp_path / "src"
    fill(source, "score.py", "data/a.csv")
    fill(tmp_path, "secret.txt")
    (source / "inside").symlink_to("data/a.csv")
    (source / "folder").symlink_to("data")
    (source / "out").symlink_to("../secret.txt")
    (source / "absolute").symlink_to(source / "score.py")
    found = build_files.source(source, UNDER, ignore=source, leave_out=set())
    links = {file.path.name: file.link for file in found.files if file.link}
    assert links == {"inside": "data/a.csv", "folder": "data"}
    assert found.notes == (
        "Left out, as these links lead out of the source directory: absolute, out.",
    )


def test_a_link_to_itself_is_one_that_leads_nowhere(tmp_path: Path) -> None:
    fill(tmp_path, "score.py", "net/w")
    for name in ("loop", "ignored"):
        (tmp_path / name).symlink_to(name)
    (tmp_path / "absolute").symlink_to(tmp_path / "absolute")
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / ".dockerignore").write_text("ignored\n!ignored/a")
    found = build_files.source(tmp_path, UNDER, ignore=tmp_path, leave_out={tmp_path / "net"})
    assert {file.path.name: file.link for file in found.files if file.link} == {
        "loop": "loop",
        "nowhere": "gone",
    }
    assert found.notes == ("Left out, as these links lead out of the source directory: absolute.",)
    (tmp_path / "net/loop").symlink_to("loop")
    assert [file.path.name for file in build_files.whole(tmp_path / "net", UNDER)] == ["w"]


def test_only_the_run_bit_of_a_mode_is_kept(tmp_path: Path) -> None:
    fill(tmp_path, "a", "b")
    (tmp_path / "a").chmod(0o700)
    (tmp_path / "b").chmod(0o600)
    found = build_files.source(tmp_path, UNDER, ignore=tmp_path, leave_out=set())
    assert [file.mode for file in found.files] == [0o755, 0o644]


def test_a_model_folder_is_shipped_whole_with_links_resolved(tmp_path: Path) -> None:
    fill(tmp_path, "blobs/1f", "net/config.json", "net/.git/x", "net/sub/.env")
    (tmp_path / "net/weights").symlink_to("../blobs/1f")
    (tmp_path / "net/loop").symlink_to(".")
    files = build_files.whole(tmp_path / "net", PurePosixPath("m/1/net"))
    assert {str(file.path): file.content for file in files} == {
        "m/1/net/config.json": tmp_path / "net/config.json",
        "m/1/net/weights": tmp_path / "blobs/1f",
        "m/1/net/sub/.env": tmp_path / "net/sub/.env",
    }
