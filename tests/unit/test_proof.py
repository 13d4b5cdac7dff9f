from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from devkit import launch
from devkit.debug import proof
from devkit.engine import Placement
from devkit.errors import DebuggerUnreachable
from tests.peer import Connection, peer, runtime

SOURCE = b'"""A module."""\nimport os\n'


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("", None),
        ("# only a comment\n\n", None),
        ("\n\nimport os\n", 3),
        ('"""doc"""\n', 1),
        ("# a\n@decorated\ndef f():\n    return 1\n", 2),
        ("from __future__ import annotations\n", 1),
        ("\ufeffx = 1\n", 1),
        ("# -*- coding: latin-1 -*-\nx = '\xe4'\n", 2),
    ],
)
def test_the_first_line_to_stop_at_is_found_by_compiling(source: str, line: int | None) -> None:
    encoding = "latin-1" if "latin-1" in source else "utf-8"
    assert proof.first_line(source.encode(encoding)) == line


def test_an_entry_is_filled_as_the_editor_does_it() -> None:
    entry = {"a": ["${workspaceFolder}/x", {"b": "${workspaceFolder}"}], "c": True, "d": 1}
    filled = proof.filled(entry, Path("/my work"))
    assert filled == {"a": ["/my work/x", {"b": "/my work"}], "c": True, "d": 1}


def looked_at(
    root: Path, *files: Path, answer: dict[str, Any], attached: str = "Some Editor"
) -> proof.Proof:
    """Examine files beside an attached editor; the runtime answers for each path as told."""

    def answers(command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if command == "devkit/status":
            return {"attached": {"client": attached, "since": 1.0}}
        return {"files": [{"path": file["path"], **answer} for file in arguments["files"]]}

    mappings = [
        Placement(root / "src", PurePosixPath("/app/src")),
        Placement(root, PurePosixPath("/app/root")),
    ]
    entry = launch.entry(root, port=1, mappings=mappings)
    with runtime(answers) as port:
        return proof.examine("127.0.0.1", port, entry=entry, root=root, files=files, timeout_s=5)


def file_in(root: Path, name: str, source: bytes = SOURCE) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(source)
    return path


GOOD = {
    "exists": True,
    "sha256": hashlib.sha256(SOURCE).hexdigest(),
    "breakpoints": [{"line": 1, "verified": True, "message": ""}],
}


def test_each_file_goes_where_the_first_fitting_mapping_says(tmp_path: Path) -> None:
    files = [file_in(tmp_path, "src/score.py"), file_in(tmp_path, "helper.py")]
    found = looked_at(tmp_path, *files, answer=GOOD)
    assert found.beside == "Some Editor"
    assert [str(file.remote) for file in found.files] == [
        "/app/src/score.py",
        "/app/root/helper.py",
    ]
    assert all(file.is_proved and not file.message for file in found.files)


BAD = [
    ({"exists": False}, "which is not in the container"),
    ({"sha256": "0" * 64}, "differ"),
    ({"sha256": None}, "differ"),
    ({"breakpoints": [{"verified": False, "message": "no code here"}]}, "bind: no code here"),
]


@pytest.mark.parametrize(("change", "text"), BAD)
def test_what_is_wrong_with_a_file_is_said(
    tmp_path: Path, change: dict[str, Any], text: str
) -> None:
    path = file_in(tmp_path, "score.py")
    (file,) = looked_at(tmp_path, path, answer={**GOOD, **change}).files
    assert not file.is_proved
    assert text in file.message
    assert str(path) in file.message


def test_a_file_that_cannot_be_proved_from_here_is_not_asked_about(tmp_path: Path) -> None:
    files = [
        file_in(tmp_path, "broken.py", b"def (:\n"),
        tmp_path / "missing.py",
        Path("/elsewhere/score.py"),
    ]
    found = looked_at(tmp_path, *files, answer=GOOD)
    texts = ["does not compile", "cannot be read", "No path mapping"]
    for file, text in zip(found.files, texts, strict=True):
        assert text in file.message
        assert not file.is_proved


def test_a_file_named_through_a_link_is_the_one_that_the_editor_knows(tmp_path: Path) -> None:
    real = file_in(tmp_path, "real/score.py")
    link = tmp_path / "link"
    link.symlink_to("real")
    (file,) = looked_at(link, real, answer=GOOD).files
    assert (file.local, file.opened_as) == (real, link / "score.py")
    assert file.remote == PurePosixPath("/app/root/score.py")


def test_a_refusal_names_the_file_and_what_to_do(tmp_path: Path) -> None:
    path = file_in(tmp_path, "score.py")

    def answers(command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if command == "devkit/status":
            return {"attached": {"client": "x", "since": 1.0}}
        return {"files": [{"path": "/app/score.py", **GOOD, "sha256": "0"}]}

    entry = launch.entry(tmp_path, port=1, mappings=[Placement(tmp_path, PurePosixPath("/app"))])
    files = [path, Path("/elsewhere/score.py")]
    with runtime(answers) as port:
        found = proof.examine("127.0.0.1", port, entry=entry, root=tmp_path, files=files)
    differs, unmapped = map(proof.refusal, found.files)
    assert str(path) in differs.message
    assert "devkit debug" in (differs.hint or "")
    assert "devkit launch --write" in (unmapped.hint or "")


NONSENSE = [
    ({}, pytest.raises(DebuggerUnreachable)),
    ({"files": 5}, pytest.raises(DebuggerUnreachable)),
    ({"files": [1, None]}, nullcontext()),
]


@pytest.mark.parametrize(("body", "outcome"), NONSENSE)
def test_nonsense_proves_nothing(
    tmp_path: Path, body: dict[str, Any], outcome: AbstractContextManager[Any]
) -> None:
    path = file_in(tmp_path, "score.py")
    entry = launch.entry(tmp_path, port=1, mappings=[Placement(tmp_path, PurePosixPath("/app"))])

    def answers(command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        attached = {"attached": {"client": "x", "since": 1.0}}
        return attached if command == "devkit/status" else body

    with runtime(answers) as port, outcome:
        found = proof.examine("127.0.0.1", port, entry=entry, root=tmp_path, files=[path])
        assert not any(file.is_proved for file in found.files)


def test_an_editor_that_attaches_in_between_is_left_alone(tmp_path: Path) -> None:
    path = file_in(tmp_path, "score.py")
    statuses: Iterator[dict[str, Any]] = iter(
        [{"attached": None}, {"attached": {"client": "Fast Editor", "since": 1.0}}]
    )

    def serve(connection: Connection) -> None:
        while (request := connection.read()) is not None:
            command = request["command"]
            if command == "devkit/status":
                connection.respond(request, next(statuses))
            elif command == "devkit/verify":
                connection.respond(request, {"files": [{"path": "/app/score.py", **GOOD}]})
            elif command == "attach":
                text = "Fast Editor is already attached."
                connection.respond(request, success=False, message=text)
            else:
                connection.respond(request)
            if command == "disconnect":
                return

    entry = launch.entry(tmp_path, port=1, mappings=[Placement(tmp_path, PurePosixPath("/app"))])
    with peer(serve) as port:
        found = proof.examine("127.0.0.1", port, entry=entry, root=tmp_path, files=[path])
    assert found.beside == "Fast Editor"
    assert found.files[0].is_proved
