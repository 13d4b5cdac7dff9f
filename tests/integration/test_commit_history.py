"""A chain of commits on the real engine: history, what differs between any two, and what goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import PurePosixPath
from typing import Any

import pytest

from devkit import committing
from devkit.commit.differ import Difference
from devkit.config import load
from devkit.session import Session
from tests.committed import docker, names, remove_images, tags
from tests.syncing import Synced, synced

pytestmark = pytest.mark.engine

LENGTH = 10
_LISTING = """
import json, os
found = [os.path.join(at, name)[2:] for at, _, names in os.walk(".") for name in names]
print(json.dumps({path: os.readlink(path) if os.path.islink(path) else open(path).read()
                  for path in found}))
"""


class Chain:
    """A service whose container was committed ten times; `states` has each version's files."""

    def __init__(self, service: Synced) -> None:
        self.service = service
        self.repository = service.tag.partition(":")[0]
        self.states: dict[str, dict[str, str]] = {f"{self.repository}:1": self._files()}
        self.made: list[dict[str, Any]] = []
        for number in range(1, LENGTH + 1):
            service.inside(_edit(number))
            made = service.json("commit", "-m", f"step {number}")
            assert made["ok"], made
            self.made.append(made)
            self.states[made["image"]] = self._files()

    def _files(self) -> dict[str, str]:
        """What is in the container's source folder: content by path."""
        return dict(json.loads(self.service.python(_LISTING)))

    def expected(self, before: str, after: str) -> dict[str, str]:
        was, now = self.states[before], self.states[after]
        kinds = dict.fromkeys(was.keys() - now.keys(), "deleted")
        kinds |= dict.fromkeys(now.keys() - was.keys(), "added")
        kinds |= {path: "modified" for path in was.keys() & now.keys() if was[path] != now[path]}
        return kinds

    def below(self, found: list[dict[str, Any]] | list[Difference]) -> dict[str, str]:
        """Kinds by path in the source folder; all has to be there."""
        rows = [it if isinstance(it, dict) else {"path": it.path, "kind": it.kind} for it in found]
        root = PurePosixPath(self.service.root)
        return {str(PurePosixPath(it["path"]).relative_to(root)): it["kind"] for it in rows}

    def session(self) -> Session:
        overrides = {"image.tag": self.service.tag, "service": self.service.name}
        workspace = load(self.service.folder, overrides=overrides, environ={})
        return Session(workspace, progress=lambda _: None)


def _edit(number: int) -> str:
    """Each step changes a file; some add and delete folders, and make them again."""
    edits = {
        2: "mkdir -p data/deep && for i in 1 2 3; do echo $i > data/deep/f$i; done",
        4: "rm -r data",
        6: "mkdir data && echo again > data/f1",
        7: "rm helper.py; printf 'WORD = 7\\n' > helper.py",
        8: "rm -r data; mkdir -p data/deep; echo 2 > data/deep/f2; ln -s f2 data/deep/link",
        9: "rm data/deep/link; for i in $(seq 40); do echo $i > many$i.txt; done",
        10: "rm many1*.txt",
    }
    return f"echo '# step {number}' >> score.py; {edits.get(number, ':')}"


@pytest.fixture(scope="module")
def chain(base_image: str) -> Iterator[Chain]:
    files = {"kept.txt": "as ever\n"}
    with synced("chain", base_image, files=files) as service:
        repository = service.tag.partition(":")[0]
        try:
            yield Chain(service)
        finally:
            remove_images(repository)


def test_history_tells_the_chain_and_what_runs(chain: Chain) -> None:
    shown = chain.service.json("history")["images"]
    tagged = [f"{chain.repository}:{number}" for number in range(LENGTH + 1, 0, -1)]
    assert [item["image"] for item in shown] == tagged
    assert [item["parent"] for item in shown] == [*tagged[1:], None]
    assert [item["message"] for item in shown[:-1]] == [f"step {n}" for n in range(LENGTH, 0, -1)]
    assert [item["runs"] for item in shown] == [True, *[False] * LENGTH]
    assert chain.service.json("status")["committed"] == tagged[0]
    assert [item["changed"] for item in shown[:-1]] == [
        len(made["changed"]) for made in reversed(chain.made)
    ]
    # Each has what was edited since the packaged one, and not the layers of those between.
    assert all(item["size_bytes"] < 64 * 1024 for item in shown[:-1])
    layers = "{{len .RootFS.Layers}}"
    first = int(docker("inspect", "--format", layers, tagged[-1]))
    assert int(docker("inspect", "--format", layers, tagged[0])) == first + 1


def test_each_commit_says_what_changed_since_the_one_before(chain: Chain) -> None:
    steps = list(chain.states)
    for made, (before, after) in zip(chain.made, pairwise(steps), strict=True):
        found = names(made["changed"])
        prefix = f"{chain.service.name}/"
        told = {path.removeprefix(prefix): kind for path, kind in found.items()}
        expected = chain.expected(before, after)
        for path, kind in expected.items():
            folder_is_gone = any(told.get(str(p)) == "deleted" for p in PurePosixPath(path).parents)
            assert told.get(path) == kind or (kind == "deleted" and folder_is_gone), (after, path)
        # Folders are told only where they are gone.
        extra = told.keys() - expected.keys() - {"data", "data/deep"}
        assert extra == set(), after


def test_any_two_of_the_chain_differ_as_their_files_do(chain: Chain) -> None:
    with chain.session() as session:
        # Before and after each step that changes more than a line.
        steps = [f"{chain.repository}:{number}" for number in (1, 3, 5, 8, 9, 11)]
        for before, after in combinations(steps, 2):
            found = chain.below(committing.diff(session, before, after, text=False))
            assert found == chain.expected(before, after), (before, after)


def test_diff_reads_both_ways_with_versions_alone_and_as_a_patch(chain: Chain) -> None:
    service = chain.service
    back = service.json("diff", "4", "3")["files"]
    assert chain.below(back) == chain.expected(f"{chain.repository}:4", f"{chain.repository}:3")
    text = service.devkit("diff", "1", "2", "--text").stdout
    path = f"{service.root}/score.py".removeprefix("/")
    assert f"--- a/{path}\n+++ b/{path}\n" in text
    assert "+# step 1\n" in text
    sizes = service.devkit("diff", "1", "2", "--stat").stdout
    assert sizes.startswith(f"M  /{path}  ")
    assert service.devkit("diff", "1", "1").returncode == 2


def test_diff_knows_the_container_and_the_workspace(chain: Chain) -> None:
    service = chain.service
    assert service.json("diff")["files"] == []
    assert service.devkit("diff").stdout == "Nothing differs.\n"
    assert service.json("diff", "container", "workspace")["files"] == []
    service.ask("pause")
    try:
        service.inside("echo inside > kept.txt")
        service.write("here.txt", "x")
        assert chain.below(service.json("diff")["files"]) == {"kept.txt": "modified"}
        found = service.json("diff", "workspace", "container")["files"]
        assert chain.below(found) == {"kept.txt": "modified", "here.txt": "deleted"}
        found = service.json("diff", "11", "workspace")["files"]
        assert chain.below(found) == {"here.txt": "added"}
    finally:
        service.inside("echo as ever > kept.txt")
        (service.folder / "here.txt").unlink()
        service.ask("resume")
        service.flush()


def test_a_link_that_both_sides_have_is_no_difference(chain: Chain) -> None:
    service = chain.service
    service.inside("ln -s kept.txt link")
    try:
        service.flush()
        assert (service.folder / "link").is_symlink()
        assert service.json("diff", "container", "workspace")["files"] == []
    finally:
        service.inside("rm link")
        service.flush()


def test_a_tag_that_is_not_there_names_the_nearest_one(chain: Chain) -> None:
    image = chain.service.engine.image(f"{chain.repository}:1")
    assert image is not None
    begins = image.id.removeprefix("sha256:")[:4]
    said = chain.service.json("diff", begins)["error"]
    assert said["message"] == f"There is no image {chain.repository}:{begins}."
    for words in (["diff", "111"], ["rollback", "111"], ["run", f"{chain.repository}:111"]):
        done = chain.service.json(*words)
        assert done["error"]["code"] == "ImageMissing"
        assert f"The nearest one is {chain.repository}:11" in done["error"]["hint"]


def test_prune_keeps_the_newest_and_what_runs(chain: Chain) -> None:
    """The last one: afterwards three are left."""
    service = chain.service
    planned = service.json("images", "prune", "--keep", "3", "--dry-run")["would_remove"]
    numbers = [2, 3, 4, 5, 6, 7, 8]  # the container was made from 1
    assert set(planned) == {f"{chain.repository}:{number}" for number in numbers}
    # What its user built on one of them, and what the user called one, is the user's.
    users, called = f"{chain.repository}-users:1", f"{chain.repository}-called:1"
    docker("tag", f"{chain.repository}:5", called)
    for number in (1, 6):
        text = f"FROM {chain.repository}:{number}\nRUN touch /tmp/mine\n"
        docker("build", "--tag", f"{users}{number}", "-", data=text.encode())
    assert set(service.json("images", "prune", "--keep", "3", "--dry-run")["would_remove"]) == set(
        planned
    )
    before = tags(chain.repository)
    assert service.json("images", "prune", "--keep", "3")["error"]["code"] != ""
    assert tags(chain.repository) == before
    gone = service.json("images", "prune", "--keep", "3", "--yes")["removed"]
    assert set(gone) == set(planned)
    versions = {row.split()[0] for row in tags(chain.repository)}
    assert versions == {"1", "9", "10", "11"}
    for name in (called, f"{users}1", f"{users}6"):
        docker("rmi", name)
    # Those that are left do not need the others.
    found = service.json("diff", "9", "11")["files"]
    assert chain.below(found) == chain.expected(f"{chain.repository}:9", f"{chain.repository}:11")
