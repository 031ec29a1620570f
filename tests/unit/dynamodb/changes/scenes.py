"""Scenes of watches in memory, in which time passes at once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

from tests.unit import virtual_time
from tests.unit.dynamodb.changes.fakes import FakeStreams
from tests.unit.dynamodb.changes.watching import Service

HOUR = 3600.0


def on(streams: FakeStreams, scene: Callable[[Service], Awaitable[None]], store_bytes: int = 1 << 20) -> None:
    """Plays a scene in a loop of its own."""

    async def play() -> None:
        await scene(Service.on(streams, store_bytes))
        await asyncio.sleep(60)
        assert len(asyncio.all_tasks()) == 1, "a watch leaves something behind"

    virtual_time.run(play())


async def write_every_second(streams: FakeStreams, *shard_ids: str) -> None:
    for value in itertools.count():
        for shard_id in shard_ids:
            streams.write(shard_id, shard_id, value)
        await asyncio.sleep(1)
