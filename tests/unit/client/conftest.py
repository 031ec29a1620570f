"""Fixtures of the client's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import awsidecar

from .fake_sidecar import FakeSidecar


@pytest.fixture
def sidecar() -> Iterator[FakeSidecar]:
    fake = FakeSidecar()
    fake.start()
    yield fake
    fake.stop()


@pytest.fixture
def client(sidecar: FakeSidecar) -> Iterator[awsidecar.Client]:
    with awsidecar.connect(sidecar.target) as connected:
        yield connected


@pytest.fixture(params=["threads", "asyncio"])
def way(request: pytest.FixtureRequest) -> str:
    """Which of the two clients a test is about."""
    return str(request.param)
