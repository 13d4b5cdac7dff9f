"""Random edits on both sides while everything breaks, with file events."""

from __future__ import annotations

import pytest

from tests.sync.trees import Trees, settings_of

# `make soak` runs it for a quarter of an hour.
pytestmark = pytest.mark.timeout(7200)

TestTrees = Trees.TestCase
TestTrees.settings = settings_of(2)
