"""What happens to the container: restarted, replaced, stopped, paused, committed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from devkit.sync import control
from devkit.sync.agent.places import TEMPORARY
from tests.syncing import HELPER, SCORE, Synced, synced

pytestmark = pytest.mark.engine

# Ends every agent in the container, as a crash would.
KILL = """
import os, signal
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open("/proc/%s/cmdline" % pid, "rb") as file:
            is_agent = b"devkit_agent" in file.read()
    except OSError:
        continue
    if is_agent and int(pid) not in (os.getpid(), os.getppid()):
        os.kill(int(pid), signal.SIGKILL)
        print(pid)
"""


@pytest.fixture(scope="module")
def module(base_image: str) -> Iterator[Synced]:
    with synced("container", base_image) as made:
        yield made


@pytest.fixture
def service(module: Synced) -> Synced:
    found = module.engine.container(module.container)
    if found is None or not found.is_running or not _has_sync(module):
        module.write("score.py", SCORE)
        module.write("helper.py", HELPER)
        module.debug()
    module.cleared()
    return module


def _has_sync(service: Synced) -> bool:
    return control.Running.find(service.folder, service.name) is not None


def _docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], check=True, capture_output=True, encoding="utf-8")
    return done.stdout.strip()


def _connected(news: Iterator[dict[str, object]]) -> None:
    while next(news)["event"] != "connected":
        pass


def test_a_restarted_container_is_in_step_again_by_itself(service: Synced) -> None:
    service.write("gone.txt", "gone\n")
    service.in_step()
    service.inside("echo there > there.txt")
    with service.news() as news:
        _docker("stop", "-t", "1", service.container)
        (service.folder / "gone.txt").unlink()
        service.write("here.txt", "here\n")
        _docker("start", service.container)
        _connected(news)
    assert set(service.in_step()) == {"score.py", "helper.py", "there.txt", "here.txt"}
    service.write("helper.py", "WORD = 4\n")
    service.in_step()


def test_a_container_of_the_same_name_deletes_nothing_of_the_workspace(service: Synced) -> None:
    for number in range(30):
        service.write(f"data/{number}.txt", f"{number}\n")
    service.inside("echo there > there.txt")
    service.in_step()
    old = service.container
    _docker("rm", "-f", old)
    assert service.debug()["ok"]
    assert service.container != old
    tree = service.in_step()
    assert len([path for path in tree if path.startswith("data/")]) == 31 - 1
    assert (service.folder / "there.txt").read_text() == "there\n"


def test_the_sync_ends_when_its_container_is_gone(service: Synced) -> None:
    with service.news() as news:
        _docker("rm", "-f", service.container)
        assert all(told["event"] != "changed" for told in news)
    assert not _has_sync(service)
    assert "The container is gone." in service.sync_log()
    assert (service.folder / "score.py").read_text() == SCORE


def _edited_while_stopped(service: Synced) -> None:
    for path in ("one.txt", "two.txt", "both.txt"):
        service.write(path, f"{path}\n")
    service.in_step()
    assert service.json("stop")["ok"]
    assert not _has_sync(service)
    service.write("helper.py", HELPER + "# here\n")
    service.write("both.txt", "here\n")
    (service.folder / "one.txt").unlink()
    edited = service.folder.parent / "edited"
    edited.write_text("there\n")
    for path in ("both.txt", "there.txt"):
        _docker("cp", str(edited), f"{service.container}:{service.root}/{path}")


def test_edits_on_both_sides_of_a_stopped_container_are_merged(service: Synced) -> None:
    _edited_while_stopped(service)
    _docker("start", service.container)
    assert service.json("sync", "--once")["failed"] == {}
    tree = service.here()
    assert tree == service.there()
    assert "one.txt" not in tree
    assert (service.folder / "there.txt").read_text() == "there\n"
    assert (service.folder / "both.txt").read_text() == "here\n"
    (copy,) = [path for path in tree if path.startswith("both.txt.conflict-container-")]
    assert (service.folder / copy).read_text() == "there\n"
    assert service.read_inside("helper.py") == HELPER + "# here\n"


def test_edits_in_a_stopped_container_that_is_replaced_are_kept(service: Synced) -> None:
    _edited_while_stopped(service)
    old = service.container
    service.debug()
    assert service.container != old
    assert "there.txt" not in service.in_step()
    trash = service.folder / ".devkit" / "trash"
    kept = {path.name: path.read_text() for path in trash.glob(f"*-{service.name}/*.txt")}
    assert (kept["both.txt"], kept["there.txt"]) == ("there\n", "there\n")


def test_a_killed_agent_is_started_again_and_nothing_is_lost(service: Synced) -> None:
    service.write("gone.txt", "gone\n")
    service.in_step()
    for number in range(3):
        with service.news() as news:
            assert service.python(KILL)
            service.write("score.py", f"# {number}\n")
            service.inside(f"echo {number} > there.txt")
            _connected(news)
        service.in_step()
        assert (service.folder / "there.txt").read_text() == f"{number}\n"
        assert service.read_inside("score.py") == f"# {number}\n"


def test_an_agent_killed_in_the_middle_of_a_large_file_leaves_nothing(service: Synced) -> None:
    service.write("large.bin", b"x" * 200_000_000)
    with service.sync() as sync, service.news() as news:
        while not sync.ask("status")["pending"]:
            pass
        assert service.python(KILL)
        _connected(news)
    tree = service.in_step()
    assert "large.bin" in tree
    assert TEMPORARY.encode() not in service.inside("ls -A")


def test_what_a_paused_container_missed_arrives_afterwards(service: Synced) -> None:
    with service.news() as news:
        _docker("pause", service.container)
        service.write("score.py", "# while paused\n")
        service.write("new/file.txt", "new\n")
        _docker("unpause", service.container)
        while next(news)["path"] != "score.py":
            pass
    service.in_step()
    assert service.read_inside("new/file.txt") == "new\n"
    assert service.read_inside("score.py") == "# while paused\n"


@pytest.mark.parametrize("pauses", ["--pause=true", "--pause=false"])
def test_a_commit_has_the_edits_before_it_and_nothing_of_the_sync(
    service: Synced, pauses: str
) -> None:
    for number in range(20):
        service.write(f"here{number}.txt", f"{number}\n")
        service.inside(f"echo {number} > there{number}.txt")
    service.write("score.py", "# committed\n")
    service.flush()
    image = _docker("commit", pauses, service.container)
    try:
        service.write("helper.py", "WORD = 'after'\n")
        service.in_step()
        listed = _docker(
            "run", "--rm", "-u", "root", image, "find", service.root, "/tmp", "/root", "/home"
        )
        names = [name.rpartition("/")[2] for name in listed.splitlines()]
        assert not [name for name in names if "devkit-" in name or "agent" in name]
        assert {f"here{n}.txt" for n in range(20)} | {f"there{n}.txt" for n in range(20)} <= set(
            names
        )
        text = _docker("run", "--rm", image, "cat", f"{service.root}/score.py")
        assert text == "# committed"
    finally:
        _docker("rmi", image)
    changed = _docker("diff", service.container).splitlines()
    own = [line for line in changed if service.root not in line and "/azureml-app" not in line]
    assert not [line for line in own if "agent" in line or "devkit-tmp" in line], own


def test_what_a_commit_in_the_middle_of_a_transfer_has_left_is_swept(service: Synced) -> None:
    service.inside(f"echo half > {TEMPORARY}1-2-3; mkdir deep; echo half > deep/{TEMPORARY}4-5-6")
    with service.news() as news:
        service.python(KILL)
        _connected(news)
    service.in_step()
    assert b"devkit-tmp" not in service.inside("ls -A . deep")


def test_saves_while_a_commit_pauses_all_arrive(service: Synced) -> None:
    images = []
    try:
        with service.news() as news:
            for number in range(3):
                with subprocess.Popen(
                    ["docker", "commit", service.container], stdout=subprocess.PIPE
                ) as committing:
                    service.write("score.py", f"# {number}\n")
                    service.write(f"new{number}.txt", f"{number}\n")
                    assert committing.stdout is not None
                    images.append(committing.stdout.read().decode().strip())
                while next(news)["path"] != f"new{number}.txt":
                    pass
        service.in_step()
        assert service.read_inside("score.py") == "# 2\n"
    finally:
        for image in images:
            _docker("rmi", image)


def test_an_edit_just_before_the_container_ends_is_kept(service: Synced) -> None:
    service.inside("echo '# last words' > helper.py; echo new > last.txt")
    assert service.json("delete", "--yes")["ok"]
    assert (service.folder / "helper.py").read_text() == "# last words\n"
    assert (service.folder / "last.txt").read_text() == "new\n"


def test_a_mount_inside_the_folder_is_synced_and_halts_when_it_is_full(service: Synced) -> None:
    service.inside("mkdir mounted")
    service.in_step()
    service.as_root("mount -t tmpfs -o size=1m,uid=1000 devkit-test mounted")
    try:
        service.inside("echo in > mounted/there.txt")
        service.write("mounted/here.txt", "here\n")
        assert {"mounted/there.txt", "mounted/here.txt"} <= set(service.in_step())
        service.write("mounted/large.bin", b"x" * 3_000_000)
        assert service.halted() == "The disk of the container is full."
        (service.folder / "mounted/large.bin").unlink()
        service.ask("resume")
        assert "mounted/large.bin" not in service.in_step()
        service.write("mounted/here.txt", "again\n")
        service.in_step()
    finally:
        service.as_root("umount mounted")
