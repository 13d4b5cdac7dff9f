from __future__ import annotations

from pathlib import Path

import pytest

from devkit.env_file import read_env_file
from devkit.errors import BadValue


def test_values_are_taken_as_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "dev.env"
    file.write_text("# comment\n\nA=1\n  B = 'x y' # kept\nC=\nD=a=b\n".replace("B =", "B="))
    assert read_env_file(file) == {"A": "1", "B": " 'x y' # kept", "C": "", "D": "a=b"}


def test_a_name_alone_takes_the_value_of_this_machine(tmp_path: Path) -> None:
    file = tmp_path / "dev.env"
    file.write_text("HERE\nNOT_HERE\n")
    assert read_env_file(file, environment={"HERE": "yes"}) == {"HERE": "yes"}


@pytest.mark.parametrize("line", ["=secret", "MY NAME=secret", "NAME =secret", "two words"])
def test_a_bad_line_is_named_by_its_number_without_its_value(tmp_path: Path, line: str) -> None:
    file = tmp_path / "dev.env"
    file.write_text(f"A=1\n{line}\n")
    with pytest.raises(BadValue, match=r"dev\.env:2: ") as refused:
        read_env_file(file)
    assert "secret" not in refused.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"gone\.env"):
        read_env_file(tmp_path / "gone.env")


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    file = tmp_path / "dev.env"
    file.write_bytes("A=1\u2028B=2\x0cC=3\rD=4\x85E=5\r\nF=6\n".encode())
    assert read_env_file(file) == {"A": "1\u2028B=2\x0cC=3\rD=4\x85E=5", "F": "6"}
