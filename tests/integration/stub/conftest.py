"""The stubbed AWS, one sidecar on it for the tests that need no settings of their own, and one for those that do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import pytest_asyncio
from tests.integration.stub.sidecar import Sidecar, running, settings_for
from tests.integration.stub_aws import StubAws

Start = Callable[..., AbstractAsyncContextManager[Sidecar]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stub_aws() -> AsyncIterator[StubAws]:
    stub = StubAws()
    await stub.start()
    yield stub
    await stub.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sidecar(stub_aws: StubAws) -> AsyncIterator[Sidecar]:
    """With the default settings, but a single attempt for each call, so that nothing waits for a retry."""
    async with running(settings_for(stub_aws.url)) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="session")
async def aws(stub_aws: StubAws) -> AsyncIterator[StubAws]:
    """The stubbed AWS without scripts or requests of other tests."""
    stub_aws.reset()
    yield stub_aws
    stub_aws.reset()


@pytest.fixture
def start(aws: StubAws) -> Start:
    """`start(VARIABLE="value")`: a sidecar with settings of its own, while it is entered."""

    def with_settings(clock: Any = None, **changes: str) -> AbstractAsyncContextManager[Sidecar]:
        environment = settings_for(aws.url, **changes)
        return running(environment) if clock is None else running(environment, clock=clock)

    return with_settings
