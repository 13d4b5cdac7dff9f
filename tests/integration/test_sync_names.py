"""Links, what is no file, and odd names: they arrive, or are left alone and named."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.syncing import Synced, synced

pytestmark = pytest.mark.engine

NFC = unicodedata.normalize("NFC", "café.txt")
NFD = unicodedata.normalize("NFD", "café.txt")
NAMES = [
    b"two words.txt",
    b" ",
    b"new\nline.txt",
    b"tab\tand \x1b[31mred",
    b"-rf",
    b"$(touch owned)",
    b"'\"`;&|",
    b"*?[a]",
    b"back\\slash",
    b"C:con.txt",
    b"not-utf8-\xff\xfe.txt",
    "日本語 🎉.txt".encode(),
    NFC.encode(),
    b"x" * 255,
    b"...",
]
LEFT = "it is neither a file, a folder nor a link that stays in the folder"


@pytest.fixture(scope="module")
def module(base_image: str) -> Iterator[Synced]:
    with synced("names", base_image) as made:
        yield made


@pytest.fixture
def service(module: Synced) -> Synced:
    module.cleared()
    return module


def test_odd_names_arrive_from_the_workspace(service: Synced) -> None:
    folder = os.fsencode(service.folder)
    Path(os.fsdecode(folder + b"/odd \xff")).mkdir()
    for name in NAMES:
        for place in (folder, folder + b"/odd \xff"):
            Path(os.fsdecode(place + b"/" + name)).write_bytes(b"content of " + name)
    tree = service.in_step()
    assert len(tree) == 2 * len(NAMES) + 3
    assert service.flush()["problems"] == {}


def test_odd_names_arrive_from_the_container(service: Synced) -> None:
    made = "import os\nos.mkdir(b'odd \\xff')\n"
    made += f"for name in {NAMES!r}:\n"
    made += " for place in (b'.', b'odd \\xff'):\n"
    made += "  open(place + b'/' + name, 'wb').write(b'content of ' + name)\n"
    service.python(made)
    tree = service.in_step()
    assert len(tree) == 2 * len(NAMES) + 3
    assert service.flush()["problems"] == {}


def test_odd_names_can_be_shown(service: Synced) -> None:
    with service.unheard():
        for name in NAMES:
            Path(os.fsdecode(os.fsencode(service.folder) + b"/" + name)).write_bytes(name)
        shown = service.devkit("sync", "diff").stdout
        assert "日本語 🎉.txt" in shown
        assert "\x1b" not in shown
        assert len(service.json("sync", "diff")["changes"]) == len(NAMES)
    service.in_step()
    shown = service.devkit("sync", "log", "-n", "50").stdout
    assert "日本語 🎉.txt" in shown
    assert "\x1b" not in shown
    log = service.json("sync", "log", "-n", "50")["changes"]
    assert {os.fsencode(change["path"]) for change in log} >= set(NAMES)


def test_composed_and_decomposed_names_are_two_files(service: Synced) -> None:
    service.write(NFC, "composed\n")
    service.write(NFD, "decomposed\n")
    assert {NFC, NFD} <= set(service.in_step())
    service.inside(f"echo new > {NFC}")
    service.in_step()
    assert (service.folder / NFC).read_text() == "new\n"
    assert (service.folder / NFD).read_text() == "decomposed\n"


def test_a_name_that_changes_only_its_case_arrives(service: Synced) -> None:
    service.write("name.txt", "x\n")
    service.in_step()
    (service.folder / "name.txt").rename(service.folder / "NAME.txt")
    assert "name.txt" not in service.in_step()
    service.inside("mv NAME.txt Name.txt")
    assert "Name.txt" in service.in_step()


def test_links_that_stay_inside_arrive_as_links(service: Synced) -> None:
    service.write("folder/file.txt", "x\n")
    (service.folder / "folder/up").symlink_to("../score.py")
    (service.folder / "to-folder").symlink_to("folder")
    (service.folder / "dangling").symlink_to("nothing")
    (service.folder / "loop").symlink_to("loop")
    service.inside("ln -s score.py there; ln -s a b; ln -s b a")
    tree = service.in_step()
    assert tree["folder/up"] == ("link", "../score.py", False)
    assert tree["to-folder"] == ("link", "folder", False)
    assert {"dangling", "loop", "there", "a", "b"} <= set(tree)
    service.inside("ln -sfn helper.py there")
    assert service.in_step()["there"] == ("link", "helper.py", False)
    assert (service.folder / "there").is_symlink()


def test_what_is_saved_through_a_link_arrives_at_its_target(service: Synced) -> None:
    (service.folder / "link.py").symlink_to("helper.py")
    service.in_step()
    (service.folder / "link.py").write_text("WORD = 1\n")
    service.in_step()
    assert service.read_inside("helper.py") == "WORD = 1\n"
    service.inside("echo WORD = 2 > link.py")
    assert service.in_step()["link.py"] == ("link", "helper.py", False)
    assert (service.folder / "helper.py").read_text() == "WORD = 2\n"


def test_links_that_lead_out_are_left_alone_and_named(service: Synced) -> None:
    outside = service.folder.parent / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret\n")
    (service.folder / "up").symlink_to("../../..")
    (service.folder / "absolute").symlink_to(outside)
    service.inside("ln -s /etc etc; ln -s /etc/passwd passwd; ln -s ../../../.. top")
    problems = service.flush()["problems"]
    assert problems == dict.fromkeys(["up", "absolute", "etc", "passwd", "top"], LEFT)
    assert service.inside("ls -d up absolute 2>/dev/null; true") == b""
    assert {item.name for item in service.folder.iterdir()}.isdisjoint({"etc", "passwd", "top"})
    assert list(outside.iterdir()) == [outside / "secret.txt"]
    service.inside("rm etc passwd top")


def test_a_folder_replaced_by_a_link_that_leads_out_is_not_written_through(
    service: Synced,
) -> None:
    outside = service.folder.parent / "elsewhere"
    outside.mkdir()
    service.write("sub/file.txt", "inside\n")
    service.in_step()
    (service.folder / "sub").rename(service.folder.parent / "moved")
    (service.folder / "sub").symlink_to(outside)
    service.inside("echo edited > sub/file.txt; echo new > sub/new.txt")
    service.flush()
    assert list(outside.iterdir()) == []
    assert service.read_inside("sub/file.txt") == "edited\n"
    (service.folder / "sub").unlink()
    tree = service.in_step()
    assert {"sub/file.txt", "sub/new.txt"} <= set(tree)


def test_hard_links_arrive_as_files_and_stay_whole(service: Synced) -> None:
    service.write("one.txt", "same\n")
    (service.folder / "two.txt").hardlink_to(service.folder / "one.txt")
    service.in_step()
    service.inside("echo changed > one.txt; ln one.txt three.txt")
    service.in_step()
    assert (service.folder / "one.txt").read_text() == "changed\n"
    assert (service.folder / "two.txt").read_text() == "same\n"
    assert (service.folder / "three.txt").read_text() == "changed\n"
    with (service.folder / "three.txt").open("a") as file:
        file.write("more\n")
    service.in_step()
    assert service.read_inside("three.txt") == "changed\nmore\n"


def test_pipes_and_sockets_are_left_alone_and_block_nothing(service: Synced) -> None:
    os.mkfifo(service.folder / "pipe-here")
    service.inside("mkfifo pipe-there; echo x > after.txt")
    listen = "import socket; s = socket.socket(socket.AF_UNIX); s.bind('socket-there')"
    service.python(listen)
    problems = service.flush()["problems"]
    assert problems == dict.fromkeys(["pipe-here", "pipe-there", "socket-there"], LEFT)
    assert (service.folder / "after.txt").exists()
    service.inside("rm pipe-there socket-there")


def test_a_file_a_folder_and_a_link_take_each_others_place(service: Synced) -> None:
    service.write("thing", "a file\n")
    service.in_step()
    (service.folder / "thing").unlink()
    service.write("thing/inner.txt", "in a folder\n")
    assert "thing/inner.txt" in service.in_step()
    service.inside("rm -r thing; ln -s score.py thing")
    assert service.in_step()["thing"] == ("link", "score.py", False)
    (service.folder / "thing").unlink()
    service.write("thing", "again\n")
    service.in_step()
    assert service.read_inside("thing") == "again\n"
