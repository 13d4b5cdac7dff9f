"""A build behind a proxy, with an index of a private authority: all is used, nothing is kept."""

from __future__ import annotations

import gzip
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import psutil
import pytest
from pypi_simple import PYPI_SIMPLE_ENDPOINT

from devkit.engine import Engine
from devkit.engines import buildx
from tests.integration.network_servers import (
    INDEX_PASSWORD,
    MARK,
    PACKAGE,
    PROXY_PASSWORD,
    USER,
    Asked,
    IndexHandler,
    ProxyHandler,
    Server,
    serving,
)
from tests.integration.test_engine_buildx import OWN_CONFIG

pytestmark = pytest.mark.engine

DEVKIT = Path(sys.executable).parent / "devkit"
TAG = f"devkit-test-network-{MARK[:8]}"
# What pip and uv ask first goes past the proxy; where the files are goes through it.
PAST_THE_PROXY = str(urlsplit(PYPI_SIMPLE_ENDPOINT).hostname)


@dataclass
class Site:
    """A network as some have it at work: a proxy, an index, the authority of the index."""

    bridge: ipaddress.IPv4Interface
    proxy: Server
    index: Server
    authority: Path
    base: str
    folder: Path
    tags: list[str] = field(default_factory=list)

    def package(self, builder: str, index: str, *, name: str = "") -> Built:
        """Run `devkit package` of a service that wants the index's package."""
        root = self.folder / (name or builder)
        root.mkdir(exist_ok=True)
        (root / "score.py").write_text(
            "def init():\n    pass\n\n\ndef run(data):\n    return data\n"
        )
        (root / "environment.yml").write_text(f"dependencies: [{{pip: [{PACKAGE}]}}]\n")
        (root / "devkit.yaml").write_text(f"build: {{ca_certificates: ['{self.authority}']}}\n")
        self.proxy.asked.clear()
        self.index.asked.clear()
        tag = f"{TAG}:{root.name}"
        self.tags.append(tag)
        done = subprocess.run(
            [DEVKIT, "-v", "package", "--json", "--no-cache", "--base", self.base, "--tag", tag],
            cwd=root,
            env=self._environment(builder, index),
            capture_output=True,
            text=True,
            check=False,
        )
        print(done.stderr)  # noqa: T201  pytest shows it when the test fails
        asked = [one for one in self.proxy.asked if self.is_of_a_build(one)]
        return Built(self, builder, tag, done, asked, list(self.index.asked))

    def is_of_a_build(self, asked: Asked) -> bool:
        """Whether a container asked, and not devkit or the proxy on this machine."""
        client = ipaddress.ip_address(asked.client)
        return client in self.bridge.network and client != self.bridge.ip

    def _environment(self, builder: str, index: str) -> dict[str, str]:
        # Without "http://", as curl takes it too.
        proxy = f"{USER}:{PROXY_PASSWORD}@{self.proxy.address}"
        environ = {n: v for n, v in os.environ.items() if not n.lower().endswith("_proxy")}
        environ |= {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": PAST_THE_PROXY}
        environ |= {"PIP_EXTRA_INDEX_URL": index}
        if builder == "own":
            # Without the docker CLI there is no buildx.
            return environ | {"PATH": str(DEVKIT.parent)}
        return environ if buildx.is_installed() else environ | {"DOCKER_CONFIG": str(OWN_CONFIG)}


@dataclass(frozen=True)
class Built:
    """What came of a build, and what it asked the proxy and the index for."""

    site: Site
    builder: str
    tag: str
    done: subprocess.CompletedProcess[str]
    asked_proxy: list[Asked]
    asked_index: list[Asked]

    @property
    def answer(self) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(self.done.stdout)
        return made


@pytest.fixture(scope="module")
def site(
    engine: Engine, base_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("network")
    bridge = _bridge()
    gateway = str(bridge.ip)
    authority, context = _certificate(folder, gateway)
    with ExitStack() as open_:
        proxy = open_.enter_context(serving(Server(gateway, ProxyHandler)))
        secured = Server(gateway, IndexHandler)
        # The handshake is for the request's own thread: one client must not hold the others.
        secured.socket = context.wrap_socket(
            secured.socket, server_side=True, do_handshake_on_connect=False
        )
        index = open_.enter_context(serving(secured))
        site = Site(bridge, proxy, index, authority, base_image, folder)
        yield site
    for tag in site.tags:
        engine.remove_image(tag)


def _bridge() -> ipaddress.IPv4Interface:
    """This machine's place in the network where builds run: its address is what they can reach."""
    with closing(docker.from_env()) as client:
        options = client.networks.get("bridge").attrs["Options"]
    addresses = psutil.net_if_addrs()[options["com.docker.network.bridge.name"]]
    [found] = [one for one in addresses if one.family == socket.AF_INET]
    return ipaddress.IPv4Interface(f"{found.address}/{found.netmask}")


def _certificate(folder: Path, address: str) -> tuple[Path, ssl.SSLContext]:
    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=devkit-test")
    openssl(*new, "-keyout", "ca.key", "-x509", "-days", "2", "-out", "ca.pem")
    openssl(*new, "-keyout", "server.key", "-out", "server.csr")
    (folder / "server.ext").write_text(f"subjectAltName=IP:{address}\n")
    by = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "server.ext")
    openssl("x509", "-req", "-in", "server.csr", *by, "-days", "2", "-out", "server.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return folder / "ca.pem", context


@pytest.fixture(scope="module", params=["own", "buildx"])
def built(site: Site, request: pytest.FixtureRequest) -> Built:
    """A build by each builder; with BuildKit, from the index that wants a password."""
    index = f"https://{site.index.address}/open/simple"
    if request.param == "buildx":
        if not buildx.is_installed() and not (OWN_CONFIG / "cli-plugins/docker-buildx").exists():
            pytest.skip("there is no docker buildx: sudo scripts/test-engines")
        index = f"https://{USER}:{INDEX_PASSWORD}@{site.index.address}/closed/simple"
    made = site.package(request.param, index)
    assert made.done.returncode == 0, made.done.stdout
    return made


def test_a_build_asks_through_the_proxy_with_its_password(built: Built) -> None:
    methods = {asked.method for asked in built.asked_proxy if asked.allowed}
    # Debian's packages by plain requests, the index through a tunnel.
    assert methods >= {"GET", "CONNECT"}
    assert built.site.index.address in {asked.target for asked in built.asked_proxy}
    assert built.asked_index
    assert not [asked for asked in built.asked_index if built.site.is_of_a_build(asked)]


def test_a_build_goes_past_the_proxy_where_no_proxy_says_so(built: Built) -> None:
    assert not [asked for asked in built.asked_proxy if PAST_THE_PROXY in asked.target]
    # With no cache, not even a mounted one, its packages were fetched: that index was asked.
    tunnels = {asked.target for asked in built.asked_proxy if asked.method == "CONNECT"}
    assert tunnels - {built.site.index.address}


def test_an_index_with_a_password_is_asked_with_it(built: Built) -> None:
    fetched = [asked for asked in built.asked_index if asked.target.endswith(".whl")]
    assert fetched
    assert all(asked.allowed == (built.builder == "buildx") for asked in fetched)


def test_the_image_keeps_nothing_of_proxy_index_and_authority(built: Built) -> None:
    site = built.site
    certificate = site.authority.read_bytes().splitlines()[2]
    hidden = [PROXY_PASSWORD, INDEX_PASSWORD, site.proxy.address, site.index.address]
    said = "".join(docker_says(*words, built.tag).decode() for words in (HISTORY, INSPECT))
    assert "/opt/env" in said
    assert [word for word in hidden if word in said] == []

    sought = [MARK.encode(), *(word.encode() for word in hidden), certificate]
    found = {word for content in saved(built.tag) for word in sought if word in content}
    assert found == {MARK.encode()}, "the package is there, and it alone"


def test_no_password_is_shown(built: Built) -> None:
    shown = built.done.stdout + built.done.stderr
    assert built.site.proxy.address in shown
    for password in (PROXY_PASSWORD, INDEX_PASSWORD):
        assert password not in shown


def test_without_buildkit_an_index_with_a_password_is_refused(site: Site, engine: Engine) -> None:
    address = f"https://{USER}:{INDEX_PASSWORD}@{site.index.address}/closed/simple"
    built = site.package("own", address, name="refused")
    assert built.done.returncode == 2
    error = built.answer["error"]
    assert error["code"] == "SecretRefused"
    assert "password" in error["message"]
    assert "docker-buildx" in error["hint"]
    assert INDEX_PASSWORD not in built.done.stdout + built.done.stderr
    assert (built.asked_proxy, built.asked_index) == ([], [])
    assert engine.image(built.tag) is None


HISTORY = ("history", "--no-trunc", "--format", "{{json .}}")
INSPECT = ("image", "inspect")


def docker_says(*words: str) -> bytes:
    return subprocess.run(["docker", *words], capture_output=True, check=True).stdout


def saved(tag: str) -> Iterator[bytes]:
    """Yield each file of `docker save`: configurations, and the layers as they are unpacked."""
    with (
        subprocess.Popen(["docker", "save", tag], stdout=subprocess.PIPE) as save,
        tarfile.open(fileobj=save.stdout, mode="r|") as archive,
    ):
        for member in archive:
            if content := archive.extractfile(member):
                data = content.read()
                yield gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
