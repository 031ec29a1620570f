"""What the tests of connections begin with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.unit.http2.peer import Peer


@pytest.fixture
async def peer() -> Iterator[Peer]:  # type: ignore[misc]
    made = Peer()
    yield made
    made.end()
