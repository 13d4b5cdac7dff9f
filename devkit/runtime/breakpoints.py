"""What the editor asked to stop at: kept over each reload, moved when an edit moves the code."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Optional, Tuple

from . import lines
from .watch import Change
from .wire import Message


class Source:
    """One file's breakpoints as the editor last sent them, with the ids that the editor knows."""

    def __init__(self, arguments: Message, remote: str, ids: List[int]) -> None:
        self.arguments = arguments
        self.remote = remote
        self.ids = ids
        # The editor spoke of a content that has not arrived here yet: its lines are ahead of the
        # code.
        self.is_ahead = False
        self.changed_since_sent = False
        # Set by hand in a running session: in the saved text, or in a buffer not saved yet.
        self.is_unsure = False
        # Nobody could say yet whether they bind.
        self.is_unanswered = False

    @property
    def wanted(self) -> List[Message]:
        """The breakpoints, a line each."""
        return [item for item in self.arguments.get("breakpoints") or [] if isinstance(item, dict)]

    def moved(self, change: Change) -> Optional[Message]:
        """The arguments with each line where `change` put it; None where nothing moved."""
        if change.old is None or change.new is None or not self.wanted:
            return None
        before = [int(item.get("line") or 1) for item in self.wanted]
        old, new = _text(change.old), _text(change.new)
        after = lines.shifted(old, new, before)
        if after == before:
            return None
        moved = [dict(item, line=line) for item, line in zip(self.wanted, after)]
        return dict(self.arguments, breakpoints=moved, lines=after, sourceModified=True)


def _text(content: bytes) -> List[str]:
    return content.decode("utf-8", "replace").splitlines()


class Breakpoints:
    """All of them, by the path that the editor calls the file."""

    def __init__(self) -> None:
        self._sources: Dict[str, Source] = {}
        self._next_id = 0
        self.mappings: List[Tuple[str, str]] = []

    def set_mappings(self, path_mappings: Any) -> None:
        """Take pathMappings of an attach request; what has another form is left out."""
        self.mappings = []
        for item in path_mappings if isinstance(path_mappings, list) else []:
            local, remote = (
                (item.get("localRoot"), item.get("remoteRoot"))
                if isinstance(item, dict)
                else (0, 0)
            )
            if isinstance(local, str) and isinstance(remote, str):
                self.mappings.append((local, remote))

    def remote_path(self, path: str) -> str:
        """Where the editor's `path` is here; the first mapping that fits decides, as in debugpy."""
        plain = path.replace("\\", "/")
        for local, remote in self.mappings:
            prefix = str(local).replace("\\", "/").rstrip("/")
            windows = ":" in prefix[:3]
            same = plain.lower().startswith(prefix.lower()) if windows else plain.startswith(prefix)
            if same and plain[len(prefix) : len(prefix) + 1] in ("", "/"):
                return remote.rstrip("/") + plain[len(prefix) :]
        return path

    def store(self, arguments: Message, is_live: bool = False) -> Source:
        """Take a setBreakpoints request; the last one for a file counts."""
        source = arguments.get("source")
        path = str((source if isinstance(source, dict) else {}).get("path") or "")
        count = len(arguments.get("breakpoints") or [])
        ids = list(range(self._next_id + 1, self._next_id + count + 1))
        self._next_id += count
        new = Source(arguments, self.remote_path(path), ids)
        old = self._sources.get(path)
        if arguments.get("sourceModified") and old is not None and not old.changed_since_sent:
            new.is_ahead = old.is_ahead or _lines(old) != _lines(new)
        new.is_unsure = is_live and not arguments.get("sourceModified")
        self._sources[path] = new
        return new

    def all(self) -> List[Source]:
        """Every file with breakpoints now, and those whose last one was taken away."""
        return list(self._sources.values())

    def doubtful(self, changes: List[Change]) -> List[Source]:
        """The files of `changes` where only the editor knows which text its lines are of."""
        return [
            source
            for change in changes
            for source in self._sources.values()
            if source.remote == change.path
            and source.is_unsure
            and source.moved(change) is not None
        ]

    def is_current(self, source: Source) -> bool:
        """Whether the editor has not spoken of the file again."""
        return source in self._sources.values()

    def after(self, changes: List[Change]) -> Iterator[Source]:
        """Move what `changes` moved; yield the files whose breakpoints stand elsewhere now."""
        for change in changes:
            for source in self._sources.values():
                if source.remote != change.path:
                    continue
                # The editor has spoken of this content; what it sends next is of the one after.
                spoken_of, source.is_ahead = source.is_ahead, False
                was_ahead = spoken_of or source.is_unsure
                source.changed_since_sent = source.is_unsure
                if was_ahead:
                    # debugpy has bound them in the old text.
                    source.arguments = dict(source.arguments, sourceModified=True)
                    yield source
                    continue
                moved = source.moved(change)
                if moved is not None:
                    source.changed_since_sent = True
                    source.arguments = moved
                    yield source

    def clear(self) -> None:
        """The editor is gone."""
        self._sources.clear()
        self.mappings = []


def _lines(source: Source) -> List[Any]:
    return [item.get("line") for item in source.wanted]
