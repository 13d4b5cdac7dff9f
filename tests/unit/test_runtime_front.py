"""The front with a pool whose workers a reload takes away, again and again."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from devkit.runtime import front, outcome
from devkit.runtime.pool import Pool
from devkit.runtime.settings import from_environment


@contextmanager
def serving(pool: Pool, profile: str) -> Iterator[http.client.HTTPConnection]:
    settings = from_environment({"DEVKIT_STATUS": profile, "DEVKIT_SCORE_ADDRESS": "127.0.0.1:0"})
    server = front.start(settings, pool)
    try:
        port = int(server.server_address[1])
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as client:
            yield client
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("profile", "status"), [("aks", 503), ("raw", 503), ("managed", 503)])
def test_a_request_that_reload_after_reload_cuts_short_is_told_so_in_the_end(
    profile: str, status: int
) -> None:
    pool = Pool(queue_timeout_s=30)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    runs = []

    def replaced_at_each_request() -> None:
        for pid in range(1, front.MOST_RUNS + 1):
            connection, _ = listener.accept()
            runs.append(pid)
            pool.remove(pid, outcome.REPLACED)
            connection.close()
            pool.add(pid + 1, port)

    worker = threading.Thread(target=replaced_at_each_request, daemon=True)
    worker.start()
    pool.enter("ready")
    pool.add(1, port)
    with listener, serving(pool, profile) as client:
        client.request("POST", "/score", b"{}")
        answer = client.getresponse()
        assert answer.status == status
        assert answer.headers["Retry-After"] == "1"
        assert "reloaded again and again" in json.loads(answer.read())["message"]
        worker.join(30)
    assert len(runs) == front.MOST_RUNS
