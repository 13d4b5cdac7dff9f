"""What both sides have, as far as hints and news tell it."""

from __future__ import annotations

from pathlib import Path

from devkit.sync.ancestor import Ancestor
from devkit.sync.batch import Batch
from devkit.sync.ignore import Ignore
from devkit.sync.journal import Journal
from devkit.sync.sides import Sides
from devkit.sync.workspace import Workspace


def test_rules_are_read_when_they_are_written_to_the_end(tmp_path: Path) -> None:
    rules, ignore = tmp_path / ".devkitignore", Ignore(tmp_path)
    with Journal(tmp_path) as journal, Ancestor(tmp_path / "it.db") as ancestor:
        workspace = Workspace(tmp_path, root=tmp_path, placed={}, ignore=ignore, journal=journal)
        sides = Sides(workspace, ancestor, ignore, batch=Batch(tmp_path), halt=print)
        with rules.open("w") as file:
            sides.hint(rules, False)
            # Nobody looks at the folder by rules of which half is there.
            assert sides.next_rescan == float("inf")
            file.write("x\n")
        sides.hint(rules, True)
        assert sides.next_rescan < float("inf")
        assert ignore.ignores("x", is_folder=False)
