"""Docker over TCP and TLS with certificates on both sides, as `dockerd --tlsverify` has it."""

from __future__ import annotations

import os
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import pytest

from devkit.engine import Engine, Tag
from devkit.engines import connect
from devkit.errors import NoEngine
from tests.engine_contract import Bench, EngineContract, ImageContract, contract_image

pytestmark = pytest.mark.engine

IMAGE = Tag("contract-tls", str(os.getpid()))
BLOCK = 1 << 16


class TlsFront:
    """TLS on loopback in front of an engine's Unix socket; each direction ends by itself."""

    def __init__(self, engine_socket: str, context: ssl.SSLContext) -> None:
        self._engine_socket = engine_socket
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), self._context.wrap_socket(client, server_side=True) as tls:
            # One SSL object is not for two threads at once, so none may wait inside it.
            tls.setblocking(False)
            lock = threading.Lock()
            with socket.socket(socket.AF_UNIX) as engine:
                engine.connect(self._engine_socket)
                inward = threading.Thread(target=_inward, args=(tls, engine, lock), daemon=True)
                inward.start()
                with suppress(OSError):
                    _outward(tls, engine, lock)
                inward.join()


def _inward(tls: ssl.SSLSocket, engine: socket.socket, lock: threading.Lock) -> None:
    with suppress(OSError):
        while True:
            try:
                with lock:
                    data = tls.recv(BLOCK)
            except ssl.SSLWantReadError:
                select.select([tls], [], [])
                continue
            if not data:
                break
            engine.sendall(data)
    with suppress(OSError):
        engine.shutdown(socket.SHUT_WR)


def _outward(tls: ssl.SSLSocket, engine: socket.socket, lock: threading.Lock) -> None:
    while data := engine.recv(BLOCK):
        while data:
            try:
                with lock:
                    data = data[tls.send(data) :]
            except ssl.SSLWantWriteError:
                select.select([], [tls], [])
    with lock, suppress(ssl.SSLError):
        tls.unwrap()
    tls.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    def request(name: str) -> tuple[str, ...]:
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        return ("req", *key, "-keyout", f"{name}.key", "-subj", f"/CN={name}")

    openssl(*request("authority"), "-x509", "-days", "2", "-out", "ca.pem")
    (folder / "server.ext").write_text("subjectAltName=IP:127.0.0.1\n")
    (folder / "client.ext").write_text("extendedKeyUsage=clientAuth\n")
    for name in ("server", "client"):
        openssl(*request(name), "-out", f"{name}.csr")
        signed = ("x509", "-req", "-in", f"{name}.csr", "-extfile", f"{name}.ext", "-days", "2")
        by = ("-CA", "ca.pem", "-CAkey", "authority.key", "-CAcreateserial")
        openssl(*signed, *by, "-out", f"{name}.pem")
    # As the docker CLI wants them in DOCKER_CERT_PATH.
    (folder / "client.pem").rename(folder / "cert.pem")
    (folder / "client.key").rename(folder / "key.pem")
    return folder


@pytest.fixture(scope="module")
def front(certificates: Path, base_image: str) -> Iterator[TlsFront]:
    engine = connect("docker")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates / "ca.pem")
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    with contract_image(engine, IMAGE, base_image):
        front = TlsFront(engine.info().endpoint.removeprefix("unix://"), context)
        yield front
        front.close()
    engine.close()


@pytest.fixture
def engine(front: TlsFront, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("DOCKER_HOST", front.host)
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(certificates))
    return connect("docker")


class TestDockerOverTls(EngineContract, ImageContract):
    @pytest.fixture
    def bench(self, engine: Engine) -> Iterator[Bench]:
        bench = Bench(engine, IMAGE, PurePosixPath("/tmp"), "/tmp")
        yield bench
        bench.clean_up()


def test_a_client_that_the_engine_does_not_know_is_told_what_is_missing(
    front: TlsFront, certificates: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    with pytest.raises(NoEngine, match="TLS files") as missing:
        connect("docker", host=front.host)
    assert "cert.pem" in (missing.value.hint or "")


def test_an_engine_of_another_authority_is_not_trusted(
    front: TlsFront, certificates: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_bytes((certificates / name).read_bytes())
    (tmp_path / "ca.pem").write_bytes((certificates / "cert.pem").read_bytes())
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    with pytest.raises(NoEngine, match="do not trust each other") as refused:
        connect("docker", host=front.host)
    assert "DOCKER_CERT_PATH" in (refused.value.hint or "")
