"""Scenes of watches in memory, in which time passes at once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

from tests.unit import virtual_time
from tests.unit.dynamodb.changes.fakes import FakeStreams
from tests.unit.dynamodb.changes.watching import Service

HOUR = 3600.0
# Of a line from its oldest shard on: the names, and after how many seconds each is listed.
Line = dict[str, float]


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


def line(streams: FakeStreams, shards: Line, parent: str | None = "trimmed", *, is_open: bool = True) -> list[str]:
    """Adds a line of shards with a change each; gives the changes."""
    for value, (name, seconds) in enumerate(shards.items(), 1):
        shard = streams.add(name, parent, is_listed=not seconds)
        streams.write(name, next(iter(shards)), value)
        shard.is_closed = is_open is False or name != list(shards)[-1]
        if seconds:
            asyncio.get_running_loop().call_later(seconds, setattr, shard, "is_listed", True)
        parent = name
    return [f"{next(iter(shards))}/{value}" for value in range(1, len(shards) + 1)]
