"""`devkit diagnose` typed with what it does not expect: one clear sentence, the right exit code."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from devkit.cli import diagnose as typed
from devkit.cli.commands import cli
from tests.diagnosing import APP, SCORE
from tests.peer import Connection, peer
from tests.serving_engine import ServingEngine

Type = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def diagnose(tmp_path: Path, engine: ServingEngine, monkeypatch: pytest.MonkeyPatch) -> Type:
    folder = tmp_path / "svc"
    folder.mkdir()
    (folder / "score.py").write_text(SCORE)
    # Whoever runs these tests may have a service on the usual ports.
    (folder / "devkit.yaml").write_text("ports: {score: auto, debug: auto}\n")
    monkeypatch.chdir(folder)
    assert engine.boxes == {}

    def run(*words: str, stdin: bytes = b"") -> tuple[int, dict[str, Any]]:
        result = CliRunner().invoke(cli, ["diagnose", "--json", *words], input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            result.exception
        )
        return result.exit_code, json.loads(result.stdout)

    return run


@pytest.mark.parametrize(
    "words",
    [
        ("--logs", "missing"),
        ("--logs", "."),
        ("--http", "999"),
        ("--http", "abc"),
        ("--url", ""),
        ("--url", "localhost:8000"),
        ("--url", "ftp://x"),
        ("--url", "http://127.0.0.1:99999"),
        ("--url", "http://127.0.0.1:port"),
        ("--url", "http://[::1"),
        ("--url", "http://a b/"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(diagnose: Type, words: tuple[str, ...]) -> None:
    code, said = diagnose(*words)
    assert (code, said["ok"]) == (2, False)
    assert words[0] in said["error"]["message"]


def test_a_closed_port_is_a_finding_among_the_others(diagnose: Type, tmp_path: Path) -> None:
    (tmp_path / "svc/score.py").write_text("def init():\n    pass\n")
    code, said = diagnose("--url", "http://127.0.0.1:1/score")
    assert code == 1
    assert [f["id"] for f in said["findings"]] == ["entry-script-broken", "no-answer"]


def test_an_answer_that_is_cut_off_is_a_finding(diagnose: Type) -> None:
    def serve(connection: Connection) -> None:
        connection.sock.recv(65536)
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")

    with peer(serve) as port:
        code, said = diagnose("--url", f"http://127.0.0.1:{port}")
    assert (code, [f["id"] for f in said["findings"]]) == (1, ["no-answer"])
    assert "cut off after 3 of 9 bytes" in said["findings"][0]["title"]


TRACEBACK = (
    f'Traceback (most recent call last):\n  File "{APP}/score.py", line 6, in run\n'
    "    return [1]\nValueError: newest\n"
)


@pytest.mark.parametrize("is_piped", [False, True])
def test_the_end_of_a_large_log_is_what_counts(
    diagnose: Type, tmp_path: Path, *, is_piped: bool
) -> None:
    log = b"x\n" * typed._MOST_LOG + TRACEBACK.encode()
    (tmp_path / "large.log").write_bytes(log)
    words = ("--logs", "-") if is_piped else ("--logs", str(tmp_path / "large.log"))
    code, said = diagnose(*words, stdin=log if is_piped else b"")
    assert (code, [f["title"] for f in said["findings"]]) == (
        1,
        ["run() raised ValueError: newest"],
    )


def test_a_sparse_and_a_binary_log_say_nothing(diagnose: Type, tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    (tmp_path / "binary").write_bytes(os.urandom(100_000))
    for name in ("sparse", "binary"):
        assert diagnose("--logs", str(tmp_path / name))[0] == 0


class Endless(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        while True:
            try:
                self.wfile.write(bytes(1 << 16))
            except OSError:
                return

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def endless() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/score"
        server.shutdown()


def test_an_answer_without_end_is_not_waited_for(diagnose: Type, endless: str) -> None:
    code, said = diagnose("--url", endless)
    assert (code, said["findings"]) == (0, [])


def test_a_fifo_in_the_place_of_a_script_is_not_waited_for(diagnose: Type, tmp_path: Path) -> None:
    (tmp_path / "svc/score.py").unlink()
    os.mkfifo(tmp_path / "svc/score.py")
    code, said = diagnose()
    assert (code, said["findings"][0]["id"]) == (1, "entry-script-missing")
