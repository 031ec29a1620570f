"""The embedded AWS for real, and clients of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from aiobotocore.session import AioSession

from awsidecar_server.embedded.process import free_port
from awsidecar_server.identity.credentials import Credentials

_PATIENCE_SECONDS = 20.0
_POLL_SECONDS = 0.02

Clients = Callable[..., AbstractAsyncContextManager[Any]]


@pytest.fixture(scope="session")
def embedded_python(embedded_environment: Mapping[str, str]) -> str:
    """The Python with MiniStack."""
    return embedded_environment["AWSIDECAR_EMBEDDED_PYTHON"]


@pytest.fixture(scope="session")
def client_of() -> Clients:
    """`client_of(environment, service)`: an SDK client as the environment's service account, or as `credentials`."""

    @asynccontextmanager
    async def connect(
        environment: Mapping[str, str], service: str, credentials: Credentials | None = None
    ) -> AsyncIterator[Any]:
        signer = credentials or Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
        async with AioSession().create_client(
            service,
            region_name=environment["AWS_REGION"],
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            aws_access_key_id=signer.access_key_id,
            aws_secret_access_key=signer.secret_access_key,
            aws_session_token=signer.session_token,
        ) as client:
            yield client

    return connect


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], bool]], Any]:
    """Waits for what another process does, which no clock of ours can be set for."""

    async def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "it did not come about"
            await asyncio.sleep(_POLL_SECONDS)

    return wait


@pytest.fixture
def free_port_number() -> int:
    return free_port()
