"""The stream in memory that scenes of watches begin with."""

from __future__ import annotations

import pytest
from tests.unit.dynamodb.changes.fakes import FakeStreams


@pytest.fixture
def streams() -> FakeStreams:
    found = FakeStreams()
    found.add("one")
    return found
