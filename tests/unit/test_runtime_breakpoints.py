"""Which lines hold after an edit, whichever of editor and edit is here first."""

from __future__ import annotations

from devkit.runtime.breakpoints import Breakpoints
from devkit.runtime.watch import Change

OLD, NEW = b"a\nb\nc\n", b"new\na\nb\nc\n"
EDIT = Change("/app/score.py", OLD, NEW)


def request(*lines: int, modified: bool = False) -> dict[str, object]:
    return {
        "source": {"path": "/w/score.py"},
        "breakpoints": [{"line": line, "condition": "x"} for line in lines],
        "sourceModified": modified,
    }


def stored(*lines: int) -> Breakpoints:
    breakpoints = Breakpoints()
    breakpoints.set_mappings([{"localRoot": "/w", "remoteRoot": "/app"}])
    breakpoints.store(request(*lines))
    return breakpoints


def lines(breakpoints: Breakpoints) -> list[int]:
    (source,) = breakpoints.all()
    return [item["line"] for item in source.wanted]


def test_an_edit_moves_them_and_keeps_their_conditions() -> None:
    breakpoints = stored(2)
    (source,) = breakpoints.after([EDIT])
    assert source.wanted == [{"line": 3, "condition": "x"}]


def test_an_edit_below_them_or_in_another_file_moves_none() -> None:
    breakpoints = stored(1)
    assert list(breakpoints.after([Change("/app/score.py", OLD, OLD + b"d\n")])) == []
    assert list(breakpoints.after([Change("/app/other.py", OLD, NEW)])) == []


def test_the_editors_word_after_the_edit_counts() -> None:
    breakpoints = stored(2)
    list(breakpoints.after([EDIT]))
    breakpoints.store(request(3, modified=True))
    assert lines(breakpoints) == [3]
    list(breakpoints.after([Change("/app/score.py", NEW, b"x\n" + NEW)]))
    assert lines(breakpoints) == [4]


def test_the_editors_word_before_the_edit_is_sent_again_but_not_moved_by_it() -> None:
    breakpoints = stored(2)
    breakpoints.store(request(3, modified=True))
    assert len(list(breakpoints.after([EDIT]))) == 1
    assert lines(breakpoints) == [3]
    list(breakpoints.after([Change("/app/score.py", NEW, b"x\n" + NEW)]))
    assert lines(breakpoints) == [4]


def test_the_first_mapping_that_fits_names_the_file_also_from_windows() -> None:
    breakpoints = Breakpoints()
    breakpoints.set_mappings(
        [
            {"localRoot": "C:\\work\\svc", "remoteRoot": "/app/svc"},
            {"localRoot": "/work", "remoteRoot": "/app"},
            {"localRoot": None, "remoteRoot": 3},
            "nonsense",
        ]
    )
    assert breakpoints.remote_path("c:\\Work\\svc\\a\\b.py") == "/app/svc/a/b.py"
    assert breakpoints.remote_path("/work/a.py") == "/app/a.py"
    assert breakpoints.remote_path("/workshop/a.py") == "/workshop/a.py"


def test_a_breakpoint_set_by_hand_before_a_save_is_the_editors_to_move() -> None:
    breakpoints = stored(2)
    live = breakpoints.store(request(3), is_live=True)
    assert breakpoints.doubtful([EDIT]) == [live]
    assert list(breakpoints.after([EDIT])) == [live]
    assert lines(breakpoints) == [3]
    live.is_unsure = False
    list(breakpoints.after([Change("/app/score.py", NEW, b"x\n" + NEW)]))
    assert lines(breakpoints) == [4]


def test_words_ahead_of_several_edits_stay_ahead() -> None:
    breakpoints = stored(2)
    breakpoints.store(request(3, modified=True))
    list(breakpoints.after([EDIT]))
    breakpoints.store(request(4, modified=True))
    assert lines(breakpoints) == [4]
    (source,) = breakpoints.after([Change("/app/score.py", NEW, b"x\n" + NEW)])
    assert lines(breakpoints) == [4]
    assert source.arguments["sourceModified"] is True
