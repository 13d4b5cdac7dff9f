"""What tests share."""

from __future__ import annotations

import os

import pytest

pytest.register_assert_rewrite("tests.engine_contract")

# Whatever this machine has that can run Python: pulled, bootstrapped, or made by hand.
_BASES = ("python:3.13-slim", "devkit-base:3.13", "scratch-trixie:1")


@pytest.fixture(scope="session")
def base_image() -> str:
    """An image with Python 3 and a shell that the engine has; DEVKIT_TEST_BASE names another."""
    from devkit.engines import connect

    engine = connect()
    candidates = (os.environ.get("DEVKIT_TEST_BASE"), *_BASES)
    found = next((name for name in candidates if name and engine.image(name)), None)
    engine.close()
    assert found is not None, f"none of {_BASES} is here: `devkit base bootstrap` makes one"
    return found
