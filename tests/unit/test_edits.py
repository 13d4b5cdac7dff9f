"""What was edited inside a container, on an engine in memory; its tar stream may lie."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from devkit import edits, written
from devkit.contract import APP_ROOT
from devkit.edits import saved
from devkit.engine import Container, FileChange, Placement, RunSpec, Tag
from devkit.errors import SyncHalted
from devkit.sync.agent.side import FILE, Entry
from devkit.trash import Saved
from tests.fake_engine import FakeEngine

APP = "/var/azureml-app"
IRIS = f"{APP}/iris"


class HostileEngine(FakeEngine):
    """Names and kinds in its archives are what `members` says; the content is "evil"."""

    def __init__(self, *images: str) -> None:
        super().__init__(*images)
        self.members: list[tarfile.TarInfo] = []

    def archive_out(self, container: str, path: PurePosixPath) -> Iterator[bytes]:
        if path == APP_ROOT:
            return super().archive_out(container, path)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for member in self.members:
                member.size = 4 if member.isreg() else 0
                archive.addfile(member, io.BytesIO(b"evil"))
        return iter([buffer.getvalue()])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "iris"
    (folder / "models").mkdir(parents=True)
    (folder / "score.py").write_text("local\n")
    (folder / "models" / "iris.pkl").write_bytes(b"model")
    return folder.resolve()


@pytest.fixture
def engine() -> HostileEngine:
    return HostileEngine("debug:1")


@pytest.fixture
def fake() -> FakeEngine:
    return FakeEngine("debug:1")


def started(engine: FakeEngine) -> Container:
    return engine.run(RunSpec(Tag("debug", "1"), "iris", {}, {}, ()))


def found(engine: FakeEngine, root: Path, only: set[PurePosixPath] | None = None) -> Saved | None:
    container = engine.container("iris")
    assert container is not None
    model = PurePosixPath(APP, "azureml-models/iris/1/iris.pkl")
    mappings = (
        Placement(root, PurePosixPath(IRIS)),
        Placement(root / "models" / "iris.pkl", model),
    )
    return saved(engine, container, mappings=mappings, root=root, only=only)


def below(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != "README-devkit.txt"
    }


def test_what_was_edited_is_kept_under_its_name_in_the_workspace(
    fake: FakeEngine, root: Path
) -> None:
    started(fake)
    fake.edit("iris", f"{IRIS}/score.py", b"inside\n")
    fake.edit("iris", f"{IRIS}/pkg/a b/néw.py", b"new\n")
    fake.edit("iris", f"{APP}/azureml-models/iris/1/iris.pkl", b"trained")
    fake.edit("iris", f"{APP}/azureml-models/iris/2/iris.pkl", b"trained again")
    made = found(fake, root)
    assert made is not None
    assert below(made.folder) == {
        "score.py": b"inside\n",
        "pkg/a b/néw.py": b"new\n",
        "models/iris.pkl": b"trained",
        "azureml-models/iris/2/iris.pkl": b"trained again",
    }
    assert sorted(below(made.folder)) == list(made.files)
    assert made.folder.parent == root / ".devkit" / "trash"
    assert made.folder.name.endswith("-iris")
    assert "container iris" in (made.folder / "README-devkit.txt").read_text("utf-8")
    assert (root / ".devkit" / ".gitignore").read_text() == "*\n"
    assert (root / "score.py").read_text() == "local\n"
    assert str(made).startswith(
        f"Edits made in the container iris are kept in .devkit/trash/{made.folder.name}: azureml-"
    )


def test_many_edits_are_asked_for_at_once(
    fake: FakeEngine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(fake)
    asked = list[PurePosixPath]()
    answer = fake.archive_out

    def archive_out(container: str, path: PurePosixPath) -> Iterator[bytes]:
        asked.append(path)
        return answer(container, path)

    monkeypatch.setattr(fake, "archive_out", archive_out)
    wanted = {f"data/{number}.txt": b"%d" % number for number in range(30)}
    for name, content in wanted.items():
        fake.edit("iris", f"{IRIS}/{name}", content)
    made = found(fake, root)
    assert made is not None
    assert below(made.folder) == wanted
    assert asked == [APP_ROOT, PurePosixPath(IRIS, "data")]
    assert str(made).endswith("and 20 more")


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (f"{IRIS}/score.py", b"local\n"),  # the same as in the workspace
        (f"{IRIS}/__pycache__/score.cpython-313.pyc", b"x"),
        (f"{IRIS}/.score.py.swp", b"x"),
        (f"{IRIS}/score.py~", b"x"),
        (f"{IRIS}/score.py.devkit-7.tmp", b"x"),
        ("/etc/passwd", b"x"),
        (f"{APP}/log.txt", b"x"),
    ],
)
def test_what_is_no_edit_of_ours_makes_no_folder(
    fake: FakeEngine, root: Path, path: str, content: bytes
) -> None:
    started(fake)
    fake.edit("iris", path, content)
    assert found(fake, root) is None
    assert not (root / ".devkit").exists()


def test_the_engines_list_of_changes_is_asked_for_when_a_short_look_finds_something(
    fake: FakeEngine, root: Path
) -> None:
    started(fake)
    fake.edit("iris", f"{IRIS}/score.py", b"local\n")
    fake.edit("iris", f"{APP}/azureml-models/iris/1/iris.pkl", b"model")
    assert found(fake, root) is None
    assert "changes iris" not in fake.calls
    # As it is in the image; only the workspace moved on.
    fake.boxes["iris"].files[PurePosixPath(IRIS, "old.py")] = b"old\n"
    assert found(fake, root) is None
    assert "changes iris" in fake.calls


def test_what_devkit_itself_wrote_is_no_edit_until_it_is_changed_inside(
    fake: FakeEngine, root: Path
) -> None:
    container, place = started(fake), PurePosixPath(IRIS, "score.py")
    fake.edit("iris", str(place), b"pushed\n")
    written.remember(
        root, container.id, {place: Entry(FILE, hashlib.sha256(b"pushed\n").hexdigest())}
    )
    assert found(fake, root) is None
    fake.edit("iris", f"{IRIS}/score.py", b"inside\n")
    made = found(fake, root)
    assert made is not None
    assert made.files == ("score.py",)


def test_only_the_files_in_question_are_kept(fake: FakeEngine, root: Path) -> None:
    started(fake)
    fake.edit("iris", f"{IRIS}/score.py", b"inside\n")
    fake.edit("iris", f"{IRIS}/other.py", b"inside\n")
    made = found(fake, root, {PurePosixPath(IRIS, "score.py")})
    assert made is not None
    assert made.files == ("score.py",)


def test_a_stopped_container_is_looked_at_too(fake: FakeEngine, root: Path) -> None:
    started(fake)
    fake.edit("iris", f"{IRIS}/score.py", b"inside\n")
    fake.stop("iris")
    assert found(fake, root) is not None


def test_two_in_one_second_have_folders_of_their_own(
    fake: FakeEngine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devkit.trash.time.strftime", lambda *_: "20261124-080102")
    started(fake)
    fake.edit("iris", f"{IRIS}/score.py", b"inside\n")
    folders = {made.folder.name for _ in range(2) if (made := found(fake, root))}
    assert folders == {"20261124-080102-iris", "20261124-080102-iris~"}


def test_what_is_too_large_is_named_and_the_rest_is_kept(
    fake: FakeEngine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edits, "MOST_BYTES_EACH", 10)
    monkeypatch.setattr(edits, "MOST_BYTES", 15)
    (root / "same.bin").write_bytes(b"s" * 20)
    os.utime(root / "same.bin", (0, 0))  # as the engine in memory says of every file
    started(fake)
    for name, size in {"a": 11, "b": 10, "c": 6, "d": 5, "same.bin": 20}.items():
        fake.edit("iris", f"{IRIS}/{name}", name[:1].encode() * size)
    made = found(fake, root)
    assert made is not None
    assert made.files == ("b", "d")
    assert made.left_out == ("a", "c")
    assert "not kept" in str(made)
    assert "a, c" in (made.folder / "README-devkit.txt").read_text("utf-8")


class LargeEngine(FakeEngine):
    """A file "large" of 60 MB; `read` counts what of the archives was taken."""

    def __init__(self, *images: str) -> None:
        super().__init__(*images)
        self.read = 0

    def archive_out(self, container: str, path: PurePosixPath) -> Iterator[bytes]:
        for chunk in super().archive_out(container, path):
            for at in range(0, len(chunk), 1 << 20):
                self.read += 1 << 20
                yield chunk[at : at + (1 << 20)]


@pytest.mark.parametrize("others", [0, 6])
def test_a_file_over_the_limit_is_named_and_not_read(root: Path, others: int) -> None:
    engine = LargeEngine("debug:1")
    started(engine)
    engine.edit("iris", f"{IRIS}/large", bytes(edits.MOST_BYTES_EACH + 1))
    names = {f"{side}{number}.py" for number in range(others // 2) for side in ("a", "z")}
    for name in names:
        engine.edit("iris", f"{IRIS}/{name}", b"# inside\n")
    (root / "large").write_bytes(bytes(edits.MOST_BYTES_EACH + 1))
    made = found(engine, root)
    assert made is not None
    assert made.left_out == ("large",)
    assert set(made.files) == names
    assert engine.read < 20 << 20


def test_half_done_folders_of_a_devkit_that_was_killed_are_swept(
    fake: FakeEngine, root: Path
) -> None:
    trash = root / ".devkit" / "trash"
    for name in (".old", ".young", "20200101-000000-iris"):
        (trash / name / "edits").mkdir(parents=True)
    for name in (".old", "20200101-000000-iris"):
        os.utime(trash / name, (0, 0))
    started(fake)
    fake.edit("iris", f"{IRIS}/score.py", b"inside\n")
    assert found(fake, root) is not None
    assert not (trash / ".old").exists()
    assert (trash / ".young").exists()
    assert (trash / "20200101-000000-iris").exists()


def test_a_file_that_went_meanwhile_is_named(fake: FakeEngine, root: Path) -> None:
    started(fake)
    fake.edit("iris", f"{IRIS}/score.py", b"inside\n")
    place = PurePosixPath(IRIS, "score.py")
    del fake.boxes["iris"].files[place]
    made = found(fake, root, {place})
    assert made is not None
    assert made.left_out == ("score.py",)


@pytest.mark.parametrize(
    "name",
    ["../../evil", "/tmp/evil", "score.py/../../../evil", "../score.py", "..", "other.py"],
)
def test_a_name_in_the_stream_that_was_not_asked_for_is_not_taken(
    engine: HostileEngine, root: Path, name: str
) -> None:
    started(engine)
    engine.edit("iris", f"{IRIS}/score.py", b"inside\n")
    engine.members = [tarfile.TarInfo(name)]
    before = {path for path in root.parent.rglob("*") if ".devkit" not in path.parts}
    made = found(engine, root)
    assert made is not None
    assert (made.files, made.left_out) == ((), ("score.py",))
    assert below(made.folder) == {}
    assert {path for path in root.parent.rglob("*") if ".devkit" not in path.parts} == before
    assert (root / "score.py").read_text() == "local\n"


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
)
def test_links_devices_and_folders_are_not_taken(
    engine: HostileEngine, root: Path, kind: bytes
) -> None:
    started(engine)
    engine.edit("iris", f"{IRIS}/score.py", b"inside\n")
    member = tarfile.TarInfo("score.py")
    member.type, member.linkname = kind, "/etc/passwd"
    engine.members = [member]
    assert found(engine, root) is None


def test_a_change_that_leads_out_of_the_source_directory_is_not_taken(
    fake: FakeEngine, root: Path
) -> None:
    started(fake)
    for path in (f"{IRIS}/../../../tmp/evil", f"{IRIS}/pkg/../../score.py"):
        place = PurePosixPath(path)
        fake.boxes["iris"].files[place] = b"evil"
        fake.boxes["iris"].changes[place] = FileChange(place, "added")
    assert found(fake, root) is None


def test_a_stream_that_is_no_archive_is_named_and_stops_nothing(
    fake: FakeEngine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(fake)
    fake.edit("iris", f"{IRIS}/score.py", b"inside\n")
    monkeypatch.setattr(fake, "archive_out", lambda *_: iter([b"no tar " * 1000]))
    made = found(fake, root)
    assert made is not None
    assert made.left_out == ("score.py",)


@pytest.mark.parametrize("link", [".devkit", ".devkit/trash"])
def test_a_link_in_the_place_of_the_trash_is_not_followed(
    fake: FakeEngine, root: Path, tmp_path: Path, link: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (root / link).parent.mkdir(exist_ok=True)
    (root / link).symlink_to(elsewhere)
    started(fake)
    fake.edit("iris", f"{IRIS}/score.py", b"inside\n")
    with pytest.raises(SyncHalted, match="link") as halted:
        found(fake, root)
    assert halted.value.exit_code == 4
    assert "docker rm" in (halted.value.hint or "")
    assert list(elsewhere.iterdir()) == []


def test_what_cannot_be_stored_halts_and_leaves_nothing_half_done(
    fake: FakeEngine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("devkit.trash.shutil.copyfileobj", full)
    started(fake)
    fake.edit("iris", f"{IRIS}/score.py", b"inside\n")
    with pytest.raises(SyncHalted, match="No space left"):
        found(fake, root)
    assert os.listdir(root / ".devkit" / "trash") == []  # noqa: PTH208  hidden ones too


def test_the_run_bit_of_a_script_is_kept(engine: HostileEngine, root: Path) -> None:
    started(engine)
    engine.edit("iris", f"{IRIS}/score.py", b"inside\n")
    member = tarfile.TarInfo("score.py")
    member.mode = 0o4777
    engine.members = [member]
    made = found(engine, root)
    assert made is not None
    assert (made.folder / "score.py").stat().st_mode & 0o7777 == 0o755
