"""A commit on the real engine through the real command: what is in the image, and that it runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devkit.contract import CONFLICT
from tests.committed import Saved, config, docker, labels, made, names, plain, remove_images, tags
from tests.running import stopped
from tests.syncing import DEVKIT, HELPER, Synced, synced

pytestmark = pytest.mark.engine

SECRET = "s3cret-of-the-env-file-7f3a"
GIVEN = "given-with-an-option-91bc"


@pytest.fixture(scope="module")
def module(base_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synced]:
    env = tmp_path_factory.mktemp("env") / "secrets.env"
    env.write_text(f"TOKEN={SECRET}\n")
    words = ["--env-file", str(env), "--env", f"GIVEN={GIVEN}"]
    with synced("commit", base_image, *words) as service:
        try:
            yield service
        finally:
            remove_images(repository(service))


@pytest.fixture
def service(module: Synced) -> Synced:
    module.cleared()
    return module


def commit(service: Synced, *words: str) -> dict[str, Any]:
    done = service.json("commit", *words)
    assert done["ok"], done
    return done


def refused(service: Synced, *words: str) -> dict[str, Any]:
    done = service.json("commit", *words)
    assert not done["ok"], done
    error: dict[str, Any] = done["error"]
    assert error["hint"]
    return error


def repository(service: Synced) -> str:
    return service.tag.partition(":")[0]


def saved_as_vs_code_does(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.vsctmp")
    new.write_text(text)
    new.replace(path)


def test_edits_of_both_sides_outlive_container_and_workspace(base_image: str) -> None:
    with synced("outlives", base_image) as service:
        try:
            text = HELPER.replace("one", "of VS Code")
            saved_as_vs_code_does(service.folder / "helper.py", text)
            service.inside("vim -es -N -c 's/helper.WORD/helper.WORD.upper()/' -c wq score.py +9")
            # At once: nothing is waited for.
            done = commit(service, "-m", "both sides")
            found = f"{service.name}/score.py", f"{service.name}/helper.py"
            changed = names(done["changed"])
            changed.pop("/home/devkit/.viminfo")  # vim's own
            assert changed == dict.fromkeys(found, "modified")
            assert (done["parent"], done["image"]) == (service.tag, f"{service.tag[:-1]}2")
            # With --pull-back the workspace has the same.
            assert "upper" in (service.folder / "score.py").read_text()
            lines = (service.folder / "score.py").read_text().splitlines()
            assert service.devkit("delete", "--yes").returncode == 0
            shutil.rmtree(service.folder)
            with plain(done["image"], service.root) as again:
                assert again.request().json == "OF VS CODE"
                line = lines.index("    return helper.WORD.upper()") + 1
                session = again.attach({"score.py": [line]})
                later = again.later()
                assert stopped(session).line == line
                session.set_breakpoints("/workspace/svc/score.py", [])
                session.disconnect()
                assert later.reply().json == "OF VS CODE"
        finally:
            service.folder.mkdir(exist_ok=True)
            remove_images(repository(service))


def test_it_starts_as_the_packaged_image_and_has_nothing_of_the_start(service: Synced) -> None:
    service.inside("sed -i s/one/edited/ helper.py")
    done = commit(service, "-m", "one line")
    assert config(done["image"]) == config(service.tag)
    assert done["not_in_image"]["env"] == ["GIVEN", "TOKEN"]
    assert done["leaks"] == {}
    saved = Saved(done["image"], SECRET, GIVEN, "edited")
    assert saved.found == {"edited"}
    assert saved.top_bytes < 64 * 1024
    files = {name for name in saved.top if name.endswith(".py")}
    assert files == {f"var/azureml-app/{service.name}/helper.py"}
    # Where the engine mounts the init of `docker run --init`: an empty file.
    assert [name for name in saved.top if "devkit" in name or "azureml-app/." in name] == []
    said = labels(done["image"])
    assert said["devkit.message"] == "one line"
    assert json.loads(said["devkit.changed"])["files"] == 1
    assert not said.keys() & {"devkit.run", "devkit.options", "devkit.content-hash"}
    assert "maintainer" not in docker("history", "--no-trunc", done["image"])


def test_a_value_that_stands_in_a_file_is_found_and_named(service: Synced) -> None:
    service.inside('echo "token = $TOKEN" > /tmp/cache')
    try:
        done = service.devkit("commit", "--json")
        assert json.loads(done.stdout)["leaks"] == {"TOKEN": "/tmp/cache"}
        assert "/tmp/cache holds the value of TOKEN" in done.stderr
        assert SECRET not in done.stdout + done.stderr
    finally:
        service.inside("rm /tmp/cache")


def test_what_a_conflict_left_is_named_when_it_goes_into_the_image(service: Synced) -> None:
    service.inside(f"printf x > helper.py{CONFLICT}20261127-101010")
    done = service.devkit("commit", "--json")
    assert f"helper.py{CONFLICT}20261127-101010 is what a conflict left" in done.stderr
    service.inside(f"rm helper.py{CONFLICT}20261127-101010")
    assert "conflict" not in service.devkit("commit", "--json").stderr
    assert "Nothing changed since" in service.devkit("commit").stdout


def test_the_object_that_commit_prints_is_a_contract(service: Synced) -> None:
    service.inside("printf x > new.txt")
    done = commit(service)
    keys = ["ok", "image", "id", "parent", "changed", "not_in_image", "leaks", "stall_s", "seconds"]
    assert list(done) == keys
    new = next(item for item in done["changed"] if item["path"].endswith("/new.txt"))
    assert new == {"path": f"{service.root}/new.txt", "kind": "added", "bytes": 1}
    assert done["stall_s"] > 0


def test_names_that_are_no_text_are_listed_too(service: Synced) -> None:
    service.inside(r"mkdir -p $(printf 'd\377') && echo x > $(printf 'd\377/f\344\270')")
    made = service.json("commit")
    changed = {item["path"]: item["bytes"] for item in made["changed"]}
    assert changed[f"{service.root}/d\ufffd/f\ufffd\ufffd"] == 2
    found = service.json("diff", made["parent"], made["image"])["files"]
    assert [item["kind"] for item in found if "/d" in item["path"]] == ["added"]


def test_a_large_file_on_its_way_is_in_whole(service: Synced) -> None:
    content = os.urandom(40 << 20)
    service.write("large.bin", content)
    done = commit(service)
    sizes = {item["path"]: item["bytes"] for item in done["changed"]}
    assert sizes[f"{service.root}/large.bin"] == len(content)
    (service.folder / "large.bin").unlink()
    service.flush()
    gone = commit(service)
    assert names(gone["changed"]) == {f"{service.name}/large.bin": "deleted"}


def test_without_pull_back_the_workspace_stays_as_it_is(service: Synced) -> None:
    service.ask("pause")
    try:
        service.inside("echo inside > only-there.txt")
        done = commit(service, "--no-pull-back")
        assert f"{service.name}/only-there.txt" in names(done["changed"])
        assert not (service.folder / "only-there.txt").exists()
    finally:
        service.ask("resume")


def test_a_paused_container_is_committed_and_stays_paused(service: Synced) -> None:
    service.inside("echo paused > paused.txt")
    service.flush()
    docker("pause", service.container)
    try:
        done = commit(service)
        assert docker("inspect", "--format", "{{.State.Paused}}", service.container) == "true"
    finally:
        docker("unpause", service.container)
    assert names(done["changed"])[f"{service.name}/paused.txt"] == "added"
    # It answers nobody, so nobody is asked.
    assert done["stall_s"] is None


def test_a_tag_that_is_none_or_taken_is_refused(service: Synced) -> None:
    before = tags(repository(service))
    error = refused(service, "Not A Tag")
    assert error["code"] == "BadValue"
    for tag in (service.tag, "1"):
        error = refused(service, tag)
        assert error["code"] == "NameInUse"
        assert "--force" in error["hint"]
    assert service.devkit("commit", "Not A Tag").returncode == 2
    assert service.devkit("commit", service.tag).returncode == 3
    assert tags(repository(service)) == before


def test_a_taken_tag_is_moved_by_force_and_a_dry_run_does_nothing(service: Synced) -> None:
    first = commit(service, "forced")
    before = tags(repository(service))
    planned = service.json("commit", "forced", "--force", "--dry-run")["would"]
    assert planned["image"] == first["image"]
    assert planned["left"]["env"] == ["GIVEN", "TOKEN"]
    assert tags(repository(service)) == before
    service.inside("echo > forced.txt")
    second = commit(service, "forced", "--force")
    assert (second["image"], second["parent"]) == (first["image"], first["image"])
    assert second["id"] != first["id"]


def test_two_commits_at_once_make_two_images_or_one_says_why(service: Synced) -> None:
    command = [str(DEVKIT), "commit", "--json"]
    running = [
        subprocess.Popen(command, cwd=service.folder, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    done = [json.loads(process.communicate(timeout=120)[0]) for process in running]
    images = [item["image"] for item in done if item["ok"]]
    assert images
    assert len(set(images)) == len(images)
    assert all(item["error"]["code"] == "NameInUse" for item in done if not item["ok"])
    for image in images:
        assert config(image) == config(service.tag)


def test_nothing_is_left_but_the_images(service: Synced) -> None:
    marked = ["--filter", f"label=devkit.service={service.name}", "--filter", "dangling=true"]
    before = docker("images", "--quiet", *marked)  # those that lost their tag by --force
    commit(service)
    assert docker("images", "--quiet", *marked) == before
    inside = [f"label=devkit.service={service.name}", "label=devkit.reading"]
    filters = [word for wanted in inside for word in ("--filter", wanted)]
    assert docker("ps", "--all", "--quiet", *filters) == ""


def test_a_container_that_devkit_did_not_make_is_adopted(
    service: Synced, base_image: str, tmp_path: Path
) -> None:
    theirs = f"{repository(service)}-theirs"
    changes = [
        'HEALTHCHECK --interval=5m CMD ["true"]',
        'ENTRYPOINT ["sh", "-c"]',
        'CMD ["exec sleep 600"]',
        "EXPOSE 8080",
        "VOLUME /data",
        "USER 1000",
        "ENV BUILT=in",
        "WORKDIR /srv",
    ]
    words = [word for change in changes for word in ("--change", change)]
    try:
        with made("create", base_image, "true") as empty:
            docker("commit", *words, empty, f"{theirs}:v3")
        mounts = ["--tmpfs", "/scratch", "--volume", f"{tmp_path}:/mine", "--env", f"T={SECRET}"]
        with made("run", "--detach", *mounts, f"{theirs}:v3") as id_:
            docker("exec", "--user", "0", id_, "sh", "-c", "echo x | tee /srv/new /data/in-volume")
            done = service.devkit("commit", "--adopt", id_, "--json")
        adopted = json.loads(done.stdout)
        assert (adopted["image"], adopted["parent"]) == (f"{theirs}:v4", f"{theirs}:v3")
        assert adopted["not_in_image"] == {
            "env": ["T"],
            "mounts": ["/data (volume)", "/mine (bind)", "/scratch (tmpfs)"],
        }
        for place in ("/data (volume)", "/mine (bind)", "/scratch (tmpfs)"):
            assert f"Not in the image: what is in {place}." in done.stderr
        assert names(adopted["changed"]) == {"/srv/new": "added"}
        assert config(adopted["image"]) == config(f"{theirs}:v3")
        assert "Healthcheck" in config(adopted["image"])
        saved = Saved(adopted["image"], SECRET)
        assert saved.found == set()
        assert not [name for name in saved.top if name.startswith(("data/", "mine/", "scratch/"))]
    finally:
        remove_images(theirs)


def test_a_container_without_the_service_s_mark_is_refused_without_adopt(
    base_image: str, tmp_path: Path
) -> None:
    (tmp_path / "score.py").write_text("def init(): ...\ndef run(data): ...\n")
    name = f"devkit-test-plain-{os.getpid()}"
    with made("run", "--detach", "--name", name, base_image, "sleep", "600"):
        command = [str(DEVKIT), "commit", "--service", name, "--json"]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False
        )
        error = json.loads(done.stdout)["error"]
        assert "--adopt" in error["hint"]
        assert done.returncode == 6


def test_a_stopped_container_is_committed(module: Synced) -> None:
    """The last one: it stops the module's service."""
    module.cleared()
    module.inside("echo stopped > stopped.txt")
    module.flush()
    assert module.devkit("stop").returncode == 0
    module.write("later.txt", "in the workspace only")
    done = commit(module)
    found = names(done["changed"])
    assert found[f"{module.name}/stopped.txt"] == "added"
    assert done["stall_s"] is None
    assert config(done["image"]) == config(module.tag)
