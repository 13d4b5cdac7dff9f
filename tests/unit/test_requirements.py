"""Requirement lines as pip reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from devkit.errors import EnvironmentInvalid, SecretRefused
from devkit.package import requirements


def written(root: Path, text: str, name: str = "requirements.txt") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def texts(found: requirements.Requirements) -> list[str]:
    return [line.text for line in found.lines]


def test_comments_blank_lines_and_continued_lines_are_read_as_pip_does(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "\ufeff# a comment\n\nnumpy==1.26.4  # pinned\npandas \\\n  >=2\nflask#no comment\n",
    )
    with pytest.raises(EnvironmentInvalid, match=r"requirements.txt:6: 'flask#no comment'"):
        requirements.read(path, tmp_path)
    written(tmp_path, "# a comment\n\nnumpy==1.26.4  # pinned\npandas \\\n  >=2\nsix\n")
    found = requirements.read(path, tmp_path)
    assert [(line.name, line.place) for line in found.lines] == [
        ("numpy", "requirements.txt:3"),
        ("pandas", "requirements.txt:4"),
        ("six", "requirements.txt:6"),
    ]


def test_markers_extras_and_hashes_stay_with_their_line(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'a[x,y]==1 ; python_version < "3.9"\nb==2 --hash=sha256:00 --hash=sha256:11\n',
    )
    found = requirements.read(path, tmp_path)
    assert texts(found) == [
        'a[x,y]==1 ; python_version < "3.9"',
        "b==2 --hash=sha256:00 --hash=sha256:11",
    ]
    assert [line.name for line in found.lines] == ["a", "b"]


def test_nested_files_are_followed_once_and_name_their_own_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "-r more/base.txt\n--requirement=more/base.txt\nsix\n")
    written(tmp_path, "numpy\n-r ../requirements.txt\n-c pins.txt\n", "more/base.txt")
    written(tmp_path, "numpy==1.26.4\n", "more/pins.txt")
    found = requirements.read(path, tmp_path)
    assert texts(found) == ["numpy", "numpy", "six"]
    assert found.lines[0].place == "more/base.txt:1"
    assert [line.text for line in found.constraints] == ["numpy==1.26.4"] * 2


def test_a_missing_nested_file_names_the_line_that_asks_for_it(tmp_path: Path) -> None:
    path = written(tmp_path, "six\n-r gone.txt\n")
    with pytest.raises(EnvironmentInvalid, match=r"requirements.txt:2 asks for gone.txt"):
        requirements.read(path, tmp_path)


def test_index_options_are_taken_out_of_the_lines(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "-i https://a.test/simple\n--extra-index-url=https://b.test/simple\n--pre\n"
        "--no-binary :all:\n-f https://c.test/wheels\nsix\n",
    )
    found = requirements.read(path, tmp_path)
    assert found.index_url == "https://a.test/simple"
    assert found.extra_index_urls == ("https://b.test/simple",)
    assert found.options == ("--pre", "--no-binary :all:", "--find-links https://c.test/wheels")
    assert texts(found) == ["six"]


def test_a_find_links_folder_is_left_out_with_a_note(tmp_path: Path) -> None:
    found = requirements.read(written(tmp_path, "--find-links ./wheels\n"), tmp_path)
    assert found.options == ()
    assert "requirements.txt:1: --find-links ./wheels is a folder" in found.notes[0]


def test_an_unknown_option_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentInvalid, match=r"requirements.txt:1: --cache-dir"):
        requirements.read(written(tmp_path, "--cache-dir /x\n"), tmp_path)


@pytest.mark.parametrize("line", ["./pkg", "-e ./pkg", "file:pkg", "pkg @ file:pkg"])
def test_a_local_project_is_found_from_the_workspace(tmp_path: Path, line: str) -> None:
    (tmp_path / "pkg").mkdir()
    found = requirements.read(written(tmp_path, f"{line}\n", "deps/r.txt"), tmp_path)
    assert [local.path for local in found.local] == [tmp_path / "pkg"]
    assert found.lines == ()


def test_a_local_project_keeps_its_extras_and_a_missing_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    found = requirements.read(written(tmp_path, "./pkg[gpu,test]\n"), tmp_path)
    assert found.local[0].requirement("/x") == "/x[gpu,test]"
    with pytest.raises(EnvironmentInvalid, match=r"requirements.txt:1 asks for gone"):
        requirements.read(written(tmp_path, "./gone\n"), tmp_path)


def test_an_address_with_an_egg_gets_its_name_in_front(tmp_path: Path) -> None:
    path = written(tmp_path, "-e git+https://h.test/r.git@v1#egg=thing&subdirectory=py\n")
    assert texts(requirements.read(path, tmp_path)) == [
        "thing @ git+https://h.test/r.git@v1#subdirectory=py"
    ]


def test_a_variable_of_the_environment_is_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INDEX_HOST", "a.test")
    path = written(tmp_path, "-i https://${INDEX_HOST}/simple\n")
    assert requirements.read(path, tmp_path).index_url == "https://a.test/simple"


@pytest.mark.parametrize(
    "line",
    [
        "git+https://user:pw@h.test/r.git",
        "thing @ git+https://token@h.test/r.git",
        "https://user:pw@h.test/a-1-py3-none-any.whl",
        "--find-links https://user:pw@h.test/",
    ],
)
def test_an_address_with_a_password_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(SecretRefused, match=r"requirements.txt:1") as caught:
        requirements.read(written(tmp_path, f"{line}\n"), tmp_path)
    assert "pw" not in caught.value.message


def test_an_ssh_address_is_no_password(tmp_path: Path) -> None:
    path = written(tmp_path, "git+ssh://git@h.test/r.git\n")
    assert texts(requirements.read(path, tmp_path)) == ["git+ssh://git@h.test/r.git"]
