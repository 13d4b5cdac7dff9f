"""Docker over ssh, through a real sshd with keys of its own; ~/.ssh and /etc/ssh stay out of it."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pytest

from devkit.engine import Tag
from devkit.engines import connect
from devkit.errors import EngineDenied, NoEngine
from tests.engine_contract import Bench, EngineContract, ImageContract, contract_image, free_port

ROOT = Path(__file__).parents[2]
SSHD = next(
    (
        path
        for path in (ROOT / ".cache/test-engines/sshd/usr/sbin/sshd", Path("/usr/sbin/sshd"))
        if path.exists()
    ),
    None,
)
IMAGE = Tag("contract-ssh", str(os.getpid()))

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(SSHD is None, reason="there is no sshd: sudo scripts/test-engines"),
]

# sshd of root needs a user of its own and a folder, which only its package makes. In a mount
# namespace the machine's files stay as they are.
AS_ROOT = """
mkdir -p /run/sshd
grep -q ^sshd: /etc/passwd || {
    { cat /etc/passwd; echo sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin; } >"$1/passwd"
    mount --bind "$1/passwd" /etc/passwd
}
shift
exec "$@"
"""


@contextmanager
def ssh_server(folder: Path, docker_host: str) -> Iterator[str]:
    """An sshd on loopback that lets this user in by the key in `folder`; gives its address."""
    port, user = free_port(), getpass.getuser()
    for name in ("host", "client"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True
        )
    shutil.copy(folder / "client.pub", folder / "authorized_keys")
    settings = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PidFile": "none",
        "StrictModes": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "SetEnv": f"DOCKER_HOST={docker_host}",
    }
    (folder / "sshd_config").write_text("".join(f"{k} {v}\n" for k, v in settings.items()))
    _write_client_files(folder, port)
    command = [str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")]
    if os.geteuid() == 0:
        command = ["unshare", "--mount", "sh", "-ec", AS_ROOT, "sh", str(folder), *command]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        said = []
        for line in server.stderr:
            said.append(line)
            if "Server listening" in line:
                break
        else:
            raise AssertionError("".join(said))
        yield f"ssh://{user}@127.0.0.1:{port}"
    finally:
        server.terminate()
        server.stderr.close()
        server.wait()


def _write_client_files(folder: Path, port: int) -> None:
    own = folder / "home" / ".ssh"
    own.mkdir(parents=True, mode=0o700)
    (own / "config").write_text(f"Host 127.0.0.1\n  IdentityFile {folder / 'client'}\n")
    host_key = (folder / "host.pub").read_text()
    (own / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, base_image: str) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("ssh")
    engine = connect("docker")
    with (
        contract_image(engine, IMAGE, base_image),
        ssh_server(folder, engine.info().endpoint) as address,
    ):
        yield address, folder / "home"
    engine.close()


@pytest.fixture(autouse=True)
def _no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


class TestDockerOverSsh(EngineContract, ImageContract):
    @pytest.fixture
    def bench(self, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
        address, home = server
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("DOCKER_HOST", address)
        bench = Bench(connect("docker"), IMAGE, PurePosixPath("/tmp"), "/tmp")
        yield bench
        bench.clean_up()


def test_a_host_that_is_not_known_is_refused(
    server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(NoEngine, match="known_hosts") as refused:
        connect("docker", host=server[0])
    assert "ssh " in (refused.value.hint or "")


def test_a_key_that_is_not_known_is_denied(
    server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    address, home = server
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    (tmp_path / ".ssh/config").unlink()
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(EngineDenied, match="does not let this user in") as refused:
        connect("docker", host=address)
    assert "ssh " in (refused.value.hint or "")
