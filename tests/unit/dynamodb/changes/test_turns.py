from __future__ import annotations

import asyncio

from tests.unit import virtual_time

from awsidecar_server.dynamodb.changes.positions import Oldest
from awsidecar_server.dynamodb.changes.turns import Turns


def test_shards_come_by_the_time_at_which_they_are_due() -> None:
    async def play() -> None:
        turns, now = Turns(), asyncio.get_running_loop().time()
        for name, wait in (("late", 3.0), ("early", 1.0), ("next", 2.0)):
            turns.put(name, Oldest(), now + wait)
        for wait, name in ((1, "early"), (2, "next"), (3, "late")):
            assert await turns.next() == (name, Oldest())
            assert asyncio.get_running_loop().time() - now == wait

    virtual_time.run(play())


def test_shard_that_comes_again_at_once_waits_behind_those_that_are_due() -> None:
    async def play() -> None:
        turns, now = Turns(), asyncio.get_running_loop().time()
        turns.put("busy", Oldest())
        turns.put("one", Oldest(), now + 1)
        turns.put("two", Oldest(), now + 2)
        await asyncio.sleep(3)
        came = []
        for _ in range(6):
            name, _position = await turns.next()
            came.append(name)
            turns.put(name, Oldest())
        assert came == ["busy", "one", "two"] * 2

    virtual_time.run(play())


def test_shard_that_is_due_sooner_than_the_one_that_is_waited_for_comes_first() -> None:
    async def play() -> None:
        turns, loop = Turns(), asyncio.get_running_loop()
        waiting = asyncio.create_task(turns.next())
        await asyncio.sleep(1)
        turns.put("late", Oldest(), loop.time() + 100)
        await asyncio.sleep(1)
        turns.put("soon", Oldest(), loop.time() + 5)
        began = loop.time()
        assert (await waiting)[0] == "soon"
        assert loop.time() - began == 5

    virtual_time.run(play())
