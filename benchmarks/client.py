"""The process of a client: one path, kept open; measures what it is told to, line by line on standard input."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

import uvloop

from benchmarks.load import closed_loop, open_loop
from benchmarks.measure import cpu_seconds, rss_mib
from benchmarks.operations import EMPTY, GET_SMALL, OPERATIONS
from benchmarks.paths import PATHS, Boto3, Path, Target
from benchmarks.threads import closed_loop_of_threads

# How many connections an open loop finds open.
_OPEN_CONNECTIONS = 32


class Client:
    """Runs cells on its path. The CPU clocks of all processes are read here, right before and after the load."""

    def __init__(self, path: Path, *, server: int, backend: int) -> None:
        self._path = path
        self._server = server
        self._processes = (os.getpid(), server, backend)

    async def run(self, order: dict[str, Any]) -> dict[str, Any]:
        """One cell, warmed up first."""
        await self._warm_up(order)
        started, before = time.perf_counter(), self._cpu()
        latencies = await self._load(order, order["seconds"])
        seconds, after = time.perf_counter() - started, self._cpu()
        client, server, backend = (end - begin for begin, end in zip(before, after, strict=True))
        return {
            "seconds": seconds,
            "client_cpu": client,
            "server_cpu": server,
            "backend_cpu": backend,
            "server_rss_mib": rss_mib(self._server) if self._server else 0.0,
            "client_rss_mib": rss_mib(os.getpid()),
            "latencies": [round(latency, 7) for latency in latencies],
        }

    async def _warm_up(self, order: dict[str, Any]) -> None:
        """Opens the connections with the cheapest operation there is, and performs the cell's own once."""
        cheap = EMPTY if order["operation"] == EMPTY.name else GET_SMALL
        in_flight = order["in_flight"] or _OPEN_CONNECTIONS
        await self._load({"operation": cheap.name, "rate": 0.0, "in_flight": in_flight}, order["warm_seconds"])
        await self._load({**order, "rate": 0.0, "in_flight": 1}, 0.001)

    def _cpu(self) -> list[float]:
        return [cpu_seconds(process) if process else 0.0 for process in self._processes]

    async def _load(self, order: dict[str, Any], seconds: float) -> list[float]:
        operation = OPERATIONS[order["operation"]]
        if order["rate"]:
            return await open_loop(self._path.call(operation), order["rate"], seconds)
        if isinstance(self._path, Boto3):
            return await closed_loop_of_threads(self._path.perform(operation), order["in_flight"], seconds)
        return await closed_loop(self._path.call(operation), order["in_flight"], seconds)


async def main(settings: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as closing:
        path = PATHS[settings["path"]]()
        await path.open(Target(**settings["target"]), closing)
        client = Client(path, server=settings["server"], backend=settings["backend"])
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(await client.run(json.loads(line))), flush=True)


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
