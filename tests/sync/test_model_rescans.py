"""Random edits on both sides while everything breaks, without file events here."""

from __future__ import annotations

import pytest

from tests.sync.trees import Trees, settings_of

# `make soak` runs it for a quarter of an hour.
pytestmark = pytest.mark.timeout(7200)


class Rescanned(Trees):
    events = False


TestRescanned = Rescanned.TestCase
TestRescanned.settings = settings_of(2)
