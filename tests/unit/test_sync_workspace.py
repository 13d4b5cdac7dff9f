"""The workspace: models that stand elsewhere are at their place, and the trash keeps the old."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devkit.sync.agent.places import ASIDE
from devkit.sync.agent.side import FILE, FOLDER, Entry, RootGone
from devkit.sync.agent.watched import Watched
from devkit.sync.ignore import Ignore
from devkit.sync.journal import Journal
from devkit.sync.workspace import Workspace


class Made:
    """A source folder with a model in it, and one that stands outside."""

    def __init__(
        self, base: Path, journal: Journal, *, under: str = "", root: Path | None = None
    ) -> None:
        self.source, self.outside = base / "w", base / "models" / "big"
        (self.source / "trained").mkdir(parents=True)
        self.outside.mkdir(parents=True)
        (self.source / "score.py").write_text("code")
        (self.source / "trained" / "m.pkl").write_text("inside")
        (self.outside / "m.bin").write_text("outside")
        placed = {"azureml-models/in/1": self.source / "trained"}
        placed["azureml-models/out/1"] = self.outside
        ignore = Ignore(self.source)
        self.side = Workspace(
            self.source,
            root=root or base,
            under=under,
            placed=placed,
            ignore=ignore,
            journal=journal,
        )


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    (tmp_path / "j").mkdir()
    with Journal(tmp_path / "j") as opened:
        yield opened


@pytest.fixture
def made(tmp_path: Path, journal: Journal) -> Made:
    return Made(tmp_path, journal)


def file(made: Made, path: str) -> Entry:
    entry = made.side.look(path)
    assert entry is not None
    return entry


def test_models_are_found_at_their_place_in_the_container_and_only_there(made: Made) -> None:
    assert {p for p, e in made.side.scan().entries.items() if e.kind == FILE} == {
        "score.py",
        "azureml-models/in/1/m.pkl",
        "azureml-models/out/1/m.bin",
    }


def test_a_change_of_a_model_goes_to_where_it_stands_here(made: Made) -> None:
    path = "azureml-models/out/1/m.bin"
    made.side.write(path, b"new", file(made, path), executable=False)
    assert (made.outside / "m.bin").read_text() == "new"
    made.side.write("azureml-models/in/1/n", b"n", None, executable=False)
    assert (made.source / "trained" / "n").read_text() == "n"


def test_a_model_that_stands_outside_the_workspace_is_read_only(
    tmp_path: Path, journal: Journal
) -> None:
    made = Made(tmp_path, journal, root=tmp_path / "w")
    side, path, new = made.side, "azureml-models/out/1/m.bin", "azureml-models/out/1/new"
    entry = file(made, path)
    assert side.read(path)[0] == b"outside"
    changes: list[Callable[[], object]] = [
        lambda: side.write(path, b"x", entry, executable=False),
        lambda: side.create(new, b"x", executable=False),
        lambda: side.stage(new),
        lambda: side.link(new, "m.bin", None),
        lambda: side.make_folder(new),
        lambda: side.set_executable(path, entry, executable=True),
        lambda: side.delete(path, entry),
        lambda: side.rename(path, "score.old"),
        lambda: side.rename("score.py", new),
    ]
    for change in changes:
        with pytest.raises(PermissionError, match="outside the workspace"):
            change()
    assert [it.name for it in made.outside.iterdir()] == ["m.bin"]
    assert (made.outside / "m.bin").read_text() == "outside"
    side.write("azureml-models/in/1/n", b"n", None, executable=False)


def test_a_link_that_leads_out_of_the_source_folder_is_not_made_here(
    tmp_path: Path, journal: Journal
) -> None:
    made = Made(tmp_path, journal, under="svc")
    with pytest.raises(PermissionError, match="leads out"):
        made.side.link("svc/trained.pkl", "../azureml-models/in/1/m.pkl", None)
    assert made.side.link("svc/same.py", "score.py", None) == Entry("link", "score.py")


def test_folders_that_only_lead_to_models_are_made_nowhere(made: Made) -> None:
    made.side.make_folder("azureml-models/in")
    made.side.delete("azureml-models", Entry(FOLDER))
    assert not (made.source / "azureml-models").exists()


def test_a_place_here_is_known_by_its_place_in_the_container(made: Made) -> None:
    assert made.side.paths(made.outside / "m.bin") == ["azureml-models/out/1/m.bin"]
    assert "azureml-models/in/1/m.pkl" in made.side.paths(made.source / "trained" / "m.pkl")
    assert made.side.paths(made.source / "score.py") == ["score.py"]
    assert made.side.paths(made.source.parent / "other") == []


def test_a_model_whose_drive_is_gone_is_not_deleted(made: Made) -> None:
    made.outside.parent.rename(made.outside.parent.with_name("unplugged"))
    scan = made.side.scan()
    assert "azureml-models/out/1" in scan.unknown


@pytest.mark.parametrize("is_file", [True, False])
def test_a_model_whose_folder_was_removed_stays_unknown_look_after_look(
    tmp_path: Path, journal: Journal, is_file: bool
) -> None:
    model = tmp_path / "w" / "model"
    model.mkdir(parents=True)
    (model / "weights.json").write_text("1")
    placed = model / "weights.json" if is_file else model / "sub"
    if not is_file:
        placed.mkdir()
        (placed / "w").write_text("1")
    ignore = Ignore(tmp_path / "w")
    places = {"azureml-models/m/1/x": placed}
    side = Workspace(
        tmp_path / "w",
        root=tmp_path,
        under="svc",
        placed=places,
        ignore=ignore,
        journal=journal,
    )
    watched = Watched(side, dict(side.scan().entries))
    shutil.rmtree(model)
    for seconds in range(3):
        watched.rescan()
        found = watched.changes(time.monotonic() + seconds)
        assert not [path for path in found.entries if path.startswith("azureml-models")]
    (tmp_path / "w" / "score.py").write_text("new")
    os.utime(tmp_path / "w" / "score.py", (1, 1))
    watched.rescan()
    assert "svc/score.py" in watched.changes(time.monotonic() + 1).entries


def test_what_is_a_model_no_longer_is_left_alone(tmp_path: Path, journal: Journal) -> None:
    unknown: dict[str, str] = {}
    made = Made(tmp_path, journal, under="svc")
    assert made.side.look("azureml-models/other/1/m.bin", unknown) is None
    assert "stands nowhere" in unknown["azureml-models/other/1/m.bin"]


def test_the_source_folder_may_stand_below_the_root(tmp_path: Path, journal: Journal) -> None:
    made = Made(tmp_path, journal, under="src/service")
    entries = made.side.scan().entries
    assert {"src", "src/service", "src/service/score.py"} <= set(entries)
    made.side.write("src/service/new", b"n", None, executable=False)
    assert (made.source / "new").read_text() == "n"
    assert made.side.ignores("elsewhere/x", is_folder=False)
    with pytest.raises((ValueError, OSError)):
        made.side.write("elsewhere/x", b"", None, executable=False)
    made.source.rename(made.source.with_name("gone"))
    with pytest.raises(RootGone):
        made.side.scan()


@pytest.mark.parametrize("path", [".git/hooks/x", "azureml-models/out/1/.git/hooks/x"])
def test_what_is_never_synced_is_ignored_in_models_too(made: Made, path: str) -> None:
    assert made.side.ignores(path, is_folder=False)


def test_what_is_replaced_or_deleted_is_in_the_trash(made: Made, journal: Journal) -> None:
    made.side.write("score.py", b"new", file(made, "score.py"), executable=False)
    made.side.delete("score.py", file(made, "score.py"))
    for content in (b"code", b"new"):
        assert journal.contents.place(hashlib.sha256(content).hexdigest()).read_bytes() == content


def test_what_a_killed_devkit_put_aside_goes_to_the_trash(made: Made, journal: Journal) -> None:
    (made.source / f"{ASIDE}1-1-1").write_text("an edit")
    made.side.scan()
    made.side.sweep(older_s=60)
    assert (made.source / f"{ASIDE}1-1-1").exists(), "it may be of one that is alive"
    made.side.scan()
    made.side.sweep()
    assert not (made.source / f"{ASIDE}1-1-1").exists()
    assert journal.contents.place(hashlib.sha256(b"an edit").hexdigest()).exists()
