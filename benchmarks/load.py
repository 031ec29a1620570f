"""How calls are made: in a closed loop (the next when one is done) or an open one (when it is due, done or not)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from benchmarks.ticker import Ticker

Call: TypeAlias = Callable[[], Awaitable[Any]]

# Longest wait for the calls that an open loop has started, after the last was.
_DRAIN_SECONDS = 30.0


async def closed_loop(call: Call, in_flight: int, seconds: float) -> list[float]:
    """Keeps so many calls in flight for a time; returns the latency of each."""
    latencies: list[float] = []
    clock = time.perf_counter
    end = clock() + seconds

    async def work() -> None:
        before = clock()
        while before < end:
            await call()
            after = clock()
            latencies.append(after - before)
            before = after

    await asyncio.gather(*(work() for _ in range(in_flight)))
    return latencies


async def open_loop(call: Call, rate: float, seconds: float) -> list[float]:
    """Starts calls at a fixed rate, and returns each one's time from when it was *due* to its end.

    A call that starts late, because the client or the server is behind, has waited as a user would have: the
    figures leave nothing out ("coordinated omission").
    """
    interval = 1 / rate
    latencies: list[float] = []

    async def one(due: float) -> None:
        await call()
        latencies.append(time.perf_counter() - due)

    async with asyncio.timeout(seconds + _DRAIN_SECONDS), asyncio.TaskGroup() as calls:
        with Ticker(interval) as ticker:
            started = time.perf_counter()
            for number in range(1, int(rate * seconds) + 1):
                if number > ticker.ticks:
                    await ticker.wait(number)
                calls.create_task(one(started + number * interval))
    return latencies
