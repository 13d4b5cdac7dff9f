"""What a committed image says of itself, and what differs between two of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from devkit.commit import history, record
from devkit.commit.record import MOST_FILES, Changed, Git, Record, since
from devkit.contract import LABEL_PARENT
from devkit.engine import Image

RECORD = Record(
    parent="sha256:1",
    parent_tag="debug:1",
    packaged="sha256:0",
    container="c0ffee",
    message='é "quoted"\nsecond line',
    committed="2026-11-27T08:00:00+00:00",
    changed=(Changed("/var/azureml-app/svc/a b.py", "modified", 7, "ab"),),
    layer=(Changed("/é", "deleted"), Changed("/var/x", "added", 3, "cd")),
    files=1,
    git=Git("f00", dirty=True),
)


def image(labels: Mapping[str, str]) -> Image:
    return Image("sha256:2", ("debug:2",), labels, {}, 1)


@pytest.mark.parametrize("said", [RECORD, replace(RECORD, git=None, parent_tag="", changed=())])
def test_a_record_comes_back_from_its_labels(said: Record) -> None:
    labels = said.labels()
    assert record.of(image(labels)) == said
    assert all(record.is_label(name) for name in labels)


def test_of_very_many_files_the_number_is_kept() -> None:
    many = tuple(Changed(f"/f{number}", "added") for number in range(MOST_FILES + 5))
    said = record.of(image(replace(RECORD, changed=many, layer=many, files=len(many)).labels()))
    assert said is not None
    assert (said.files, len(said.changed), len(said.layer)) == (MOST_FILES + 5, *2 * [MOST_FILES])


@pytest.mark.parametrize(
    "change",
    [
        {LABEL_PARENT: "no JSON"},
        {LABEL_PARENT: "[1]"},
        {LABEL_PARENT: '{"id": 1, "tag": ""}'},
        {LABEL_PARENT: '{"id": "\\ud800", "tag": ""}'},
        {record.CHANGED: "[" * 100_000},
        {record.CHANGED: '{"files": 1e999, "list": []}'},
        {record.CHANGED: '{"files": "many", "list": []}'},
        {record.CHANGED: '{"files": -5, "list": []}'},
        {record.CHANGED: '{"files": true, "list": []}'},
        {record.CHANGED: f'{{"files": {"9" * 4200}, "list": []}}'},
        {record.CHANGED: '{"files": 1, "list": [["/a", "added", 1]]}'},
        {record.CHANGED: '{"files": 1, "list": [["/a", "burnt", 1, ""]]}'},
        {record.LAYER: '[["/a", "added", Infinity, ""]]'},
        {record.LAYER: '[[["/a"], "added", 1, ""]]'},
        {record.LAYER: f'[["/a", "added", {"9" * 5000}, ""]]'},
        {record.LAYER: "null"},
        {record.GIT: '"f00"'},
        {record.GIT: '{"revision": null, "dirty": true}'},
    ],
)
def test_labels_that_devkit_did_not_write_are_no_record(change: Mapping[str, str]) -> None:
    assert record.of(image({**RECORD.labels(), **change})) is None


@pytest.mark.parametrize("missing", sorted(RECORD.labels().keys() - {record.GIT}))
def test_without_one_of_its_labels_there_is_no_record(missing: str) -> None:
    labels = RECORD.labels()
    del labels[missing]
    assert record.of(image(labels)) is None


def layer(text: str) -> tuple[Changed, ...]:
    """Read "A /a 1, D /b": the number stands for the content."""
    kinds = {"A": "added", "M": "modified", "D": "deleted"}
    rows = [(*part.split(), "")[:3] for part in text.split(", ") if part]
    return tuple(Changed(path, kinds[sign], 0, digest) for sign, path, digest in rows)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        ("", "", ""),
        ("", "M /a 1, A /b 1, D /c", "M /a, A /b, D /c"),
        ("M /a 1, A /b 1, D /c", "M /a 1, A /b 1, D /c", ""),
        ("M /a 1, A /b 1", "M /a 2, A /b 2", "M /a, M /b"),
        ("M /a 1, A /b 1", "D /a, M /b 1", "D /a, M /b"),
        ("D /a", "M /a 1", "A /a"),
        # As in the packaged image again.
        ("M /a 1, A /b 1, D /c", "", "M /a, D /b, A /c"),
        # A folder that is gone is listed as such, what was in it is not.
        ("M /d/a 1, A /d/b 1, D /d/c", "D /d", "D /d"),
        ("D /d", "D /d", ""),
        ("D /d", "M /d/a 1, D /d/b", "A /d/a"),
        ("D /d", "A /d/e/f 1", "A /d/e/f"),
        ("D /dd", "M /dd-1/a 1", "M /dd-1/a, A /dd"),
    ],
)
def test_what_differs_between_two_layers(before: str, now: str, found: str) -> None:
    signs = {"added": "A", "modified": "M", "deleted": "D"}
    told = since(layer(before), layer(now))
    assert sorted(f"{signs[item.kind]} {item.path}" for item in told) == sorted(
        part for part in found.split(", ") if part
    )
    assert [item.path for item in told] == sorted(item.path for item in told)


def test_the_labels_stay_text_that_others_can_read() -> None:
    assert json.loads(RECORD.labels()[LABEL_PARENT]) == {"id": "sha256:1", "tag": "debug:1"}
    assert RECORD.labels()[record.MESSAGE] == RECORD.message


def test_a_message_is_no_row_of_the_history_and_no_page_of_it() -> None:
    said = replace(RECORD, message="one\n* debug:99 fake" + "x" * 100_000, parent_tag="a\n* b:1")
    (row,) = history.versions([image(said.labels())], None)
    assert len(str(row).splitlines()) == 1
    assert len(str(row)) < 400
