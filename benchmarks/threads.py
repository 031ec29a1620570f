"""The closed loop of a library that blocks: a thread for every call in flight."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


async def closed_loop_of_threads(perform: Callable[[], Any], in_flight: int, seconds: float) -> list[float]:
    """Keeps so many calls in flight for a time; returns the latency of each."""
    return await asyncio.to_thread(_run, perform, in_flight, seconds)


def _run(perform: Callable[[], Any], in_flight: int, seconds: float) -> list[float]:
    clock = time.perf_counter
    with ThreadPoolExecutor(in_flight) as threads:
        end = clock() + seconds

        def work() -> list[float]:
            latencies: list[float] = []
            before = clock()
            while before < end:
                perform()
                after = clock()
                latencies.append(after - before)
                before = after
            return latencies

        workers = [threads.submit(work) for _ in range(in_flight)]
        return [latency for worker in workers for latency in worker.result()]
