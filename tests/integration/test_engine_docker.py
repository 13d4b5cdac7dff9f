"""Docker itself, over its default socket."""

from __future__ import annotations

import http.client
import io
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath

import docker
import pytest

from devkit.contract import LABEL_SERVICE
from devkit.engine import BuildSpec, ContextFile, FileChange, PortBinding, Tag
from devkit.engines import connect, docker_build, overlay
from devkit.engines.docker import DockerEngine
from devkit.errors import (
    BaseImageMissing,
    BuildError,
    EngineError,
    NoEngine,
    NotOurs,
    PackageInstallFailed,
    PortInUse,
    SecretRefused,
    Unsupported,
)
from tests.engine_contract import (
    Bench,
    EngineContract,
    ImageContract,
    contract_image,
    everything,
    executed,
    pieces,
    tarred,
)

pytestmark = pytest.mark.engine

IMAGE = Tag("contract-docker", str(os.getpid()))


@pytest.fixture(scope="module")
def engine(base_image: str) -> Iterator[DockerEngine]:
    engine = connect("docker")
    assert isinstance(engine, DockerEngine)
    with contract_image(engine, IMAGE, base_image):
        yield engine
    engine.close()


@pytest.fixture
def bench(engine: DockerEngine) -> Iterator[Bench]:
    bench = Bench(connect("docker"), IMAGE, PurePosixPath("/tmp"), "/tmp")
    yield bench
    bench.clean_up()


@pytest.fixture
def said() -> list[str]:
    return []


class TestDocker(EngineContract, ImageContract):
    """The contract."""


# --- what changed

# Of what a Debian image has: folders made anew, of another type, moved; what only looks touched.
EVERY_CHANGE = """
echo x >> /etc/passwd; rm -rf /usr/share/doc /etc/issue; chmod 700 /opt
rm -rf /usr/share/man; mkdir /usr/share/man; touch /usr/share/man/own
rm -rf /usr/share/misc; ln -s / /usr/share/misc; rm /etc/issue.net; mkdir -p /etc/issue.net/below
mv /usr/share/zoneinfo /usr/share/zones; chmod 644 /etc/shells; touch -r /etc/group /etc/group
cp -a /usr/share/dpkg /tmp/dpkg; rm -rf /usr/share/dpkg; mv /tmp/dpkg /usr/share/dpkg
mkdir -p /new/a/b; touch /new/a/b/c; ln /new/a/b/c /new/hard; ln -s /etc /new/link; mkfifo /new/fifo
touch "/new/$(printf '\\377')x"; touch /etc/gone; rm /etc/gone
"""


def test_what_changed_is_the_same_whoever_looks(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, container = bench.engine, bench.run()
    with executed(bench, container, "sh", "-ec", EVERY_CHANGE) as stream:
        assert everything(stream) == b""
        assert stream.wait() == 0
    with closing(docker.from_env().api) as client:
        is_read = overlay.changes(client.inspect_container(container.id)) is not None
    assert is_read == (os.geteuid() == 0)
    by_storage = engine.changes(container.id)
    assert FileChange(PurePosixPath("/usr/share/man"), "modified") in by_storage
    assert FileChange(PurePosixPath("/etc/issue"), "deleted") in by_storage
    engine.stop(container.id)
    assert engine.changes(container.id) == by_storage
    monkeypatch.setattr(overlay, "changes", lambda _inspection: None)
    # Of a file that is a folder by now the engine does not say what it was.
    was_file = PurePosixPath("/etc/issue.net")
    told = {FileChange(c.path, "modified") if c.path == was_file else c for c in by_storage}
    assert is_read == (FileChange(was_file, "deleted") in by_storage)
    assert set(engine.changes(container.id)) == told


def test_root_reads_a_commit_s_files_where_they_are_stored(bench: Bench) -> None:
    container = bench.run()
    made = bench.engine.commit(container.id)
    try:
        assert (bench.engine.top_layer(made.id, []) is not None) == (os.geteuid() == 0)
    finally:
        bench.engine.remove(container.id)
        bench.engine.remove_image(made.id)


# --- run


def test_a_container_is_hardened(bench: Bench) -> None:
    container = bench.run(user="1000:1000")
    script = "id -u; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status; cat /proc/1/comm"
    with executed(bench, container, "sh", "-c", script) as stream:
        lines = everything(stream).decode().split()
    assert lines == [
        "1000",
        *("CapEff:", "0000000000000000"),
        *("CapBnd:", "0000000000000000"),
        *("NoNewPrivs:", "1"),
        "docker-init",
    ]


def test_a_read_only_container_still_has_a_tmp_that_can_hold_programs(bench: Bench) -> None:
    container = bench.run(read_only=True, user="1000")
    script = (
        "touch /etc/x 2>&1; printf '#!/bin/sh\\necho runs' > /tmp/p && chmod +x /tmp/p && /tmp/p"
    )
    with executed(bench, container, "sh", "-c", script) as stream:
        output = everything(stream)
    assert b"Read-only file system" in output
    assert output.endswith(b"runs\n")
    with pytest.raises(Unsupported, match="read-only"):
        bench.engine.archive_in(
            container.name, PurePosixPath("/etc"), io.BytesIO(tarred({"x": b""}))
        )


def test_a_published_port_answers_on_loopback_only(bench: Bench) -> None:
    container = bench.run(
        "exec python3 -m http.server 5001",
        ports=(PortBinding(5001, 0),),
        env={"PYTHONUNBUFFERED": "1"},
    )
    assert b"Serving" in next(pieces(bench, container.name))
    address, port = container.ports[5001]
    connection = http.client.HTTPConnection(address, port, timeout=10)
    with closing(connection):
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
    listeners = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    assert f"00000000:{port:04X} 00000000:0000 0A" not in listeners


def test_limits_reach_the_kernel(bench: Bench) -> None:
    container = bench.run(memory="64m", cpus=0.5)
    version_1 = (
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us"
    )
    version_2 = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max"
    with executed(
        bench, container, "sh", "-c", f"{version_1} 2>/dev/null || {version_2}"
    ) as stream:
        assert everything(stream).split()[:2] == [b"67108864", b"50000"]


def test_a_container_that_used_too_much_memory_says_so(bench: Bench) -> None:
    script = "exec python3 -c 'x = bytearray(500_000_000)'"
    container = bench.ended(bench.run(script, memory="32m").name)
    assert container.oom_killed
    assert container.exit_code == 137


def test_a_port_of_another_program_is_refused_and_nothing_is_left_behind(bench: Bench) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        spec = bench.spec(ports=(PortBinding(5001, port),))
        with pytest.raises(PortInUse, match=str(port)):
            bench.engine.run(spec)
    assert bench.engine.container(spec.name) is None


def test_an_interrupted_start_leaves_nothing_behind(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(bench.engine, DockerEngine)

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench.engine._client, "start", interrupted)
    spec = bench.spec()
    with pytest.raises(KeyboardInterrupt):
        bench.engine.run(spec)
    assert bench.engine.container(spec.name) is None


@pytest.mark.parametrize("gpus", ["all", "2", "device=0,1"])
def test_gpus_are_asked_for_as_the_docker_cli_does(bench: Bench, gpus: str) -> None:
    assert isinstance(bench.engine, DockerEngine)
    spec, client = bench.spec(gpus=gpus), bench.engine._client
    cli = ["docker", "create", "--gpus", f'"{gpus}"' if "," in gpus else gpus]
    typed = subprocess.run(
        [*cli, "--label", f"{LABEL_SERVICE}={bench.prefix}", str(spec.image), "true"],
        capture_output=True,
        text=True,
        check=True,
    )

    def asked(container: str) -> dict[str, object]:
        [request] = client.inspect_container(container)["HostConfig"]["DeviceRequests"]
        # An empty list, an empty map and null are the same to the engine.
        return {key: value for key, value in request.items() if value}

    made = bench.engine._create(spec, spec.labels)
    assert asked(made) == asked(typed.stdout.strip())


# --- networks


def test_a_container_is_out_of_reach_of_one_in_another_network(bench: Bench) -> None:
    names = [f"{bench.prefix}-one", f"{bench.prefix}-two"]
    for name in names:
        bench.engine.ensure_network(name, {LABEL_SERVICE: bench.prefix})
    try:
        server = bench.run("hostname -i; exec python3 -u -m http.server 5001", network=names[0])
        address = next(pieces(bench, server.name)).split()[0].decode()
        probe = f"import socket; socket.create_connection(('{address}', 5001), timeout=3)"
        outcomes = {}
        for name in names:
            with executed(bench, bench.run(network=name), "python3", "-c", probe) as stream:
                outcomes[name] = stream.wait() == 0
        assert outcomes == {names[0]: True, names[1]: False}
    finally:
        for container in bench.engine.containers({LABEL_SERVICE: bench.prefix}):
            bench.engine.remove(container.id)
        for name in names:
            bench.engine.remove_network(name)


def test_a_network_that_is_not_ours_is_neither_used_nor_removed(bench: Bench) -> None:
    name = f"{bench.prefix}-foreign"
    subprocess.run(["docker", "network", "create", name], check=True, capture_output=True)
    try:
        with pytest.raises(NotOurs, match=name):
            bench.engine.ensure_network(name, {LABEL_SERVICE: "x"})
        with pytest.raises(NotOurs, match=name):
            bench.engine.remove_network(name)
    finally:
        subprocess.run(["docker", "network", "rm", name], check=True, capture_output=True)


# --- exec


def test_a_terminal_has_the_size_that_it_was_told(bench: Bench) -> None:
    stream = bench.engine.exec(bench.run().name, ["sh"], tty=True)
    with closing(stream):
        stream.resize(rows=43, columns=132)
        stream.write(b"stty size; test -t 0 && echo terminal; exit 5\n")
        output = everything(stream)
        assert b"43 132\r\n" in output
        assert b"terminal\r\n" in output
        assert stream.wait() == 5


def test_a_streams_descriptor_becomes_readable_when_there_is_something(bench: Bench) -> None:
    with executed(bench, bench.run(), "cat") as stream:
        assert select.select([stream], [], [], 0) == ([], [], [])
        stream.write(b"now")
        assert select.select([stream], [], [], 10)[0] == [stream]
        assert stream.read() == b"now"


def test_many_processes_run_side_by_side(bench: Bench) -> None:
    container, answers = bench.run(), dict[int, bytes]()

    def ask(number: int) -> None:
        with executed(bench, container, "sh", "-c", f"cat; echo {number}") as stream:
            stream.close_stdin()
            answers[number] = everything(stream)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert answers == {number: b"%d\n" % number for number in range(12)}


# --- images


def build(engine: DockerEngine, dockerfile: str, said: list[str], **changes: object) -> None:
    tag = Tag("contract-build", str(os.getpid()))
    spec = BuildSpec(tag, dockerfile, labels={}, **{"context": (), **changes})  # type: ignore[arg-type]
    try:
        engine.build(spec, progress=said.append)
    finally:
        engine.remove_image(str(tag))


def test_a_context_keeps_names_modes_and_links(
    engine: DockerEngine, base_image: str, said: list[str], tmp_path: Path
) -> None:
    (tmp_path / "big").write_bytes(b"x" * 3_000_001)
    context = (
        ContextFile(PurePosixPath("a b/é" + "x" * 120), b"one", mode=0o755),
        ContextFile(PurePosixPath("big"), tmp_path / "big"),
        ContextFile(PurePosixPath("link"), b"", link="big"),
    )
    script = "stat -c '%a %s %u %n' /d/a*/* /d/big && readlink /d/link && echo arg=$WORD"
    build(
        engine,
        f'FROM {base_image}\nARG WORD\nCOPY [".", "/d/"]\nRUN {script}\n',
        said,
        context=context,
        args={"WORD": "hello"},
        no_cache=True,
    )
    text = "\n".join(said)
    assert f"755 3 0 /d/a b/é{'x' * 120}" in text
    assert "644 3000001 0 /d/big\nbig\narg=hello" in text


def test_an_image_is_for_the_platform_that_was_asked(engine: DockerEngine) -> None:
    tag = Tag("contract-platform", str(os.getpid()))
    context = (ContextFile(PurePosixPath("x"), tag.version.encode()),)
    spec = BuildSpec(tag, "FROM scratch\nCOPY x /\n", context, {}, platform="linux/s390x")
    try:
        image = engine.build(spec, progress=lambda _: None)
        assert docker_build.inspect_image(engine._client, image.id)["Architecture"] == "s390x"
    finally:
        engine.remove_image(str(tag))


def test_a_platform_that_the_engine_has_not_is_said(engine: DockerEngine, said: list[str]) -> None:
    context = (ContextFile(PurePosixPath("x"), b"1"),)
    with pytest.raises(BuildError, match="has no such platform") as failed:
        build(engine, "FROM scratch\nCOPY x /\n", said, context=context, platform="plan9/amd64")
    assert "--platform" in (failed.value.hint or "")


def test_a_base_image_that_cannot_be_had_names_the_way_to_make_one(
    engine: DockerEngine, said: list[str]
) -> None:
    with pytest.raises(BaseImageMissing, match="devkit-no-such-base:9") as missing:
        build(engine, "FROM devkit-no-such-base:9\n", said)
    assert "devkit base bootstrap" in (missing.value.hint or "")


def test_a_failed_step_shows_its_last_lines(
    engine: DockerEngine, base_image: str, said: list[str]
) -> None:
    with pytest.raises(BuildError, match=r"(?s)code: 4.*the reason") as failed:
        build(engine, f"FROM {base_image}\nRUN echo the reason; exit 4\n", said)
    assert type(failed.value) is BuildError
    assert any("the reason" in line for line in said)


def test_a_requirement_that_is_not_there_is_named(
    engine: DockerEngine, base_image: str, said: list[str]
) -> None:
    script = "python3 -m pip install --break-system-packages --no-index nonsense-package==9.9"
    with pytest.raises(
        PackageInstallFailed, match=r"^nonsense-package==9\.9 could not be installed"
    ):
        build(engine, f"FROM {base_image}\nRUN {script}\n", said)


def test_a_dockerfile_that_does_not_parse_is_a_failed_build(
    engine: DockerEngine, base_image: str, said: list[str]
) -> None:
    with pytest.raises(BuildError, match="FLY"):
        build(engine, f"FROM {base_image}\nFLY away\n", said)


def test_the_engines_own_builder_refuses_secrets(base_image: str, tmp_path: Path) -> None:
    spec = BuildSpec(
        Tag("x", "1"), f"FROM {base_image}\n", (), {}, secrets={"devkit-index": tmp_path / "s"}
    )
    with pytest.raises(SecretRefused, match="password"):
        docker_build.refuse_secrets(spec)


def test_an_interrupted_build_leaves_no_container_and_no_image(
    engine: DockerEngine, base_image: str
) -> None:
    mark = f"interrupted-{os.getpid()}"

    def interrupt(line: str) -> None:
        if line == "going":
            raise KeyboardInterrupt

    tag = Tag("contract-interrupted", str(os.getpid()))
    script = f"echo going; echo {mark} >/dev/null; sleep 600"
    spec = BuildSpec(tag, f"FROM {base_image}\nRUN {script}\n", (), {}, no_cache=True)
    with pytest.raises(KeyboardInterrupt):
        engine.build(spec, progress=interrupt)
    assert engine.image(str(tag)) is None
    # The engine notices on its own that nobody listens any more.
    for _ in range(200):
        listed = subprocess.run(
            ["docker", "ps", "--all", "--no-trunc"], capture_output=True, text=True, check=True
        )
        if mark not in listed.stdout:
            return
        threading.Event().wait(0.1)
    raise AssertionError(listed.stdout)


def test_an_image_is_made_of_a_tar_with_its_labels(engine: DockerEngine) -> None:
    tag = Tag("contract-import", str(os.getpid()))
    labels = {"devkit.suite": "a \"b\" $c 'd' é\\"}
    try:
        image = engine.import_image(io.BytesIO(tarred({"hello": b"x"})), tag, labels=labels)
        assert image.tags == (str(tag),)
        assert image.labels == labels
    finally:
        engine.remove_image(str(tag))
    assert engine.image(str(tag)) is None


def test_an_image_by_digest_is_not_here(engine: DockerEngine) -> None:
    assert engine.image(f"devkit-no-such-image@sha256:{'0' * 64}") is None


def test_a_broken_tar_is_refused(engine: DockerEngine) -> None:
    tag = Tag("contract-import", "broken")
    with pytest.raises(EngineError, match="tar"):
        engine.import_image(io.BytesIO(b"no tar " * 1000), tag, labels={})


# --- connect


def test_an_engine_without_rights_says_what_to_do() -> None:
    script = (
        "import os, encodings.idna, devkit.engines.docker, devkit.engines.endpoint\n"
        "from devkit.engines import connect\n"
        "from devkit.errors import EngineDenied\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: connect()\n"
        "except EngineDenied as error: print(error.message, error.hint)"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    assert "may not use it" in done.stdout
    assert "usermod -aG docker" in done.stdout


def test_an_address_where_nothing_is_names_it_and_the_other_way(tmp_path: Path) -> None:
    with pytest.raises(NoEngine, match=r"nowhere\.sock") as missing:
        connect(host=f"unix://{tmp_path}/nowhere.sock")
    assert "--engine process" in (missing.value.hint or "")


def test_a_context_that_is_not_there_is_named() -> None:
    with pytest.raises(NoEngine, match="no-such-context"):
        connect(context="no-such-context")
