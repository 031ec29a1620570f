"""A transport to peers on loopback, as a test drives it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.unit.aws.http.peers import Session

from awsidecar_server.aws.http import HttpFailure, HttpTransport
from awsidecar_server.aws.retries import Stage
from awsidecar_server.config import AwsConfig

HEADERS = {"Host": "localhost", "X-Amz-Target": "DynamoDB_20120810.GetItem"}


@asynccontextmanager
async def transporting(environment: dict[str, str] | None = None, **settings: Any) -> AsyncIterator[HttpTransport]:
    known: dict[str, Any] = {"connect_timeout_seconds": 2.0, "read_timeout_seconds": 5.0, **settings}
    transport = HttpTransport(AwsConfig(**known), environment or {})
    try:
        yield transport
    finally:
        await transport.aclose()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    pytest.fail("it did not come to that")


async def failure_of(transport: HttpTransport, url: str, body: bytes = b"{}", **options: Any) -> tuple[Stage, str]:
    with pytest.raises(HttpFailure) as caught:
        await transport.post(url, HEADERS, body, **options)
    return caught.value.stage, caught.value.cause


async def answer_all(session: Session) -> None:
    await session.answer_all()


def open_files() -> int:
    return len(os.listdir("/dev/fd"))
