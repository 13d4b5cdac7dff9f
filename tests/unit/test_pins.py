"""Pins without a build, against an index of this test's own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from devkit.config import load
from devkit.errors import NoBuildForPython
from devkit.package import environment
from devkit.package.environment import Environment
from devkit.package.network import Network
from devkit.package.pins import check_pins

FILES: dict[str, Sequence[tuple[str, str | None]]] = {
    "numpy": [
        ("numpy-1.15.4-cp37-cp37m-manylinux1_x86_64.whl", None),
        ("numpy-1.15.4.tar.gz", None),
        ("numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", ">=3.9"),
        ("numpy-2.4.0-cp311-cp311-manylinux_2_28_x86_64.whl", ">=3.11"),
        ("numpy-2.4.0-cp313-cp313-manylinux_2_28_x86_64.whl", ">=3.11"),
        ("numpy-2.5.0-cp313-cp313-manylinux_2_28_aarch64.whl", ">=3.12"),
        ("numpy-2.6.0rc1-cp313-cp313-manylinux_2_28_x86_64.whl", ">=3.12"),
    ],
    "pure": [("pure-1.0-py3-none-any.whl", None), ("pure-2.0-py3-none-any.whl", ">=3.14")],
    "source-only": [("source-only-1.0.tar.gz", None)],
}


class _Index(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name = self.path.strip("/").rpartition("/")[2]
        if name not in FILES:
            self.send_error(404)
            return
        files: list[dict[str, object]] = [
            {"filename": f, "url": f, "hashes": {}, "requires-python": python}
            for f, python in FILES[name]
        ]
        body = json.dumps({"meta": {"api-version": "1.0"}, "name": name, "files": files}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.pypi.simple.v1+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def reach() -> Iterator[Network]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Index)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield network(f"http://127.0.0.1:{server.server_port}/simple")
    server.shutdown()
    server.server_close()


def network(*indexes: str) -> Network:
    return Network(None, None, {}, {}, {}, indexes, ())


def wanted(root: Path, python: str, *pins: str) -> Environment:
    lines = "".join(f"  - {pin!r}\n" for pin in pins)
    text = f"dependencies:\n- python={python}\n- pip:\n{lines}"
    (root / "environment.yml").write_text(text)
    return environment.read(load(root, environ={}))


@pytest.mark.parametrize(
    ("python", "pin"),
    [
        ("3.13", "numpy==2.4.0"),
        ("3.11", "numpy==1.26.4"),
        ("3.11", "numpy==1.26.*"),
        ("3.7", "numpy==1.15.4"),
        ("3.13", "pure==1.0"),
        ("3.13", "source-only==1.0"),
        ("3.13", "numpy>=1.15"),
        ("3.13", "numpy==2.6.0rc1"),
        ("3.13", "numpy==1.15.4; python_version < '3.8'"),
        ("3.13", "not-on-this-index==1.0"),
    ],
)
def test_a_pin_that_can_be_installed_passes(
    tmp_path: Path, reach: Network, python: str, pin: str
) -> None:
    check_pins(wanted(tmp_path, python, pin), reach, architecture="amd64")


@pytest.mark.parametrize(
    ("python", "pin", "nearest"),
    [
        ("3.13", "numpy==1.15.4", "2.4.0"),
        ("3.13", "numpy==2.5.0", "2.4.0"),
        ("3.11", "numpy==2.0.0", "1.26.4 or 2.4.0"),
        ("3.13", "numpy==1.26.*", "2.4.0"),
        ("3.13", "pure==2.0", "1.0"),
    ],
)
def test_a_pin_without_a_build_is_named_with_the_nearest_versions(
    tmp_path: Path, reach: Network, python: str, pin: str, nearest: str
) -> None:
    with pytest.raises(NoBuildForPython) as caught:
        check_pins(wanted(tmp_path, python, pin), reach, architecture="amd64")
    assert f"{pin} (environment.yml:4; nearest that has one: {nearest})" in caught.value.message


def test_all_such_pins_are_named_at_once_with_a_python_that_has_them(
    tmp_path: Path, reach: Network
) -> None:
    environment = wanted(tmp_path, "3.13", "numpy==1.26.4", "pure==2.0", "source-only==1.0")
    with pytest.raises(NoBuildForPython) as caught:
        check_pins(environment, reach, architecture="amd64")
    assert "numpy==1.26.4" in caught.value.message
    assert "pure==2.0" in caught.value.message
    assert "no Python from 3.7 on has them all" in (caught.value.hint or "")
    with pytest.raises(NoBuildForPython) as caught:
        check_pins(wanted(tmp_path, "3.13", "numpy==1.26.4"), reach, architecture="amd64")
    assert "or take Python 3.11" in (caught.value.hint or "")


def test_the_platform_that_was_asked_for_is_named(tmp_path: Path, reach: Network) -> None:
    environment = wanted(tmp_path, "3.13", "numpy==1.26.4")
    with pytest.raises(NoBuildForPython, match=r"for Python 3\.13 on linux/s390x: numpy"):
        check_pins(environment, reach, architecture="s390x", platform="linux/s390x")


def test_the_images_architecture_decides(tmp_path: Path, reach: Network) -> None:
    check_pins(wanted(tmp_path, "3.13", "numpy==2.5.0"), reach, architecture="arm64")


def test_an_index_that_does_not_answer_leaves_it_to_the_build(tmp_path: Path) -> None:
    closed = network("http://127.0.0.1:9/simple")
    check_pins(wanted(tmp_path, "3.13", "numpy==1.15.4"), closed, architecture="amd64")
