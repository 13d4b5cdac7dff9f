"""The audit through Podman's socket, which makes containers and exports in its own way."""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
from pathlib import Path

import pytest

from devkit.audit import image
from devkit.engine import Tag
from devkit.engines import connect
from devkit.errors import ImageMissing
from tests.integration.test_engine_podman import podman_service

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        shutil.which("podman") is None, reason="there is no Podman: sudo scripts/test-engines"
    ),
]


def test_podmans_images_are_read_too_and_nothing_is_left() -> None:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("opt/debugpy"))
    held.seek(0)
    # A socket's path may not be long.
    with (
        tempfile.TemporaryDirectory(prefix="audit-") as folder,
        podman_service(Path(folder)) as address,
    ):
        engine = connect("podman", host=address)
        tag = str(engine.import_image(held, Tag("localhost/audited", "1"), labels={}).id)
        with engine.contents(tag) as (config, trees):
            found = image.findings(config, trees)
        assert [(it.id, it.where) for it in found] == [
            ("debugger", "/opt/debugpy"),
            ("root-user", "no USER"),
        ]
        assert engine.containers({}) == []
        with pytest.raises(ImageMissing), engine.contents("localhost/none:1"):
            pass
        engine.close()
