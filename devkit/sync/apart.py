"""Step 5, sync: files that differ on purpose, as after a rollback: each side keeps its own.

A path that one side changes from then on is that side's; what both agree about is apart no more.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping

from devkit.sync.agent.side import FILE, LINK, Entry
from devkit.sync.ancestor import Ancestor
from devkit.sync.reconcile import Mode

Entries = Mapping[str, Entry]

_WHY = "workspace and container differ here on purpose; who edits it decides"


class Apart:
    """Which paths are apart in a workspace and its container, as the ancestor has it on disk."""

    def __init__(self, ancestor: Ancestor) -> None:
        self._ancestor = ancestor
        self._unmet: set[str] = set()

    def begin(self, local: Entries, remote: Entries, unknown: Iterable[str]) -> None:
        """Let both sides meet for the first time, if the container has a version's files.

        What is unknown now is met when it is known.
        """
        if self._ancestor.meeting:
            self._unmet = local.keys() | remote.keys() | set(unknown)

    def meet(self, local: Entries, remote: Entries, unknown: Mapping[str, str]) -> None:
        """Decide what is apart, as far as it is known."""
        if not self._unmet:
            return
        met, is_pull = self._unmet - unknown.keys(), self._ancestor.meeting == "pull"
        apart, ours = dict[str, tuple[Entry | None, Entry | None]](), dict[str, Entry | None]()
        for path in met:
            here, there = local.get(path), remote.get(path)
            kinds = {entry.kind for entry in (here, there) if entry is not None}
            if here == there or not kinds <= {FILE, LINK}:
                continue
            if is_pull and there is not None:
                # As if the workspace's were the older one.
                ours[path] = here
            else:
                apart[path] = (here, there)
        self._unmet -= met
        self._ancestor.met(apart, ours, is_over=not self._unmet)

    def seen(self, local: Entries, remote: Entries, mode: Mode) -> tuple[Entries, dict[str, str]]:
        """Return what both had, as `reconcile` is to see it, and which paths it leaves alone."""
        known, left = dict[str, Entry](), dict[str, str]()
        for path, (ours, theirs) in self._ancestor.apart.items():
            here, there = local.get(path), remote.get(path)
            if mode == "two-way" and (here, there) == (ours, theirs):
                left[path] = _WHY
                continue
            # The side that did not change, or that is to give way, has the older one; what the
            # other one never had is not deleted for that.
            if mode == "push" or (mode == "two-way" and there == theirs):
                older = there if here or ours else None
            elif mode == "pull" or (mode == "two-way" and here == ours):
                older = here if there or theirs else None
            else:
                older = None
            if older is not None:
                known[path] = older
        return (ChainMap(known, self._ancestor.entries) if known else self._ancestor.entries), left
