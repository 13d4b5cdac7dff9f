"""A "container" of the process engine: a folder with what was asked, what runs, what it said."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from devkit.engine import Container
from devkit.engines.supervisor import EXIT, INDEX, LOG, RECORD, STATE

SPEC = "container.json"

_POLL_S = 0.05
_END_POLL_S = 0.01
_LAST_WORD_S = 2.0
_KILLED = 137
_BLOCK = 1 << 16


class ProcessContainer:
    """What a folder says, and the processes that it names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def root(self) -> Path:
        """The application root that its processes see."""
        return self.folder / "root"

    @cached_property
    def spec(self) -> Mapping[str, Any]:
        """What was asked for, written once."""
        return dict(json.loads((self.folder / SPEC).read_text()))

    @property
    def ports(self) -> tuple[tuple[str, int], ...]:
        """The addresses of this machine that are its own."""
        return tuple((bind, port) for _, bind, port in self.spec["ports"])

    def value(self) -> Container:
        """Return it as it is now."""
        code = self.exit_code()
        since = self._state().get("since", 0.0)
        return Container(
            id=self.spec["id"],
            name=self.spec["name"],
            image=self.spec["image"],
            image_id=self.spec["image_id"],
            state="running" if code is None else "exited",
            exit_code=code,
            oom_killed=False,
            labels=self.spec["labels"],
            ports={int(inside): (bind, port) for inside, bind, port in self.spec["ports"]},
            started_at=datetime.fromtimestamp(since, UTC).isoformat(),
            env=self.spec.get("env", {}),
        )

    def exit_code(self) -> int | None:
        """Return None while it runs."""
        if code := self._recorded_code():
            return code[0]
        if self._process("supervisor") is not None or self._process("child") is not None:
            return None
        # Between the two looks the supervisor may have written the code and ended.
        return (self._recorded_code() or (_KILLED,))[0]

    def stop(self, timeout_s: float) -> None:
        """End the service's process group: asked to first, killed after `timeout_s`."""
        # Killed, the group is gone at once; what is waited for is the supervisor's last word.
        for number, wait_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, _LAST_WORD_S)):
            child = self._process("child")
            # When the group's leader is gone, its number may be another's.
            if child is not None:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, number)
            if self._ends_within(wait_s):
                return

    def log(self, *, follow: bool, since: float | None, tail: int | None) -> Iterator[bytes]:
        """Yield what it said."""
        path = self.folder / LOG
        if not path.exists():
            path.touch()
        with path.open("rb") as log:
            start = 0 if since is None else self._offset_since(since)
            log.seek(start if tail is None else max(start, _offset_of_tail(path, tail)))
            while True:
                # Asked before the read: what was written until its end is then read for sure.
                ended = not follow or self.exit_code() is not None
                while data := log.read(_BLOCK):
                    yield data
                if ended:
                    return
                time.sleep(_POLL_S)

    def _ends_within(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self.exit_code() is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(_END_POLL_S)
        return True

    def _offset_since(self, since: float) -> int:
        """Return where the first piece that came at or after that moment begins."""
        index = self.folder / INDEX
        records = index.read_bytes() if index.exists() else b""
        complete = len(records) - len(records) % RECORD.size
        for at, offset in RECORD.iter_unpack(records[:complete]):
            if at >= since:
                return int(offset)
        return (self.folder / LOG).stat().st_size

    def _recorded_code(self) -> tuple[int] | None:
        try:
            return (int(json.loads((self.folder / EXIT).read_text())["code"]),)
        except FileNotFoundError:
            return None

    def _state(self) -> Mapping[str, Any]:
        try:
            return dict(json.loads((self.folder / STATE).read_text()))
        except FileNotFoundError:
            return {}

    def _process(self, role: str) -> psutil.Process | None:
        """Find a process by pid and start time; a pid that was used again is not it."""
        pid, started = self._state().get(role, (0, 0.0))
        try:
            process = psutil.Process(int(pid)) if pid else None
            if process is None or abs(process.create_time() - started) > 0.02:
                return None
            return None if process.status() == psutil.STATUS_ZOMBIE else process
        except psutil.Error:
            return None


def _offset_of_tail(path: Path, lines: int) -> int:
    """Return where the last `lines` lines begin, reading from the end."""
    with path.open("rb") as log:
        end = position = log.seek(0, os.SEEK_END)
        tail = b""
        while position and tail.count(b"\n") <= lines:
            step = min(_BLOCK, position)
            position -= step
            log.seek(position)
            tail = log.read(step) + tail
    kept = tail.splitlines(keepends=True)[-lines:] if lines else []
    return end - sum(map(len, kept))
