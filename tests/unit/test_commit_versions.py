"""A container becomes the next image of its service, on the engine in memory."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from devkit import contract, turn
from devkit.commit import files, history, layer, record
from devkit.config import Workspace, load
from devkit.engine import Container, FileChange, Mount, RunSpec, Tag
from devkit.errors import BadValue, EngineError, ImageMissing, NameInUse, NoService, NotOurs
from devkit.running import RunningService
from devkit.versions import Versions, revision
from tests.fake_engine import FakeEngine

HELPER = "/var/azureml-app/svc/helper.py"


class Place:
    """A workspace, its packaged image "svc:1", and a container of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "score.py").write_text("def init(): ...\ndef run(data): ...\n")
        self.workspace: Workspace = load(
            root, overrides={"service": "svc", "image.tag": "svc:1"}, environ={}
        )
        self.engine = FakeEngine()
        self.labels = {
            contract.LABEL_SERVICE: "svc",
            contract.LABEL_WORKSPACE: str(root),
            contract.LABEL_CONTENT: "abc",
        }
        self.packaged = self.engine.add_image("svc:1", labels=self.labels, env={"BUILT": "in"})
        self.said: list[str] = []
        self.run("svc:1")

    def run(self, tag: str, **env: str) -> Container:
        """Start the service anew from an image."""
        self.engine.remove("svc")
        spec = RunSpec(Tag.parse(tag), "svc", self.labels, env, ())
        self.container = self.engine.run(spec)
        return self.container

    def edit(self, path: str, text: str) -> None:
        self.engine.edit("svc", path, text.encode())

    def versions(self, *, running: bool = True) -> Versions:
        found = self.engine.container("svc")
        service = RunningService(self.engine, found) if found and running else None
        return Versions(self.engine, self.workspace, service, note=self.said.append)

    def commit(
        self,
        tag: str | None = None,
        *,
        force: bool = False,
        message: str = "",
        in_step: Callable[[], object] = lambda: None,
        adopted: Container | None = None,
    ) -> history.Version:
        made = self.versions().commit(
            tag, message=message, force=force, in_step=in_step, adopted=adopted
        )
        return next(v for v in self.versions().history() if v.image == made.image)

    def said_of(self, tag: str) -> record.Record:
        image = self.engine.image(tag)
        assert image is not None
        said = record.of(image)
        assert said is not None
        return said


@pytest.fixture
def place(tmp_path: Path) -> Place:
    root = tmp_path / "svc"
    root.mkdir()
    return Place(root.resolve())


def test_each_commit_takes_the_next_tag_and_knows_its_parent_and_what_changed(
    place: Place,
) -> None:
    place.edit(HELPER, "one")
    first = place.commit(message="first")
    assert (first.image, first.parent, first.changed) == ("svc:2", "svc:1", 1)
    place.edit(HELPER, "two")
    place.edit("/etc/new", "")
    second = place.commit()
    assert (second.image, second.parent, second.changed) == ("svc:3", "svc:2", 2)
    assert [(c.path, c.kind) for c in place.said_of("svc:3").changed] == [
        ("/etc/new", "added"),
        (HELPER, "modified"),
    ]
    third = place.commit()
    assert (third.parent, third.changed) == ("svc:3", 0)
    shown = place.versions().history()
    assert [v.image for v in shown if v.runs] == ["svc:4"]
    assert {v.image for v in shown} == {"svc:1", "svc:2", "svc:3", "svc:4"}


def test_a_file_that_became_a_folder_is_deleted_and_a_folder_that_was_one_is_not(
    place: Place,
) -> None:
    place.engine.image_files[place.packaged.id] = {
        PurePosixPath(path): b"" for path in ("/a/file", "/a/folder/old")
    }
    place.run("svc:1")
    box = place.engine.boxes["svc"]
    del box.files[PurePosixPath("/a/file")]
    for path in ("/a/file/inner", "/a/folder/inner"):
        place.edit(path, "x")
    for folder in map(PurePosixPath, ("/a", "/a/file", "/a/folder")):
        box.changes[folder] = FileChange(folder, "modified")
    place.commit()
    assert [(c.path, c.kind) for c in place.said_of("svc:2").changed] == [
        ("/a/file", "deleted"),
        ("/a/file/inner", "added"),
        ("/a/folder/inner", "added"),
    ]
    # Nothing that was opened to look stays.
    assert set(place.engine.boxes) == {"svc"}


def test_a_parent_that_lost_its_tag_to_another_image_is_not_named_by_it(place: Place) -> None:
    packaged = place.engine.image("svc:1")
    assert packaged is not None
    place.edit(HELPER, "one")
    place.commit()
    place.edit(HELPER, "two")
    place.commit()
    place.engine.tag("svc:3", Tag("svc", "1"))
    parents = {version.image: version.parent for version in place.versions().history()}
    assert parents["svc:2"] == packaged.id.removeprefix("sha256:")[:12]


def test_a_container_of_a_committed_image_goes_on_from_there(place: Place) -> None:
    place.edit(HELPER, "one")
    place.commit()
    place.run("svc:2")
    place.edit("/etc/new", "x")
    made = place.commit()
    assert (made.image, made.parent, made.changed) == ("svc:3", "svc:2", 1)
    images = {image.id: image for image in place.versions().images}
    two, three = place.engine.stored["svc:2"], place.engine.stored["svc:3"]
    ground, changed = history.changes(images, three)
    assert ground == place.packaged.id
    assert {str(change.path) for change in changed} == {HELPER, "/etc/new"}
    # With the packaged image gone, two can still be compared by what they say.
    del images[place.packaged.id]
    assert history.changes(images, three)[0] == history.changes(images, two)[0]


def test_the_image_has_the_packaged_one_s_labels_and_none_of_a_start(place: Place) -> None:
    place.commit()
    labels = place.engine.stored["svc:2"].labels
    kept = {contract.LABEL_SERVICE: "svc", contract.LABEL_WORKSPACE: str(place.root)}
    assert kept.items() <= labels.items()
    assert not labels.keys() & {contract.LABEL_RUN, contract.LABEL_CONTENT, "devkit.options"}


def test_what_was_given_at_the_start_is_named_and_not_in_the_image(place: Place) -> None:
    place.run("svc:1", TOKEN="s3cret-s3cret", BUILT="other", DEVKIT_DEBUG="1")
    box = place.engine.boxes["svc"]
    mounts = (Mount(PurePosixPath("/data"), "volume"), Mount(PurePosixPath("/tmp"), "tmpfs"))
    box.container = replace(box.container, mounts=mounts)
    place.edit("/var/cache/x", "before s3cret-s3cret after")
    before = list[str]()
    place.commit(in_step=lambda: before.extend(place.said))
    # Said while one may still stop it.
    assert "/data (volume)" in "".join(before)
    assert place.engine.stored["svc:2"].env == {"BUILT": "in"}
    assert "\n".join(place.said).splitlines() == [
        "Not in the image: BUILT, which was given at the start.",
        "Not in the image: TOKEN, which was given at the start.",
        "Not in the image: what is in /data (volume).",
        "Not in the image: what is in /tmp (tmpfs).",
        "/var/cache/x holds the value of TOKEN, and is in the image.",
    ]
    assert "s3cret" not in str(place.engine.stored["svc:2"].labels)


@pytest.mark.parametrize("tag", ["Bad Name", "svc:1@sha256:0", ":", "svc:ä", "a/:1", "-"])
def test_a_tag_that_is_none_is_refused_before_anything_is_done(place: Place, tag: str) -> None:
    with pytest.raises(BadValue):
        place.commit(tag, in_step=lambda: pytest.fail("nothing is begun"))
    assert "commit svc" not in place.engine.calls


def test_a_tag_that_exists_is_kept_unless_forced(place: Place) -> None:
    place.commit("7")
    with pytest.raises(NameInUse) as refused:
        place.commit("svc:7")
    assert "svc:8" in str(refused.value.hint)
    place.edit(HELPER, "new")
    assert place.commit("svc:7", force=True).changed == 1


@pytest.mark.parametrize(
    ("given", "image"),
    [("v9", "svc:v9"), ("other:1", "other:1"), ("localhost:5000/m", "localhost:5000/m:latest")],
)
def test_a_tag_may_be_a_version_alone_or_a_whole_name(place: Place, given: str, image: str) -> None:
    made = place.versions().commit(given, message="", force=False, in_step=lambda: None)
    assert made.image == image


def test_of_two_commits_one_waits_for_none_and_takes_no_tag_of_the_other(place: Place) -> None:
    late = place.versions()
    place.edit(HELPER, "one")
    place.commit()
    # The other one had looked around before.
    made = late.commit(None, message="", force=False, in_step=lambda: None)
    assert (made.image, made.parent, made.changed) == ("svc:3", "svc:2", ())
    with turn.taken(place.root, "svc"), pytest.raises(NameInUse):
        place.commit()


def test_the_reading_container_and_the_image_between_are_gone_also_after_a_failure(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.commit()

    def full(*_: object, **__: object) -> None:
        raise EngineError("no space left on device")

    before = set(place.engine.stored)
    monkeypatch.setattr(place.engine, "image_like", full)
    with pytest.raises(EngineError, match="no space"):
        place.commit()
    assert set(place.engine.stored) == before
    assert set(place.engine.boxes) == {"svc"}


def test_an_engine_that_keeps_the_image_between_does_not_undo_the_commit(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept(tag: str) -> None:
        raise EngineError("image is being used")

    monkeypatch.setattr(place.engine, "remove_image", kept)
    assert place.commit().image == "svc:2"


def test_without_the_image_that_it_was_started_from_there_is_no_commit(place: Place) -> None:
    del place.engine.stored["svc:1"]
    with pytest.raises(ImageMissing):
        place.commit()


def test_without_a_container_there_is_no_commit(place: Place) -> None:
    with pytest.raises(NoService) as refused:
        place.versions(running=False).planned(None, force=False)
    assert "--adopt" in str(refused.value.hint)


def test_another_container_is_adopted_and_named_after_its_image(place: Place) -> None:
    other = place.engine.add_image("theirs:v2", env={"A": "b"})
    theirs = place.engine.run(RunSpec(Tag("theirs", "v2"), "plain", {}, {"X": "y"}, ()))
    made = place.versions().commit(
        None, message="", force=False, in_step=lambda: None, adopted=theirs
    )
    assert (made.image, made.parent, made.left.env) == ("theirs:v3", "theirs:v2", ("X",))
    by_id = replace(theirs, image=other.id)
    planned = place.versions().planned(None, force=False, adopted=by_id)
    assert planned.image == "theirs:v4"


def test_a_version_is_found_by_its_tag_or_version_and_others_are_refused(place: Place) -> None:
    place.commit()
    place.engine.add_image("python:3.13")
    found = place.versions()
    assert found.wanted("svc:2") == found.wanted("2") == place.engine.stored["svc:2"]
    with pytest.raises(ImageMissing) as missing:
        found.wanted("svc:3")
    assert "svc:2" in str(missing.value.hint)
    with pytest.raises(NotOurs):
        found.wanted("python:3.13")


def test_prune_keeps_the_newest_and_what_is_used(place: Place) -> None:
    for _ in range(4):
        place.commit()
    place.run("svc:2")
    place.edit(HELPER, "x")
    place.commit("svc:mine")
    kept = {"svc:2", "svc:mine"}
    for number, tag in enumerate(sorted(place.engine.stored), 1):  # so that they differ in age
        image = place.engine.stored[tag]
        when = f"2026-01-01T00:00:0{number}+00:00"
        labels = {**image.labels, record.CREATED: when} if record.of(image) else image.labels
        place.engine.stored[tag] = replace(image, labels=labels, created=when)
    left = place.engine.create(
        "svc:3", {contract.LABEL_READING: "1"}
    )  # a devkit that was killed left it
    versions = place.versions()
    found = versions.superfluous(1)
    assert {tag for image in found for tag in image.tags} == {"svc:1", "svc:3", "svc:4", "svc:5"}
    assert set(versions.prune(found)) == {"svc:1", "svc:3", "svc:4", "svc:5"}
    assert set(place.engine.stored) == kept
    assert place.engine.container(left.id) is None


def test_prune_says_what_the_engine_keeps(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def kept(tag: str) -> None:
        raise EngineError("image has dependent child images")

    monkeypatch.setattr(place.engine, "remove_image", kept)
    assert place.versions().prune([place.packaged]) == []
    assert place.said == ["svc:1 stays: image has dependent child images"]


def test_the_layer_has_files_and_no_folders_and_says_where_a_secret_stands(place: Place) -> None:
    engine, root = place.engine, PurePosixPath("/srv")
    for name in ("a", "b/c", "long"):
        engine.edit("svc", str(root / name), b"x" * 10)
    # It begins in one block, and ends in the next.
    engine.edit("svc", "/srv/long", b"-" * (files.BLOCK - 3) + b"p4ssw0rd-p4ssw0rd")
    changes = [
        FileChange(root, "modified"),
        FileChange(root / "a", "added"),
        FileChange(root / "b", "added"),
        FileChange(root / "b/c", "added"),
        FileChange(root / "gone", "deleted"),
        FileChange(root / "long", "modified"),
        FileChange(root / "went/since", "added"),
    ]
    there = files.members(engine, "svc", layer.paths(changes))
    found = layer.read(changes, there, secrets={"PASSWORD": "p4ssw0rd-p4ssw0rd", "SHORT": "x"})
    assert [(item.path, item.kind, item.bytes) for item in found.files] == [
        ("/srv/a", "added", 10),
        ("/srv/b/c", "added", 10),
        ("/srv/gone", "deleted", 0),
        ("/srv/long", "modified", files.BLOCK + 14),
    ]
    assert found.leaks == {"PASSWORD": "/srv/long"}


def test_many_files_of_a_folder_are_read_in_one_go(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        place.edit(f"/srv/f{number}", str(number))
    asked, read = list[PurePosixPath](), place.engine.archive_out

    def counted(container: str, path: PurePosixPath) -> object:
        asked.append(path)
        return read(container, path)

    monkeypatch.setattr(place.engine, "archive_out", counted)
    paths = {PurePosixPath(f"/srv/f{number}") for number in range(60)}
    found = files.read(place.engine, "svc", paths)
    assert len(found) == 50
    assert asked == [PurePosixPath("/srv")]


def test_the_revision_is_git_s_and_dirty_with_a_change(tmp_path: Path) -> None:
    assert revision(tmp_path) is None
    for line in ("init -q", "-c user.name=a -c user.email=a@b commit -q --allow-empty -m x"):
        subprocess.run(["git", *line.split()], cwd=tmp_path, check=True)
    clean = revision(tmp_path)
    assert clean is not None
    assert (len(clean.revision), clean.dirty) == (40, False)
    (tmp_path / "new").write_text("")
    assert revision(tmp_path) == replace(clean, dirty=True)


@pytest.mark.parametrize(
    ("container", "expected"), [("made", "svc:2"), ("other", "svc:1"), ("none", None)]
)
def test_what_runs_is_what_it_was_committed_as_last_or_came_from(
    place: Place, container: str, expected: str | None
) -> None:
    place.commit()
    images = place.versions().images
    mine = place.container
    if container == "other":
        mine = replace(mine, id="another")
    elif container == "none":
        mine = replace(mine, id="another", image_id="sha256:gone")
    found = history.current(images, mine)
    assert (found.tags[0] if found else None) == expected


def test_labels_that_name_a_ring_of_images_hang_nobody(place: Place) -> None:
    place.commit()
    first, second = place.engine.stored["svc:1"], place.engine.stored["svc:2"]
    said = record.of(second)
    assert said is not None
    ring = replace(said, packaged=second.id).labels()
    both = {first.id: replace(first, labels=ring), second.id: replace(second, labels=ring)}
    assert history.changes(both, both[first.id])[0] == second.id
