"""What a sidecar costs before it works: the time to its first good answer, and its memory, idle and with sessions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from awsidecar import aio
from awsidecar.identity import AwsCredentials
from benchmarks.measure import rss_mib
from benchmarks.operations import GET_SMALL
from benchmarks.paths import Target
from benchmarks.processes import Failed, Sidecar

SESSIONS = 10_000
_SETTLE_SECONDS = 1.0
_CONCURRENCY = 64
# About as long as those of AWS STS.
_SESSION_TOKEN = "IQoJb3JpZ2luX2VjE" + "F" * 783


@dataclass(frozen=True)
class Residence:
    """How long each start took, and the memory of the last process (MiB)."""

    start_seconds: list[float]
    idle_rss_mib: float
    sessions_rss_mib: float
    # After one GetItem as each session, when the run has the time for it.
    used_sessions_rss_mib: float | None


def measure(
    target: Target, lane: str, *, starts: int, use_sessions: bool, tell: Callable[[str], None]
) -> Residence:
    """Starts sidecars one after the other, and opens sessions on the last."""
    _start(target, lane)  # the first reads its files from disk, and does not count
    seconds = [_start(target, lane) for _ in range(starts - 1)]
    with ExitStack() as closing:
        sidecar = Sidecar(target, lane, closing)
        seconds.append(_seconds_to_serving(sidecar))
        tell(f"{lane}: started {starts} times")
        time.sleep(_SETTLE_SECONDS)
        idle = rss_mib(sidecar.process_id)
        opened, used = asyncio.run(_open_sessions(sidecar, use=use_sessions))
        tell(f"{lane}: opened {SESSIONS} sessions")
    return Residence(seconds, idle, opened, used)


def _start(target: Target, lane: str) -> float:
    with ExitStack() as closing:
        return _seconds_to_serving(Sidecar(target, lane, closing))


def _seconds_to_serving(sidecar: Sidecar) -> float:
    with grpc.insecure_channel(sidecar.grpc) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise Failed("the sidecar says that it serves, and its health says that it does not")
    return time.perf_counter() - sidecar.started


async def _open_sessions(sidecar: Sidecar, *, use: bool) -> tuple[float, float | None]:
    numbers = iter(range(SESSIONS))
    clients: list[aio.SessionClient] = []

    async def open_some(client: aio.Client) -> None:
        for number in numbers:
            credentials = AwsCredentials(f"ASIA{number:016d}", f"{number:040d}", f"{_SESSION_TOKEN}{number:08d}")
            clients.append(await client.open_session(aws_credentials=credentials))

    async def use_some(sessions: list[aio.SessionClient]) -> None:
        request = GET_SMALL.build(lambda value: value)
        for session in sessions:
            await session.dynamodb.get_item(**request)

    async with aio.connect(sidecar.grpc) as client:
        await asyncio.gather(*(open_some(client) for _ in range(_CONCURRENCY)))
        await asyncio.sleep(_SETTLE_SECONDS)
        opened = rss_mib(sidecar.process_id)
        if not use:
            return opened, None
        await asyncio.gather(*(use_some(clients[first::_CONCURRENCY]) for first in range(_CONCURRENCY)))
        await asyncio.sleep(_SETTLE_SECONDS)
        return opened, rss_mib(sidecar.process_id)
