"""A service from an earlier image, and forward again: nothing of either side is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.syncing import Synced, synced

pytestmark = pytest.mark.engine

SCORE = "import helper\n\n\ndef init():\n    pass\n\n\ndef run(data):\n    return helper.WORD\n"


def helper(word: str) -> str:
    return f'WORD = "{word}"\n'


def answer(service: Synced) -> Any:
    done = service.devkit("invoke", "-d", "{}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().strip('"')


def tag(service: Synced, version: int) -> str:
    return f"{service.tag.rpartition(':')[0]}:{version}"


def rolled_back(service: Synced, version: int, *words: str) -> None:
    made = service.json("rollback", str(version), *words)
    assert made["ok"], made
    found = service.engine.container(made["container"])
    assert found is not None
    assert found.image == tag(service, version)
    service.container = found.id


@pytest.fixture(scope="module")
def module(base_image: str) -> Iterator[Synced]:
    """A service of five versions: the first is packaged, the fifth has one file more."""
    with synced("rollback", base_image) as service:
        for word in ("two", "three", "four", "five"):
            service.write("helper.py", helper(word))
            if word == "five":
                service.write("later.py", "LATER = True\n")
            made = service.json("commit", "-m", word)
            assert made["ok"], made
        yield service
        service.devkit("delete", "--yes")
        for image in service.json("history")["images"]:
            service.engine.remove_image(image["id"])


@pytest.fixture
def service(module: Synced) -> Iterator[Synced]:
    """The newest version runs, and the workspace has the same."""
    module.write("helper.py", helper("five"))
    module.write("later.py", "LATER = True\n")
    rolled_back(module, 5)
    module.flush()
    assert answer(module) == "five"
    yield module
    (module.folder / "mine.py").unlink(missing_ok=True)


def test_an_earlier_version_serves_and_the_workspace_is_as_it_was(service: Synced) -> None:
    before = service.here()
    rolled_back(service, 3)
    service.flush()
    assert answer(service) == "three"
    assert service.here() == before
    assert "later.py" not in service.there()
    assert sum(image["runs"] for image in service.json("history")["images"]) == 1
    rolled_back(service, 5)
    service.flush()
    assert answer(service) == "five"
    assert service.in_step() == before


def test_whoever_edits_a_file_after_a_rollback_decides_it(service: Synced) -> None:
    rolled_back(service, 3)
    service.write("helper.py", helper("mine"))
    service.flush()
    assert answer(service) == "mine"
    assert "helper.py" not in service.ask("status")["problems"]
    assert "later.py" in service.ask("status")["problems"]
    service.inside("echo 'LATER = None' > later.py")
    service.flush()
    assert (service.folder / "later.py").read_text() == "LATER = None\n"


def test_f5_keeps_the_version_that_runs(service: Synced) -> None:
    rolled_back(service, 3)
    before = service.container
    made = service.debug()
    assert service.container == before
    assert made["image"] == tag(service, 3)
    assert answer(service) == "three"


def test_pull_brings_the_files_of_the_version_and_undo_takes_that_back(service: Synced) -> None:
    rolled_back(service, 2, "--workspace", "pull")
    service.flush()
    assert (service.folder / "helper.py").read_text() == helper("two")
    assert (service.folder / "later.py").exists()
    assert answer(service) == "two"
    undone = service.devkit("sync", "undo")
    assert undone.returncode == 0, undone.stderr
    assert (service.folder / "helper.py").read_text() == helper("five")


def test_what_was_not_committed_is_kept_when_the_container_goes(service: Synced) -> None:
    service.ask("pause")
    service.inside("echo precious > only_inside.txt")
    rolled_back(service, 3)
    kept = [path for path in (service.folder / ".devkit").rglob("*") if path.is_file()]
    brought = service.folder / "only_inside.txt"
    texts = [path.read_bytes() for path in [*kept, *([brought] if brought.exists() else [])]]
    assert b"precious\n" in texts
    brought.unlink(missing_ok=True)
    service.flush()


def test_a_commit_after_a_rollback_follows_the_version_and_takes_a_free_tag(
    service: Synced,
) -> None:
    rolled_back(service, 3)
    service.write("mine.py", "MINE = True\n")
    made = service.json("commit", "-m", "another way")
    assert made["ok"], made
    assert made["image"] == tag(service, 6)
    assert made["parent"] == tag(service, 3)
    assert [change["path"] for change in made["changed"]] == [f"{service.root}/mine.py"]
    # Of a chain of chains, any two are compared by their own files.
    found = service.json("diff", "2", "6")["files"]
    assert {(f["path"], f["kind"]) for f in found} == {
        (f"{service.root}/helper.py", "modified"),
        (f"{service.root}/mine.py", "added"),
    }


def test_run_starts_a_version_without_a_build(service: Synced) -> None:
    made = service.json("run", tag(service, 4), *service.options[4:])
    assert made["ok"], made
    assert made["image"] == tag(service, 4)
    assert answer(service) == "four"


def test_a_dry_run_says_which_image_would_be_taken(module: Synced) -> None:
    for command in ("debug", "run"):
        done = module.devkit(command, tag(module, 2), "--dry-run")
        assert done.returncode == 0
        assert f"Would take {tag(module, 2)} as it is." in done.stdout
    assert tag(module, 2) in module.devkit("rollback", "2", "--dry-run").stdout


@pytest.mark.parametrize(
    ("mode", "words", "hint"),
    [
        ("push", ["--workspace", "pull"], "--no-sync"),
        ("mirror", [], "--no-sync"),
        ("pull", [], "--workspace pull"),
    ],
)
def test_a_version_that_the_sync_would_not_leave_as_it_is_is_refused(
    module: Synced, mode: str, words: list[str], hint: str
) -> None:
    config = module.folder / "devkit.yaml"
    before = config.read_text() if config.exists() else None
    try:
        config.write_text(f"{before or ''}\nsync: {{mode: {mode}}}\n")
        error = module.json("rollback", "2", *words)["error"]
        assert (error["code"], hint in error["hint"]) == ("BadValue", True)
        assert mode in error["message"]
    finally:
        config.unlink() if before is None else config.write_text(before)


def test_an_unknown_version_and_an_image_of_somebody_else_are_refused(
    module: Synced, base_image: str
) -> None:
    for command in ("rollback", "debug", "run"):
        done = module.devkit(command, tag(module, 77), "--json")
        assert done.returncode == 3
        assert f"The nearest one is {module.tag.rpartition(':')[0]}" in done.stdout
    made = module.json("rollback", base_image)
    assert made["error"]["code"] == "NotOurs"
