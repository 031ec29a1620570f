"""Whose turn it is: the shards that one watch reads, by the time at which each is due."""

from __future__ import annotations

import asyncio
import heapq
import itertools

from awsidecar_server.dynamodb.changes.positions import Position


class Turns:
    """Thousands of shards wait here without a task each. The one that has been due for longest comes first."""

    def __init__(self) -> None:
        # The count is there to tell those apart that are due at the same time.
        self._waiting: list[tuple[float, int, str, Position]] = []
        self._counted = itertools.count()
        self._changed = asyncio.Event()

    def put(self, shard_id: str, position: Position, due: float = 0.0) -> None:
        """Lines a shard up. `due` is on the event loop's clock; one that has been due already waits behind others."""
        due = max(due, asyncio.get_running_loop().time())
        heapq.heappush(self._waiting, (due, next(self._counted), shard_id, position))
        self._changed.set()

    async def next(self) -> tuple[str, Position]:
        """Takes the first shard, once it is due."""
        while True:
            self._changed.clear()
            wait = self._waiting[0][0] - asyncio.get_running_loop().time() if self._waiting else None
            if wait is not None and wait <= 0:
                _, _, shard_id, position = heapq.heappop(self._waiting)
                return shard_id, position
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                pass
