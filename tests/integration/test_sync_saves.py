"""How editors and tools save: the other side gets one new content, and nothing bounces back."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.syncing import DEVKIT, Synced, synced

pytestmark = pytest.mark.engine

INTO_CONTAINER, INTO_WORKSPACE = ("remote", "score.py"), ("local", "score.py")
OPTIONS = ["", "set backupcopy=yes", "set backupcopy=no", "set backup", "set nowritebackup"]
# Says how often a file was missing or torn until its content is the last.
READER = """
import sys
bad = reads = 0
sys.stdout.write("reads\\n")
while True:
    reads += 1
    try:
        with open("watched.txt") as file:
            text = file.read()
    except FileNotFoundError:
        bad += 1
        continue
    number, _, body = text.partition(":")
    bad += len(body) != 60000 or body != body[:1] * 60000
    if number == "last":
        break
print(bad, reads)
"""


@pytest.fixture(scope="module")
def module(base_image: str) -> Iterator[Synced]:
    with synced("saves", base_image) as made:
        yield made


@pytest.fixture
def service(module: Synced) -> Synced:
    module.cleared()
    return module


def _arrives(service: Synced, save: Callable[[Path], None], word: str) -> None:
    """A save in the workspace gives one change in the container, and no other anywhere."""
    names = service.inside("ls -A")
    with service.changed() as changed:
        save(service.folder / "score.py")
    assert changed == [INTO_CONTAINER]
    assert word in service.read_inside("score.py")
    assert service.inside("ls -A") == names
    service.in_step()


@pytest.mark.parametrize("options", OPTIONS)
def test_vim_in_the_container_saves_one_content_into_the_workspace(
    service: Synced, options: str
) -> None:
    names = service.names()
    with service.changed() as changed:
        service.inside(f"vim -es -N -c '{options}' -c '%s/WORD/VIM/' -c wq score.py")
    assert changed == [INTO_WORKSPACE]
    assert "helper.VIM" in (service.folder / "score.py").read_text()
    assert service.names() == names
    service.in_step()


@pytest.mark.parametrize("options", OPTIONS)
def test_vim_on_the_host_saves_one_content_into_the_container(
    service: Synced, options: str
) -> None:
    def save(path: Path) -> None:
        command = [
            "vim",
            "-es",
            "-N",
            "-u",
            "NONE",
            "-c",
            options,
            "-c",
            "%s/WORD/VIM/",
            "-c",
            "wq",
        ]
        subprocess.run([*command, path.name], cwd=path.parent, check=True)

    _arrives(service, save, "helper.VIM")


def test_vim_typed_in_devkit_shell_swaps_and_saves(service: Synced) -> None:
    child, screen = pty.fork()
    if child == 0:
        os.chdir(service.folder)
        os.environ["TERM"] = "xterm"
        os.execv(DEVKIT, [str(DEVKIT), "shell"])
    _shown(screen, b"$ ")
    names = service.names()
    with service.changed() as changed:
        os.write(screen, f"vim {service.name}/score.py\n".encode())
        _shown(screen, b"helper.WORD")
        os.write(screen, b"Otyped = 1\x1b:w\n")
        _shown(screen, b"written")
        assert b".score.py.swp" in service.inside("ls -A")
        assert service.flush()["problems"] == {}
        assert service.names() == names
        os.write(screen, b":q\n")
        _shown(screen, b"$ ")
        os.write(screen, b"exit\n")
        with suppress(OSError):  # Linux says so when the other side is closed
            while os.read(screen, 4096):
                pass
        os.waitpid(child, 0)
    assert changed == [INTO_WORKSPACE]
    assert "typed = 1" in (service.folder / "score.py").read_text()
    service.in_step()


def test_sed_in_the_container_saves_one_content(service: Synced) -> None:
    with service.changed() as changed:
        service.inside("sed -i s/WORD/SED/ score.py")
    assert changed == [INTO_WORKSPACE]
    assert "helper.SED" in (service.folder / "score.py").read_text()


def test_sed_on_the_host_saves_one_content(service: Synced) -> None:
    def save(path: Path) -> None:
        subprocess.run(["sed", "-i", "s/WORD/SED/", path], check=True)

    _arrives(service, save, "helper.SED")


def test_a_save_that_truncates_and_writes_arrives_whole(service: Synced) -> None:
    def save(path: Path) -> None:
        with path.open("r+b", buffering=0) as file:
            text = file.read()
            file.truncate(0)
            file.seek(0)
            for start in range(0, len(text), 20):
                file.write(text[start : start + 20])
            file.write(b"# truncated\n")

    _arrives(service, save, "# truncated")


def test_an_atomic_save_of_vs_code_arrives(service: Synced) -> None:
    def save(path: Path) -> None:
        new = path.with_name("score.py.vsctmp")
        new.write_text(path.read_text() + "# atomic\n")
        new.replace(path)

    _arrives(service, save, "# atomic")


def test_a_safe_write_of_jetbrains_arrives(service: Synced) -> None:
    def save(path: Path) -> None:
        new, old = (path.with_name(f"score.py___jb_{what}___") for what in ("tmp", "old"))
        new.write_text(path.read_text() + "# safe\n")
        path.rename(old)
        new.rename(path)
        old.unlink()

    _arrives(service, save, "# safe")


def test_a_copy_with_an_older_time_arrives_though_its_size_is_the_same(service: Synced) -> None:
    service.write("older.py", HELPER_OLD)
    os.utime(service.folder / "older.py", (10_000, 10_000))
    with service.changed() as changed:
        shutil.copy2(service.folder / "older.py", service.folder / "helper.py")
    assert ("remote", "helper.py") in changed
    assert service.read_inside("helper.py") == HELPER_OLD
    with service.changed() as changed:
        service.inside("printf 'WORD = \"two\"\\n' > a; touch -d 1990-01-01 a; cp -p a helper.py")
    assert ("local", "helper.py") in changed
    assert (service.folder / "helper.py").read_text() == 'WORD = "two"\n'


HELPER_OLD = 'WORD = "old"\n'


def test_two_edits_of_the_same_size_in_one_moment_both_count(service: Synced) -> None:
    path = service.folder / "helper.py"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_text('WORD = "abc"\n')
    os.utime(path, ns=times)
    service.in_step()
    path.write_text('WORD = "xyz"\n')
    os.utime(path, ns=times)
    service.in_step()
    assert service.read_inside("helper.py") == 'WORD = "xyz"\n'


def test_touch_and_a_read_transfer_nothing(service: Synced) -> None:
    with service.changed() as changed:
        os.utime(service.folder / "score.py")
        service.inside("touch -d 1990-01-01 helper.py; cat score.py")
    assert changed == []


def test_only_the_run_bit_of_a_mode_goes_to_the_other_side(service: Synced) -> None:
    with service.changed() as changed:
        (service.folder / "score.py").chmod(0o755)
    assert changed == [INTO_CONTAINER]
    assert service.inside("stat -c %a score.py") == b"755\n"
    with service.changed() as changed:
        service.inside("chmod 600 helper.py; chmod 640 score.py")
    assert changed == [INTO_WORKSPACE]
    assert (service.folder / "score.py").stat().st_mode & 0o777 == 0o644
    assert (service.folder / "helper.py").stat().st_mode & 0o777 == 0o644
    (service.folder / "helper.py").write_text("WORD = 3\n")
    service.in_step()
    assert service.inside("stat -c %a helper.py") == b"600\n"


def test_a_reader_in_the_container_sees_no_torn_and_no_missing_file(service: Synced) -> None:
    service.write("watched.txt", "first:" + "a" * 60000)
    service.in_step()
    command = ["sh", "-c", f'cd {service.root} && exec python3 -u -c "$0"', READER]
    with closing(service.engine.exec(service.container, command)) as reader:
        assert reader.read() == b"reads\n"
        with service.news() as news:
            for number in [*range(200), "last"]:
                service.write(".new", f"{number}:" + "ab"[hash(number) % 2] * 60000)
                (service.folder / ".new").replace(service.folder / "watched.txt")
                while next(news)["path"] != "watched.txt":
                    pass
        bad, reads = b"".join(iter(reader.read, b"")).split()
    assert int(bad) == 0
    assert int(reads) > 200


def test_a_reader_on_the_host_sees_no_torn_and_no_missing_file(service: Synced) -> None:
    service.write("watched.txt", "first:" + "a" * 60000)
    service.in_step()
    bad, ended = [0], threading.Event()
    reader = threading.Thread(target=_read_on, args=(service.folder / "watched.txt", bad, ended))
    with service.saver() as save, service.news() as news:
        reader.start()
        for number in range(200):
            save("watched.txt", f"{number}:" + "ab"[number % 2] * 60000)
            while next(news)["path"] != "watched.txt":
                pass
        ended.set()
        reader.join()
    assert bad == [0]


def _read_on(path: Path, bad: list[int], ended: threading.Event) -> None:
    while not ended.is_set():
        try:
            body = path.read_text().partition(":")[2]
        except FileNotFoundError:
            bad[0] += 1
            continue
        bad[0] += len(body) != 60000 or body != body[:1] * 60000


def _shown(screen: int, wanted: bytes) -> None:
    shown = b""
    while wanted not in shown:
        ready, _, _ = select.select([screen], [], [], 60)
        assert ready, shown
        shown += os.read(screen, 4096)
