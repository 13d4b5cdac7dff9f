"""Where going on could lose files the sync halts; where a side refuses, the rest goes on."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from queue import SimpleQueue
from typing import cast

import pytest

from devkit.engine import Engine
from devkit.engines.pipe_stream import PipeStream
from devkit.sync.remote import Remote, Told
from tests.syncing import DEVKIT, HELPER, SCORE, Synced, synced

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def module(base_image: str) -> Iterator[Synced]:
    with synced("halts", base_image) as made:
        yield made


@pytest.fixture
def service(module: Synced) -> Synced:
    module.cleared()
    return module


@pytest.fixture(scope="module")
def small(base_image: str) -> Iterator[Synced]:
    """A workspace on a file system that is soon full."""
    mounted: list[Path] = []

    def place(top: Path) -> Path:
        mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "devkit-test", str(top)]
        subprocess.run(mount, check=True)
        mounted.append(top)
        return top

    try:
        with synced("small", base_image, place=place) as made:
            yield made
    finally:
        for top in mounted:
            subprocess.run(["umount", "-l", top], check=True)
            top.rmdir()


def _filled(service: Synced, files: int) -> None:
    for number in range(files):
        service.write(f"data/{number}.txt", f"{number}\n")
    service.in_step()


def test_a_workspace_moved_away_halts_and_deletes_nothing(service: Synced) -> None:
    _filled(service, 5)
    away = service.folder.parent / "away"
    with service.sync() as sync, service.news() as news:
        service.folder.rename(away)
        try:
            service.inside("echo edited > data/0.txt")
            while (told := next(news))["event"] != "halted":
                assert told["event"] != "changed"
            assert "The workspace is not there" in told["text"]
            assert service.inside("ls data").split() == [b"%d.txt" % n for n in range(5)]
            assert not service.folder.exists()
        finally:
            away.rename(service.folder)
        sync.ask("resume")
    service.write("data/new.txt", "new\n")
    assert len([path for path in service.in_step() if path.startswith("data/")]) == 6
    assert (service.folder / "data/0.txt").read_text() == "edited\n"


def test_an_emptied_workspace_halts_and_reset_brings_it_back(service: Synced) -> None:
    _filled(service, 5)
    before = service.there()
    with service.unheard():
        for name in ("score.py", "helper.py"):
            (service.folder / name).unlink()
        shutil.rmtree(service.folder / "data")
    assert service.halted() == "The workspace was emptied."
    assert service.there() == before
    done = service.devkit("sync", "flush")
    assert done.returncode == 4
    assert "devkit sync reset" in done.stderr
    assert service.json("sync", "reset")["ok"]
    assert service.in_step() == before


def test_an_emptied_container_halts_and_reset_brings_it_back(service: Synced) -> None:
    _filled(service, 5)
    before = service.here()
    with service.unheard():
        service.inside("rm -r ./*")
    assert service.halted() == "The container was emptied."
    assert service.here() == before
    service.ask("reset")
    assert service.in_step() == before


def test_the_containers_folder_removed_halts_and_deletes_nothing(service: Synced) -> None:
    _filled(service, 5)
    before = service.here()
    with service.unheard():
        service.inside(f"cd / && rm -r {service.root}")
    assert service.halted() == f"The folder {service.name} of the container is gone."
    assert service.here() == before
    service.ask("reset")
    assert service.in_step() == before


def test_many_deletions_in_the_workspace_wait_for_a_word(service: Synced) -> None:
    _filled(service, 100)
    with service.unheard():
        for number in range(40):
            (service.folder / f"data/{number}.txt").unlink()
    assert service.halted() == "40 of 102 files would be deleted in the container."
    assert len(service.inside("ls data").split()) == 100
    service.ask("resume")
    service.in_step()
    assert len(service.inside("ls data").split()) == 60


def test_many_deletions_in_the_container_wait_for_a_word(service: Synced) -> None:
    _filled(service, 100)
    with service.unheard():
        service.inside("rm data/?.txt data/[1234]?.txt")
    assert service.halted() == "50 of 102 files would be deleted in the workspace."
    assert len(list((service.folder / "data").iterdir())) == 100
    service.ask("reset")
    service.in_step()
    assert len(service.inside("ls data").split()) == 100


def test_few_deletions_of_many_files_go_through(service: Synced) -> None:
    _filled(service, 100)
    for number in range(30):
        (service.folder / f"data/{number}.txt").unlink()
    service.in_step()
    service.inside("rm data/3?.txt")
    assert len([path for path in service.in_step() if path.endswith(".txt")]) == 60


def test_a_folder_that_cannot_be_read_in_the_container_is_left_alone(service: Synced) -> None:
    _filled(service, 3)
    service.inside("chmod 000 data")
    try:
        service.write("score.py", SCORE + "# goes on\n")
        assert service.flush()["state"] == "watching"
        assert service.read_inside("score.py") == SCORE + "# goes on\n"
        service.write("data/0.txt", "edited\n")
        service.write("data/new.txt", "new\n")
        service.flush()
        assert len(list((service.folder / "data").iterdir())) == 4
    finally:
        service.inside("chmod 755 data")
    service.in_step()
    assert service.read_inside("data/0.txt") == "edited\n"
    assert service.flush()["problems"] == {}


def test_a_folder_that_cannot_be_read_in_the_container_is_named(service: Synced) -> None:
    _filled(service, 3)
    service.inside("chmod 000 data")
    try:
        assert service.flush()["problems"] == {"data": "Permission denied"}
    finally:
        service.inside("chmod 755 data")
    assert service.flush()["problems"] == {}


def test_what_belongs_to_another_user_is_left_alone_and_named(service: Synced) -> None:
    service.as_root("mkdir owned; echo x > owned/x.txt")
    try:
        service.in_step()
        service.write("owned/x.txt", "edited\n")
        service.write("owned/new.txt", "new\n")
        problems = service.flush()["problems"]
        assert problems == dict.fromkeys(["owned/x.txt", "owned/new.txt"], "Permission denied")
        assert service.read_inside("owned/x.txt") == "x\n"
        service.write("score.py", SCORE + "# goes on\n")
        service.flush()
        assert service.read_inside("score.py") == SCORE + "# goes on\n"
        # It is tried again each time, and told once.
        assert service.sync_log().count("owned/new.txt: it cannot be changed") == 1
    finally:
        service.as_root("chown -R 1000:1000 owned")
    service.ask("resume")
    service.in_step()
    assert service.read_inside("owned/x.txt") == "edited\n"


def test_a_read_only_file_is_replaced_and_stays_read_only(service: Synced) -> None:
    service.write("fixed.txt", "old\n")
    service.in_step()
    service.inside("chmod 444 fixed.txt")
    service.write("fixed.txt", "new\n")
    service.in_step()
    assert service.inside("cat fixed.txt; stat -c %a fixed.txt") == b"new\n444\n"


def test_a_full_disk_of_the_workspace_halts_and_loses_nothing(small: Synced) -> None:
    small.inside("head -c 9000000 /dev/urandom > big.bin; echo '# there' > score.py")
    assert small.halted() == "The disk of the workspace is full."
    small.inside("ls -l big.bin")
    assert not (small.folder / "big.bin").exists()
    small.inside("rm big.bin")
    small.ask("resume")
    small.in_step()
    assert (small.folder / "score.py").read_text() == "# there\n"


def test_a_full_disk_of_the_trash_halts_before_an_old_content_goes(small: Synced) -> None:
    old = os.urandom(2_000_000)
    (small.folder / "weights.bin").write_bytes(old)
    small.in_step()
    with (small.folder / "weights.bin").open("r+b") as file:
        file.write(os.urandom(1_500_000))
        file.truncate()
    assert small.halted() == "The disk of the workspace is full."
    assert small.inside("cat weights.bin") == old
    small.write("weights.bin", "small")
    small.ask("resume")
    small.in_step()
    assert small.read_inside("weights.bin") == "small"
    kept = small.folder / ".devkit/trash/contents" / hashlib.sha256(old).hexdigest()
    assert kept.read_bytes() == old


def test_an_old_content_that_came_while_the_disk_was_full_is_kept_once_there_is_room(
    small: Synced,
) -> None:
    old, new = os.urandom(100_000), os.urandom(100_000)
    (small.folder / "notes.bin").write_bytes(old)
    small.in_step()
    filler = small.folder / ".devkit" / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    with (small.folder / "notes.bin").open("r+b") as file:
        file.write(new)
    assert small.halted() == "The disk of the workspace is full."
    filler.unlink()
    small.ask("resume")
    small.in_step()
    assert small.inside("cat notes.bin") == new
    kept = small.folder / ".devkit/trash/contents" / hashlib.sha256(old).hexdigest()
    assert kept.read_bytes() == old


def test_where_watches_end_the_workspace_is_looked_at_again_and_again(service: Synced) -> None:
    for number in range(5):
        service.write(f"deep/{number}/file.txt", "old\n")
    service.in_step()
    assert service.json("sync", "stop")["ok"]
    limited = 'echo 3 > /proc/sys/user/max_inotify_watches; exec "$0" debug --detach --json'
    started = ["unshare", "--user", "--map-root-user", "sh", "-c", limited, str(DEVKIT)]
    subprocess.run(started, cwd=service.folder, check=True, capture_output=True)
    try:
        status = service.flush()
        assert "inotify" in status["without_events"]["workspace"]
        assert "looked at every second" in service.devkit("sync", "status").stdout
        with service.news() as news:
            service.write("deep/3/file.txt", "new\n")
            while next(news)["path"] != "deep/3/file.txt":
                pass
        assert service.read_inside("deep/3/file.txt") == "new\n"
    finally:
        assert service.json("sync", "stop")["ok"]
        service.debug()


class _FewWatches:
    """Runs an agent on this machine, where it may watch two folders."""

    def exec(self, _container: str, command: list[str], **_: object) -> PipeStream:
        limited = 'echo 2 > /proc/sys/user/max_inotify_watches; exec "$@"'
        alone = ["unshare", "--user", "--map-root-user", "sh", "-c", limited, "sh"]
        return PipeStream([*alone, *command], env=os.environ)


def test_where_watches_end_the_agent_looks_again_and_again(tmp_path: Path) -> None:
    (tmp_path / "a/b/c/d").mkdir(parents=True)
    told = SimpleQueue[Told]()
    engine, root = cast("Engine", _FewWatches()), PurePosixPath(tmp_path)
    with Remote(engine, "here", root, told=told.put, lost=lambda _: None) as remote:
        assert "inotify" in remote.scan().without_events
        (tmp_path / "a/b/c/d/file.txt").write_text("new\n")
        while "a/b/c/d/file.txt" not in told.get(timeout=60).entries:
            pass


def test_a_read_only_container_says_what_it_refuses(base_image: str) -> None:
    with synced("read-only", base_image, "--read-only") as service:
        service.write("helper.py", "WORD = 'refused'\n")
        service.write("new.txt", "new\n")
        refused = dict.fromkeys(["helper.py", "new.txt"], "Read-only file system")
        assert service.flush()["problems"] == refused
        assert service.json("sync", "status")["problems"] == refused
        assert service.json("sync", "stop")["ok"]
        assert service.json("sync", "--push")["failed"] == refused
        assert service.read_inside("helper.py") == HELPER
        assert (service.folder / "new.txt").read_text() == "new\n"


def test_a_container_without_python_is_pushed_to_and_pulled_from(service: Synced) -> None:
    assert service.json("sync", "stop")["ok"]
    names = "/opt/env/bin/python3 /usr/bin/python3"
    service.as_root(f"for name in {names}; do mv $name $name.away; done")
    try:
        done = service.json("sync")
        assert done["error"]["code"] == "Unsupported"
        assert "has no Python: it cannot be kept in step" in done["error"]["message"]
        assert "--push" in done["error"]["hint"]
        _goes_one_way(service)
    finally:
        service.as_root(f"for name in {names}; do mv $name.away $name; done")
        service.debug()


def test_a_stopped_container_is_pushed_to_and_pulled_from(service: Synced) -> None:
    assert service.json("stop")["ok"]
    done = service.json("sync", "--once")
    assert done["error"]["code"] == "Unsupported"
    assert "does not run" in done["error"]["message"]
    service.write("here.txt", "here\n")
    assert service.json("sync", "--push")["failed"] == {}
    copied = service.folder.parent / "copied"
    source = f"{service.container}:{service.root}/here.txt"
    subprocess.run(["docker", "cp", source, copied], check=True, capture_output=True)
    assert copied.read_text() == "here\n"
    service.debug()
    assert "here.txt" in service.in_step()


def _goes_one_way(service: Synced) -> None:
    service.write("folder/here.txt", "here\n")
    (service.folder / "link").symlink_to("score.py")
    service.inside("echo there > there.txt; echo '# there' > helper.py")
    assert service.json("sync", "--push")["failed"] == {}
    assert service.inside("cat folder/here.txt; stat -c %U folder/here.txt") == b"here\ndevkit\n"
    assert service.inside("readlink link") == b"score.py\n"
    assert (service.folder / "helper.py").read_text() == HELPER
    assert service.json("sync", "--pull")["failed"] == {}
    assert (service.folder / "there.txt").read_text() == "there\n"
    assert (service.folder / "helper.py").read_text() == "# there\n"
    assert service.read_inside("score.py") == SCORE
