"""Large files on their way, and small ones applied: what changes meanwhile is left alone."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import pytest

from devkit.sync.agent.side import FILE, SLICE_BYTES, Entry, Moved, Side, Signature
from devkit.sync.apply import Apply
from devkit.sync.reconcile import Change
from devkit.sync.remote import Answer, Remote
from devkit.sync.transfer import Pull, Push

CONTENT = bytes(range(256)) * (SLICE_BYTES // 256) * 3 + b"end"
SIGNATURE: Signature = (len(CONTENT), 1, 2, 3, 4)


def entry(content: bytes) -> Entry:
    return Entry(FILE, hashlib.sha256(content).hexdigest())


class Answering:
    """A container that answers each request at once, by `says`."""

    def __init__(self, says: Any) -> None:
        self.says = says
        self.asked = list[tuple[str, dict[str, Any]]]()

    def request(self, op: str, content: bytes = b"", **fields: Any) -> Future[Answer]:
        self.asked.append((op, fields))
        future: Future[Answer] = Future()
        said = self.says(op, fields)
        if isinstance(said, Exception):
            future.set_exception(said)
        else:
            future.set_result(said)
        return future


def plain(content: bytes = b"", found: Entry | None = None) -> Answer:
    return Answer(found, content, is_kept=False, signature=None)


def pulled(root: Path, says: Any) -> list[Any]:
    results = list[Any]()
    pull = Pull(
        Side(str(root)),
        cast(Remote, Answering(says)),
        "a",
        old=None,
        new=entry(CONTENT),
        signature=SIGNATURE,
        done=results.append,
    )
    while not pull.step():
        pass
    return results


def part(_op: str, fields: dict[str, Any]) -> Answer:
    return plain(CONTENT[fields["offset"] :][: fields["length"]])


def test_a_large_file_comes_in_slices(tmp_path: Path) -> None:
    assert pulled(tmp_path, part) == [entry(CONTENT)]
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "lie",
    [
        lambda op, fields: plain(b"x" * fields["length"]),
        lambda op, fields: plain(b""),
        lambda op, fields: plain(b"x" * (fields["length"] + 1)),
        lambda op, fields: Moved(),
        lambda op, fields: OSError(5, "Input/output error"),
    ],
)
def test_a_large_file_that_is_not_as_it_was_is_not_taken(tmp_path: Path, lie: Any) -> None:
    (result,) = pulled(tmp_path, lie)
    assert isinstance(result, Moved | OSError)
    assert list(tmp_path.iterdir()) == []


def test_a_large_file_that_changes_while_it_is_sent_is_not_committed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    there = Answering(lambda op, fields: plain())
    results = list[Any]()
    side = Side(str(tmp_path))
    push = Push(side, cast(Remote, there), "a", old=None, new=entry(CONTENT), done=results.append)
    assert not push.step()
    with (tmp_path / "a").open("ab") as file:
        file.write(b"more")
    while not push.step():
        pass
    assert isinstance(results[0], Moved)
    assert "commit" not in [op for op, _ in there.asked]
    assert there.asked[-1][0] == "drop"


def applied(root: Path, change: Change, says: Any, contents: dict[str, bytes]) -> list[Any]:
    results = list[Any]()
    apply = Apply(
        Side(str(root)),
        cast(Remote, Answering(says)),
        contents,
        lambda change, result: results.append(result),
    )
    apply.changes([change])
    return results


@pytest.mark.parametrize("content", [b"", b"other"])
@pytest.mark.parametrize("is_told", [True, False])
def test_a_content_that_is_not_the_one_is_not_written(
    tmp_path: Path, content: bytes, is_told: bool
) -> None:
    (tmp_path / "a").write_text("old")
    change = Change("local", "a", entry(b"old"), entry(b"new"))
    contents = {entry(b"new").digest: content} if is_told else {}
    says = lambda op, fields: plain(content, entry(b"new"))  # noqa: E731
    (result,) = applied(tmp_path, change, says, contents)
    assert isinstance(result, Moved)
    assert (tmp_path / "a").read_text() == "old"


def test_an_empty_file_is_written_where_it_is_one(tmp_path: Path) -> None:
    change = Change("local", "a", None, entry(b""))
    applied(tmp_path, change, lambda op, fields: plain(b"", entry(b"")), {})
    assert (tmp_path / "a").read_bytes() == b""


def test_a_file_that_changed_since_it_was_seen_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("newer")
    change = Change("remote", "a", None, entry(b"new"))
    (result,) = applied(tmp_path, change, lambda op, fields: plain(), {})
    assert isinstance(result, Moved)
