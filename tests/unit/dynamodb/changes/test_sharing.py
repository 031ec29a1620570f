"""Watches of the same stream read it together, as far as they are one caller's and keep up."""

from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest
from tests.unit.dynamodb.changes.fakes import FakeStreams
from tests.unit.dynamodb.changes.scenes import on
from tests.unit.dynamodb.changes.watching import Service, Watching, session

from awsidecar.dynamodb.v1.streams_pb2 import Record
from awsidecar_server.dynamodb.changes.pages import Page, PageStore
from awsidecar_server.dynamodb.changes.positions import After, End


async def idle_rate(streams: FakeStreams, watching: Watching) -> float:
    asked = streams.calls["GetRecords"]
    await watching.during(100)
    return (streams.calls["GetRecords"] - asked) / 100


@pytest.mark.parametrize("position", ["LATEST", "TRIM_HORIZON"])
def test_ten_watches_of_one_caller_cost_as_many_calls_as_one(streams: FakeStreams, position: str) -> None:
    async def scene(service: Service) -> None:
        async with AsyncExitStack() as opened:
            watchings = [
                await opened.enter_async_context(service.watch(position=position, heartbeat=60)) for _ in range(10)
            ]
            assert await idle_rate(streams, watchings[0]) < 1.2
            for value in range(50):
                streams.write("one", "a", value)
            asked = streams.calls["GetRecords"]
            expected = [f"a/{value}" for value in range(50)]
            assert await asyncio.gather(*(one.until(50) for one in watchings)) == [expected] * 10
            assert streams.calls["GetRecords"] - asked <= 3
            assert await idle_rate(streams, watchings[0]) < 1.2

    on(streams, scene)


def test_watch_that_begins_later_with_the_newest_joins_when_the_next_change_comes(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        async with service.watch(heartbeat=60) as first:
            streams.write("one", "a", 1)
            await first.until(1)
            async with service.watch(heartbeat=60) as second:
                streams.write("one", "a", 2)
                assert await second.until(1) == ["a/2"]
                assert await first.until(2) == ["a/1", "a/2"]
                assert await idle_rate(streams, first) < 1.2

    on(streams, scene)


def test_callers_share_nothing(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        alice, bob = session("alice"), session("bob")
        async with (
            service.watch(caller=alice, heartbeat=60) as hers,
            service.watch(caller=bob, heartbeat=60) as his,
        ):
            streams.write("one", "a")
            assert await hers.until(1) == await his.until(1) == ["a/0"]
            before = dict(streams.callers)
            await hers.during(100)
            spent = {caller: streams.callers[caller] - before[caller] for caller in (alice, bob)}
            assert all(80 < calls < 120 for calls in spent.values())

    on(streams, scene)


@pytest.mark.parametrize("store_bytes", [0, 1 << 20])
def test_watch_that_stands_still_holds_no_other_and_misses_nothing(store_bytes: int) -> None:
    streams = FakeStreams(page=3)
    streams.add("one")

    async def scene(service: Service) -> None:
        async with service.watch(heartbeat=60) as slow, service.watch(heartbeat=60) as quick:
            for value in range(90):
                streams.write("one", "a", value)
                await quick.until(value + 1)
            asked = streams.calls["GetRecords"]
            streams.expire_iterators()
            assert await slow.until(90) == quick.changes
            assert (streams.calls["GetRecords"] - asked > 20) == (not store_bytes)

    on(streams, scene, store_bytes)


def test_shard_is_never_read_more_than_five_times_a_second_however_many_positions(streams: FakeStreams) -> None:
    streams.page = 1

    async def scene(service: Service) -> None:
        for value in range(40):
            streams.write("one", "a", value)
        async with service.watch(position="TRIM_HORIZON", heartbeat=60) as first:
            await first.until(40)
        before = streams.calls["GetRecords"]
        async with AsyncExitStack() as opened:
            watchings = [
                await opened.enter_async_context(service.watch(checkpoint=message.checkpoint, heartbeat=60))
                for message in first.messages[:-1:8]
            ]
            for begun, watching in zip(range(0, 40, 8), watchings, strict=True):
                assert await watching.until(40 - begun) == first.changes[begun:]
        # Before a call there may be another one, for its iterator.
        times = streams.read_at["one"][before:]
        assert all(later - earlier > 0.18 for earlier, later in pairwise(times))

    on(streams, scene)


def test_one_watch_that_ends_leaves_the_call_to_the_others(streams: FakeStreams) -> None:
    streams.latency = 5

    async def scene(service: Service) -> None:
        async with service.watch(heartbeat=60) as stays:
            async with service.watch(heartbeat=60) as leaves:
                await leaves.during(3)
            streams.write("one", "a")
            assert await stays.until(1) == ["a/0"]

    on(streams, scene)


def test_reading_ends_with_its_last_watch_and_with_its_shard(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        readings = service.watches._readings
        async with service.watch(heartbeat=60) as first:
            async with service.watch(heartbeat=60) as second:
                assert len(readings) == 1
                for generation in range(5):
                    parent, child = ("one", "g0") if not generation else (f"g{generation - 1}", f"g{generation}")
                    streams.write(parent, "a", generation)
                    streams.close(parent, child)
                    await first.until(generation + 1)
                    await second.until(generation + 1)
                await first.during(30)
                await second.during(30)
                gc.collect()
                (reading,) = readings._readings.values()
                assert list(reading._shards) == ["g4"]
                assert readings._store.size == 0
            assert len(readings) == 1
        assert len(readings) == 0
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    on(streams, scene)


def test_pages_are_kept_up_to_a_number_of_bytes() -> None:
    store, hers, his = PageStore(100), object(), object()
    pages = [Page([Record()], End(), size) for size in (40, 50, 30, 200)]
    for place, page in enumerate(pages[:3]):
        store.put(hers if place else his, After(str(place)), page)
    assert [store.get(hers, After("1")), store.get(hers, After("2"))] == pages[1:3]
    assert store.get(his, After("0")) is None
    assert store.get(his, After("1")) is None
    assert store.size == 80
    store.put(hers, After("1"), pages[0])
    assert store.size == 70
    store.put(his, After("3"), pages[3])
    assert (store.size, store.get(hers, After("2"))) == (0, None)
    store.put(his, After("0"), pages[0])
    store.put(hers, After("0"), pages[1])
    store.drop(hers)
    assert (store.size, store.get(his, After("0"))) == (40, pages[0])
