"""What every engine must do; each engine's test file gives `EngineContract` a fixture `bench`."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import os
import queue
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import PurePosixPath
from typing import Any

import pytest

from devkit.contract import LABEL_SERVICE
from devkit.engine import (
    BuildSpec,
    Container,
    Engine,
    FileChange,
    InputEnded,
    PortBinding,
    RunSpec,
    Stream,
    Tag,
)
from devkit.errors import ContainerMissing, ImageMissing, NameInUse, PortInUse
from devkit.sync.remote import Remote, Told

MEGABYTE = 1024 * 1024
IMAGE_LABELS = {"devkit.layout": '[{"local": "a \'b\' $c é", "remote": "/d"}]'}
IMAGE_ENV = {"FROM_IMAGE": "yes"}
_names = itertools.count(1)


@contextmanager
def contract_image(engine: Engine, tag: Tag, base: str) -> Iterator[None]:
    """Make an image as a `Bench` wants it, for a while."""
    # With its own name in it: an engine takes images of the same content for one.
    env = "".join(f"ENV {k}={v}\n" for k, v in {**IMAGE_ENV, "IMAGE": str(tag)}.items())
    spec = BuildSpec(tag, f"FROM {base}\n{env}", (), IMAGE_LABELS)
    engine.build(spec, progress=lambda _: None)
    try:
        yield
    finally:
        engine.remove_image(str(tag))


@dataclasses.dataclass
class Bench:
    """An engine under test, an image with a shell, `IMAGE_LABELS` and `IMAGE_ENV`, and a folder.

    `folder` is writable in its containers; `here` is how a shell in the container names it.
    """

    engine: Engine
    image: Tag
    folder: PurePosixPath
    here: str
    prefix: str = dataclasses.field(default_factory=lambda: f"contract-{os.getpid()}")

    def spec(self, script: str = "exec sleep 600", **changes: object) -> RunSpec:
        spec = RunSpec(
            image=self.image,
            name=f"{self.prefix}-{next(_names)}",
            labels={LABEL_SERVICE: self.prefix},
            env={},
            ports=(),
            command=("sh", "-c", script),
        )
        return dataclasses.replace(spec, **changes)  # type: ignore[arg-type]

    def run(self, script: str = "exec sleep 600", **changes: object) -> Container:
        return self.engine.run(self.spec(script, **changes))

    def clean_up(self) -> None:
        for container in self.engine.containers({LABEL_SERVICE: self.prefix}):
            self.engine.remove(container.id)
        self.engine.close()

    def ended(self, name: str) -> Container:
        """Wait for a container's end, by the end of its log."""
        for _ in self.engine.logs(name, follow=True):
            pass
        return self.until(name, lambda container: not container.is_running)

    def until(self, name: str, holds: Callable[[Container], bool]) -> Container:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            container = self.engine.container(name)
            assert container is not None
            if holds(container):
                return container
        raise AssertionError(f"{container} did not get there in time")


class EngineContract:
    """The tests; subclasses define the fixture `bench` and call `bench.clean_up()` in its end."""

    # --- run, look, stop, start, remove

    def test_a_started_container_runs_and_is_found_by_name_and_by_id(self, bench: Bench) -> None:
        container = bench.run()
        assert container.is_running
        assert container.exit_code is None
        assert not container.oom_killed
        assert bench.engine.container(container.name) == container
        assert bench.engine.container(container.id) == container
        assert container.image == str(bench.image)

    def test_a_container_carries_its_labels_and_environment(self, bench: Bench) -> None:
        container = bench.run(
            labels={LABEL_SERVICE: bench.prefix, "devkit.workspace": '{"path": "/a b/é"}'},
            env={"GREETING": "a 'b' \"c\" $d é"},
        )
        assert container.labels["devkit.workspace"] == '{"path": "/a b/é"}'
        with executed(bench, container, "sh", "-c", 'printf %s "$GREETING"') as stream:
            assert everything(stream) == "a 'b' \"c\" $d é".encode()

    def test_a_container_has_the_labels_and_the_variables_of_its_image_too(
        self, bench: Bench
    ) -> None:
        image = bench.engine.image(str(bench.image))
        assert image is not None
        assert image.tags == (str(bench.image),)
        assert image.labels["devkit.layout"] == IMAGE_LABELS["devkit.layout"]
        assert image.env["FROM_IMAGE"] == "yes"
        assert bench.engine.image(image.id) == image
        container = bench.run()
        assert container.image_id == image.id
        assert container.labels["devkit.layout"] == IMAGE_LABELS["devkit.layout"]
        with executed(bench, container, "sh", "-c", 'echo "$FROM_IMAGE"') as stream:
            assert everything(stream) == b"yes\n"

    def test_an_image_that_is_not_there_is_none_also_by_digest_and_by_id(
        self, bench: Bench
    ) -> None:
        digest = f"sha256:{'0' * 64}"
        for name in (f"{bench.prefix}-none:1", f"{bench.image.repository}@{digest}", digest):
            assert bench.engine.image(name) is None

    def test_containers_are_listed_by_label_also_when_they_ended(self, bench: Bench) -> None:
        labels = {LABEL_SERVICE: bench.prefix}
        runs = bench.run(labels={**labels, "devkit.x": "1"})
        ended = bench.run("exit 0", labels={**labels, "devkit.x": "2"})
        bench.ended(ended.name)

        def names(wanted: dict[str, str]) -> set[str]:
            return {container.name for container in bench.engine.containers(wanted)}

        assert names(labels) == {runs.name, ended.name}
        assert names({**labels, "devkit.x": "1"}) == {runs.name}
        assert names({**labels, "devkit.x": ""}) == {runs.name, ended.name}
        assert names({**labels, "devkit.y": ""}) == set()

    def test_a_container_that_ended_keeps_its_exit_code(self, bench: Bench) -> None:
        container = bench.ended(bench.run("exit 3").name)
        assert container.state == "exited"
        assert container.exit_code == 3

    def test_a_stopped_container_says_so_and_starts_again(self, bench: Bench) -> None:
        container = bench.run()
        bench.engine.stop(container.name, timeout_s=5)
        stopped = bench.engine.container(container.name)
        assert stopped is not None
        assert stopped.state == "exited"
        assert stopped.exit_code == 143
        bench.engine.stop(container.name)
        again = bench.engine.start(container.name)
        assert again.is_running
        assert again.id == container.id

    def test_a_container_that_ignores_the_signal_is_ended_after_the_time_out(
        self, bench: Bench
    ) -> None:
        container = bench.run("trap '' TERM; echo ready; while :; do sleep 0.1; done")
        assert next(pieces(bench, container.name)) == b"ready\n"
        bench.engine.stop(container.name, timeout_s=1)
        stopped = bench.engine.container(container.name)
        assert stopped is not None
        assert stopped.exit_code == 137

    def test_a_removed_container_is_gone_and_removing_again_does_nothing(
        self, bench: Bench
    ) -> None:
        container = bench.run()
        bench.engine.remove(container.name)
        assert bench.engine.container(container.name) is None
        bench.engine.remove(container.name)

    def test_a_published_port_is_told(self, bench: Bench) -> None:
        container = bench.run(ports=(PortBinding(5001, 0),))
        address, port = container.ports[5001]
        assert address == "127.0.0.1"
        assert 1024 <= port <= 65535

    # --- refusals

    def test_a_name_in_use_is_refused_and_the_other_container_left_alone(
        self, bench: Bench
    ) -> None:
        container = bench.run()
        with pytest.raises(NameInUse, match=container.name):
            bench.run(name=container.name)
        assert bench.engine.container(container.name) == container

    def test_a_port_in_use_is_refused_and_nothing_is_left_behind(self, bench: Bench) -> None:
        _, port = bench.run(ports=(PortBinding(5001, 0),)).ports[5001]
        spec = bench.spec(ports=(PortBinding(5001, port),))
        with pytest.raises(PortInUse, match=str(port)) as refused:
            bench.engine.run(spec)
        assert refused.value.hint
        assert bench.engine.container(spec.name) is None

    def test_an_image_that_is_not_there_is_named(self, bench: Bench) -> None:
        spec = bench.spec(image=Tag("devkit-no-such-image", "9"))
        with pytest.raises(ImageMissing, match="devkit-no-such-image:9"):
            bench.engine.run(spec)
        assert bench.engine.container(spec.name) is None
        assert bench.engine.image("devkit-no-such-image:9") is None

    def test_calls_on_a_missing_container_name_it(self, bench: Bench) -> None:
        engine, name = bench.engine, f"{bench.prefix}-nobody"
        assert engine.container(name) is None
        for call in (
            lambda: engine.exec(name, ["true"]),
            lambda: engine.stop(name),
            lambda: engine.start(name),
            lambda: list(engine.logs(name)),
            lambda: engine.archive_in(name, bench.folder, io.BytesIO(tarred({}))),
            lambda: list(engine.archive_out(name, bench.folder)),
            lambda: engine.changes(name),
        ):
            with pytest.raises(ContainerMissing, match=name):
                call()

    def test_exec_in_a_stopped_container_says_that_it_does_not_run(self, bench: Bench) -> None:
        container = bench.run()
        bench.engine.stop(container.name)
        with pytest.raises(ContainerMissing, match="not run"):
            bench.engine.exec(container.name, ["true"])

    # --- exec

    def test_exec_echoes_standard_input_and_ends_with_it(self, bench: Bench) -> None:
        with executed(bench, bench.run(), "cat") as stream:
            stream.write(b"one\n")
            assert stream.read() == b"one\n"
            stream.write(b"two\n")
            assert stream.read() == b"two\n"
            stream.close_stdin()
            assert stream.read() == b""
            assert stream.wait() == 0

    def test_exec_keeps_standard_error_apart_and_gives_the_exit_code(self, bench: Bench) -> None:
        script = "echo good; echo bad >&2; echo fine; exit 7"
        with executed(bench, bench.run(), "sh", "-c", script) as stream:
            assert everything(stream) == b"good\nfine\n"
            assert stream.wait() == 7
            assert stream.stderr() == b"bad\n"

    def test_exec_carries_five_megabytes_both_ways(self, bench: Bench) -> None:
        sent = os.urandom(5 * MEGABYTE)
        with executed(bench, bench.run(), "cat") as stream:

            def send() -> None:
                stream.write(sent)
                stream.close_stdin()

            sender = threading.Thread(target=send)
            sender.start()
            assert everything(stream) == sent
            sender.join(timeout=20)
            assert stream.wait() == 0

    def test_exec_reads_no_more_than_asked(self, bench: Bench) -> None:
        with executed(bench, bench.run(), "printf", "abcdef") as stream:
            assert [stream.read(2), stream.read(1), stream.read(9)] == [b"ab", b"c", b"def"]

    def test_much_standard_error_neither_blocks_nor_grows(self, bench: Bench) -> None:
        script = "head -c 300000 /dev/zero >&2; echo end >&2; echo done"
        with executed(bench, bench.run(), "sh", "-c", script) as stream:
            assert everything(stream) == b"done\n"
            assert stream.wait() == 0
            assert len(stream.stderr()) == 64 * 1024
            assert stream.stderr().endswith(b"end\n")

    def test_the_agent_of_the_sync_reads_writes_and_tells_over_exec(self, bench: Bench) -> None:
        container, large = bench.run(), os.urandom(3 * MEGABYTE)
        root = PurePosixPath(bench.here) / f"agent-{container.name}"
        told: queue.SimpleQueue[object] = queue.SimpleQueue()
        with executed(bench, container, "mkdir", str(root)) as stream:
            assert stream.wait() == 0
        agent = Remote(bench.engine, container.id, root, told=told.put, lost=told.put)
        with agent:
            assert agent.scan().entries == {}
            agent.request("stage", stage=1, path="large")
            for start in range(0, len(large), MEGABYTE):
                agent.request("add", large[start : start + MEGABYTE], stage=1)
            digest = hashlib.sha256(large).hexdigest()
            made: dict[str, Any] = {"digest": digest, "expect": None, "executable": False}
            agent.request("commit", stage=1, path="large", **made).result(30)
            answer = agent.request("stat", path="large").result(30)
            parts = [
                agent.request(
                    "part", path="large", offset=n, length=MEGABYTE, signature=answer.signature
                )
                for n in range(0, len(large), MEGABYTE)
            ]
            assert b"".join(part.result(30).content for part in parts) == large
            script = f"echo inside > {root}/edited"
            with executed(bench, container, "sh", "-c", script) as stream:
                assert stream.wait() == 0
            news = told.get(timeout=30)
            assert isinstance(news, Told), news
            assert list(news.entries) == ["edited"]
            assert list(news.contents.values()) == [b"inside\n"]

    def test_exec_takes_variables_and_a_working_directory(self, bench: Bench) -> None:
        container = bench.run()
        stream = bench.engine.exec(
            container.name,
            ["sh", "-c", 'cd -P . && pwd && echo "$X"'],
            workdir="/",
            env={"X": "y z"},
        )
        with closing(stream):
            assert everything(stream) == b"/\ny z\n"

    def test_exec_of_a_missing_command_ends_as_in_a_shell(self, bench: Bench) -> None:
        with executed(bench, bench.run(), "no-such-command-at-all") as stream:
            assert stream.wait() in (126, 127)

    def test_closing_a_stream_ends_the_standard_input_of_its_process(self, bench: Bench) -> None:
        container, ended = bench.run(), f"{bench.here}/ended"
        reader = bench.engine.exec(
            container.name, ["sh", "-c", 'echo in; cat >&2; touch "$1"', "sh", ended]
        )
        assert reader.read() == b"in\n"
        reader.close()
        wait = 'while [ ! -e "$1" ]; do sleep 0.05; done'
        with executed(bench, container, "sh", "-c", wait, "sh", ended) as stream:
            assert stream.wait() == 0

    def test_writing_to_a_process_that_ended_says_so(self, bench: Bench) -> None:
        with executed(bench, bench.run(), "true") as stream:
            assert stream.wait() == 0

            def write_on() -> None:
                # What is under way when the process ends is lost without a word.
                while True:
                    stream.write(bytes(65536))

            with pytest.raises(InputEnded, match="no more input"):
                write_on()

    # --- log

    def test_the_log_holds_both_outputs_and_its_tail_the_last_lines(self, bench: Bench) -> None:
        container = bench.ended(bench.run("echo one; echo two; echo three >&2").name)
        log = b"".join(bench.engine.logs(container.name))
        assert sorted(log.splitlines()) == [b"one", b"three", b"two"]
        lines = b"".join(bench.engine.logs(container.name, tail=2)).splitlines()
        assert len(lines) == 2

    def test_a_followed_log_comes_as_it_happens_and_ends_with_the_container(
        self, bench: Bench
    ) -> None:
        container = bench.run("echo first; cat /dev/null; sleep 600")
        log = pieces(bench, container.name)
        assert next(log) == b"first\n"
        stopper = threading.Thread(target=bench.engine.stop, args=(container.name,))
        stopper.start()
        assert b"".join(log) == b""
        stopper.join(timeout=20)

    def test_the_log_since_a_moment_leaves_out_what_came_before(self, bench: Bench) -> None:
        container = bench.run(
            'echo early; while [ ! -e "$GO" ]; do sleep 0.05; done; echo late',
            env={"GO": f"{bench.here}/go"},
        )
        log = pieces(bench, container.name)
        assert next(log) == b"early\n"
        moment = time.time()
        with executed(bench, container, "touch", f"{bench.here}/go") as stream:
            stream.wait()  # by a signal, when the container's end came first
        assert b"".join(log) == b"late\n"
        assert b"".join(bench.engine.logs(container.name, since=moment)) == b"late\n"

    # --- files

    def test_an_archive_goes_in_and_comes_out(self, bench: Bench) -> None:
        container = bench.run()
        files = {"a b/é.txt": b"one", "big.bin": os.urandom(MEGABYTE)}
        bench.engine.archive_in(container.name, bench.folder, io.BytesIO(tarred(files)))
        for name, content in files.items():
            out = b"".join(bench.engine.archive_out(container.name, bench.folder / name))
            assert untarred(out) == {PurePosixPath(name).name: content}

    def test_a_path_that_is_not_in_the_container_is_a_missing_file(self, bench: Bench) -> None:
        container = bench.run()
        tar = io.BytesIO(tarred({"file": b""}))
        bench.engine.archive_in(container.name, bench.folder, tar)
        with pytest.raises(FileNotFoundError, match="file/below"):
            bench.engine.archive_out(container.name, bench.folder / "file/below")
        missing = bench.folder / "nowhere"
        with pytest.raises(FileNotFoundError, match="nowhere"):
            bench.engine.archive_out(container.name, missing)
        with pytest.raises(FileNotFoundError, match="nowhere"):
            bench.engine.archive_in(container.name, missing, io.BytesIO(tarred({"x": b""})))

    def test_a_file_that_was_written_is_among_the_changes_when_it_stopped_too(
        self, bench: Bench
    ) -> None:
        container, written = bench.run(), bench.folder / "a b/é.txt"
        before = {change.path for change in bench.engine.changes(container.name)}
        assert written not in before
        tar = io.BytesIO(tarred({"a b/é.txt": b"one"}))
        bench.engine.archive_in(container.name, bench.folder, tar)
        assert FileChange(written, "added") in bench.engine.changes(container.name)
        bench.engine.stop(container.name)
        assert FileChange(written, "added") in bench.engine.changes(container.name)

    # --- networks

    def test_a_network_is_made_once_and_removing_a_missing_one_does_nothing(
        self, bench: Bench
    ) -> None:
        name, labels = f"{bench.prefix}-net", {LABEL_SERVICE: bench.prefix}
        bench.engine.ensure_network(name, labels)
        bench.engine.ensure_network(name, labels)
        container = bench.run(network=name)
        assert container.is_running
        bench.engine.remove(container.name)
        bench.engine.remove_network(name)
        bench.engine.remove_network(name)

    def test_the_engine_tells_its_name(self, bench: Bench) -> None:
        assert bench.engine.info().name == bench.engine.name


class ImageContract:
    """What engines that have images must do, beside `EngineContract`."""

    def test_a_container_s_files_become_an_image_that_starts_as_another_one(
        self, bench: Bench
    ) -> None:
        engine, tag = bench.engine, Tag(bench.prefix, "2")
        container = bench.run(env={"SECRET": "s3cret"})
        content = {"kept.txt": os.urandom(1000)}
        engine.archive_in(container.name, bench.folder, io.BytesIO(tarred(content)))
        files = engine.commit(container.id)
        assert files.tags == ()
        labels = {LABEL_SERVICE: bench.prefix, "devkit.text": "a 'b' $c é"}
        made = engine.image_like(files.id, str(bench.image), tag, labels=labels, comment="first")
        try:
            # What a built image gets without being asked is the engine's own business.
            assert labels.items() <= dict(made.labels).items()
            assert made.layers == files.layers
            assert "SECRET" not in made.env
            assert IMAGE_ENV.items() <= dict(made.env).items()
            assert made.id in [image.id for image in engine.images(labels)]
            assert engine.images({LABEL_SERVICE: "nobody"}) == []
            engine.remove_image(files.id)
            other = Tag(bench.prefix, "other")
            engine.tag(made.id, other)
            # Podman puts a registry before a name, and finds it without.
            assert _id(engine, other) == _id(engine, tag) == made.id
            assert len(_tags(engine, made.id)) == 2
            engine.tag(str(bench.image), other)
            assert _id(engine, other) != _id(engine, tag) == made.id
            assert len(_tags(engine, made.id)) == 1
            engine.remove_image(str(other))
            assert engine.image(str(other)) is None
            assert engine.image(str(bench.image)) is not None
            with pytest.raises(ImageMissing):
                engine.tag(f"{bench.prefix}:none", other)
            closed = engine.create(str(tag), {LABEL_SERVICE: bench.prefix})
            assert closed.state == "created"
            out = b"".join(engine.archive_out(closed.id, bench.folder / "kept.txt"))
            assert untarred(out) == content
            again = bench.run(image=tag)
            out = b"".join(engine.archive_out(again.id, bench.folder / "kept.txt"))
            assert untarred(out) == content
            assert "SECRET" not in again.env
        finally:
            for left in engine.containers({LABEL_SERVICE: bench.prefix}):
                engine.remove(left.id)
            engine.remove_image(str(tag))

    def test_what_a_commit_added_is_read_from_where_it_is_stored_or_not_at_all(
        self, bench: Bench
    ) -> None:
        engine, container = bench.engine, bench.run()
        content = os.urandom(1000)
        engine.archive_in(container.name, bench.folder, io.BytesIO(tarred({"a b/é": content})))
        made = engine.commit(container.id)
        try:
            paths = [bench.folder / name for name in ("a b/é", "a b", "missing", "a b/é/below")]
            found = engine.top_layer(made.id, [*paths, PurePosixPath("/etc/passwd")])
            if found is not None:
                read = [(path, item.size, file.read()) for path, item, file in found if file]
                assert read == [(paths[0], 1000, content)]
        finally:
            bench.engine.remove(container.id)
            bench.engine.remove_image(made.id)

    def test_a_stopped_container_and_one_that_goes_on_become_images_too(self, bench: Bench) -> None:
        container = bench.run()
        running = bench.engine.commit(container.id, pause=False)
        bench.engine.stop(container.id)
        stopped = bench.engine.commit(container.id)
        try:
            assert running.layers[:-1] == stopped.layers[:-1]
        finally:
            bench.engine.remove(container.id)
            bench.engine.remove_image(running.id)
            bench.engine.remove_image(stopped.id)

    def test_a_renamed_container_goes_on_and_a_taken_name_is_refused(self, bench: Bench) -> None:
        first, second = bench.run(), bench.run()
        with pytest.raises(NameInUse):
            bench.engine.rename(first.id, second.name)
        bench.engine.rename(first.id, f"{first.name}-before")
        found = bench.engine.container(f"{first.name}-before")
        assert found is not None
        assert (found.id, found.is_running) == (first.id, True)
        assert bench.engine.container(first.name) is None

    def test_an_image_is_looked_into_without_running_anything_of_it(self, bench: Bench) -> None:
        with bench.engine.contents(str(bench.image)) as (config, trees):
            assert {f"{name}={value}" for name, value in IMAGE_ENV.items()} <= set(config["Env"])
            with tarfile.open(fileobj=io.BytesIO(b"".join(next(trees))), mode="r:") as tree:
                assert not [name for name in tree.getnames() if name.startswith("/")]
        assert not bench.engine.containers({LABEL_SERVICE: bench.prefix})

    def test_what_cannot_be_committed_is_named(self, bench: Bench) -> None:
        with (
            pytest.raises(ImageMissing, match="no-such-image"),
            bench.engine.contents("no-such-image:1"),
        ):
            pass
        with pytest.raises(ContainerMissing, match="nobody"):
            bench.engine.commit("nobody")
        with pytest.raises(ImageMissing, match="no-such-image"):
            bench.engine.create("no-such-image:1", {})


@contextmanager
def executed(bench: Bench, container: Container, *command: str) -> Iterator[Stream]:
    with closing(bench.engine.exec(container.name, command)) as stream:
        yield stream


def everything(stream: Stream) -> bytes:
    parts = []
    while data := stream.read():
        parts.append(data)
    return b"".join(parts)


def pieces(bench: Bench, name: str) -> Iterator[bytes]:
    """Follow a log, without the empty pieces."""
    return (piece for piece in bench.engine.logs(name, follow=True) if piece)


def _id(engine: Engine, tag: Tag) -> str | None:
    found = engine.image(str(tag))
    return found.id if found else None


def _tags(engine: Engine, image: str) -> tuple[str, ...]:
    found = engine.image(image)
    return found.tags if found else ()


def tarred(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def untarred(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = [member for member in archive if member.isfile()]
        return {
            member.name: file.read()
            for member in members
            if (file := archive.extractfile(member)) is not None
        }


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
