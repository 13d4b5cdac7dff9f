"""BuildKit through docker buildx, which the docker CLI has or scripts/test-engines has brought."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil
import pytest

from devkit.engine import BuildSpec, ContextFile, Engine, Tag
from devkit.engines import buildx, connect
from devkit.errors import BuildError, PackageInstallFailed

pytestmark = pytest.mark.engine

# What scripts/test-engines unpacked, as a docker CLI finds it.
OWN_CONFIG = Path(__file__).parents[2] / ".cache/test-engines/docker"

TAG = Tag("buildx-test", str(os.getpid()))


@pytest.fixture(autouse=True)
def _buildx(monkeypatch: pytest.MonkeyPatch) -> None:
    if not buildx.is_installed():
        monkeypatch.setenv("DOCKER_CONFIG", str(OWN_CONFIG))
    if not buildx.is_installed():
        pytest.skip("there is no docker buildx: sudo scripts/test-engines")


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = connect("docker")
    yield engine
    engine.remove_image(str(TAG))
    engine.close()


def spec(dockerfile: str, *context: ContextFile, **changes: object) -> BuildSpec:
    plain = "FROM an-image-that-is-not-there:1\n"
    labels = {"devkit.x": "a 'b' \"c\" é"}
    made = BuildSpec(TAG, plain, context, labels, buildkit_dockerfile=dockerfile)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def test_secrets_and_caches_are_mounted_and_not_kept(
    engine: Engine, base_image: str, tmp_path: Path
) -> None:
    said: list[str] = []
    secret = tmp_path / "the secret é"
    secret.write_text("open sesame")
    mounts = f"--mount=type=secret,id=word --mount=type=cache,id={TAG.version},target=/c"
    script = 'tr a-z A-Z < /run/secrets/word; echo; ls /c; touch /c/kept; cat "/d/é f"; echo $ARG'
    dockerfile = f'FROM {base_image}\nARG ARG\nCOPY [".", "/d/"]\nRUN {mounts} {script}\n'
    for number in range(2):
        made = spec(
            dockerfile,
            ContextFile(PurePosixPath("é f"), b"content-%d\n" % number),
            secrets={"word": secret},
            args={"ARG": "value"},
        )
        image = engine.build(made, progress=said.append)
    assert image.labels["devkit.x"] == "a 'b' \"c\" é"
    assert said.count("OPEN SESAME") == 2
    assert said.count("kept") == 1
    assert "content-1" in said
    assert "value" in said
    history = subprocess.run(
        ["docker", "history", "--no-trunc", str(TAG)], capture_output=True, text=True, check=True
    )
    assert "sesame" not in history.stdout


@pytest.mark.parametrize("platform", ["linux/s390x", "linux/arm/v7"])
def test_the_platform_reaches_the_build_and_the_image(engine: Engine, platform: str) -> None:
    # Nothing runs in it: this machine may have no way to run another platform's programs.
    dockerfile = "FROM scratch\nARG TARGETPLATFORM\nLABEL seen=$TARGETPLATFORM\nCOPY x /\n"
    context = ContextFile(PurePosixPath("x"), TAG.version.encode())
    image = engine.build(spec(dockerfile, context, platform=platform), progress=lambda _: None)
    assert image.labels["seen"] == platform
    asked = "{{.Os}}/{{.Architecture}}{{with .Variant}}/{{.}}{{end}}"
    inspected = subprocess.run(
        ["docker", "image", "inspect", "--format", asked, str(TAG)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert inspected.stdout.strip() == platform


def test_a_requirement_that_is_not_there_is_named(engine: Engine, base_image: str) -> None:
    script = "python3 -m pip install --break-system-packages --no-index nonsense-package==9.9"
    with pytest.raises(PackageInstallFailed, match=r"^nonsense-package==9\.9 could not be"):
        engine.build(spec(f"FROM {base_image}\nRUN {script}\n"), progress=lambda _: None)


def test_a_failed_step_shows_its_last_lines_once(engine: Engine, base_image: str) -> None:
    made = spec(f"FROM {base_image}\nRUN printf 'the %s\\n' reason; exit 4\n")
    with pytest.raises(BuildError, match="exit code: 4") as failed:
        engine.build(made, progress=lambda _: None)
    assert len(re.findall("the reason", failed.value.message)) == 1


def test_a_file_that_went_away_ends_the_build(
    engine: Engine, base_image: str, tmp_path: Path
) -> None:
    gone = ContextFile(PurePosixPath("gone"), tmp_path / "gone")
    with pytest.raises(BuildError, match="gone cannot be packaged"):
        engine.build(spec(f"FROM {base_image}\nCOPY . /\n", gone), progress=lambda _: None)


def test_an_interrupted_build_leaves_no_child_and_no_image(engine: Engine, base_image: str) -> None:
    def interrupt(line: str) -> None:
        if line == "going on":
            raise KeyboardInterrupt

    made = spec(f"FROM {base_image}\nRUN printf 'going %s\\n' on; sleep 600\n", no_cache=True)
    with pytest.raises(KeyboardInterrupt):
        engine.build(made, progress=interrupt)
    assert engine.image(str(TAG)) is None

    children = psutil.Process().children(recursive=True)
    assert not [child for child in children if "buildx" in " ".join(child.cmdline())]
