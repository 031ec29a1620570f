"""Shards that AWS lists later than others: each change comes all the same, after those before it."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.dynamodb.changes.fakes import FakeStreams
from tests.unit.dynamodb.changes.scenes import on
from tests.unit.dynamodb.changes.watching import Service, Watching

from awsidecar_server.errors import AwsUnreachable, HistoryLost, NothingToWatch


def listed_after(streams: FakeStreams, shard_id: str, seconds: float) -> None:
    streams.shards[shard_id].is_listed = False
    asyncio.get_running_loop().call_later(seconds, setattr, streams.shards[shard_id], "is_listed", True)


def split_twice(streams: FakeStreams, number: int, seconds: float) -> None:
    """A shard has a child and a grandchild, each with a change; the child is listed late."""
    root, child, grandchild = f"r{number}", f"x{number}", f"y{number}"
    streams.close(root, child)
    streams.write(child, f"k{number}", 1)
    streams.close(child, grandchild)
    streams.write(grandchild, f"k{number}", 2)
    listed_after(streams, child, seconds)


def assert_each_in_order(watching: Watching, keys: int) -> None:
    assert sorted(watching.changes) == sorted(f"k{key}/{value}" for key in range(keys) for value in (1, 2))
    for key in range(keys):
        assert watching.changes.index(f"k{key}/1") < watching.changes.index(f"k{key}/2")


@pytest.mark.parametrize("seconds", [2, 20])
def test_closed_shard_whose_parent_is_listed_late_is_not_the_oldest(seconds: float) -> None:
    streams = FakeStreams()
    streams.add("r")

    async def scene(service: Service) -> None:
        streams.write("r", "k", 1)
        streams.close("r", "x")
        streams.write("x", "k", 2)
        streams.close("x", "y")
        streams.write("y", "k", 3)
        streams.close("y", "z")
        streams.write("z", "k", 4)
        listed_after(streams, "x", seconds)
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert await watching.until(4) == ["k/1", "k/2", "k/3", "k/4"]

    on(streams, scene)


@pytest.mark.parametrize("position", ["LATEST", "TRIM_HORIZON"])
def test_shards_that_are_listed_late_one_after_the_other_are_all_waited_for(position: str) -> None:
    streams = FakeStreams()
    for number in range(20):
        streams.add(f"r{number}")

    async def scene(service: Service) -> None:
        if position == "TRIM_HORIZON":
            split_twice(streams, 0, 12)
        async with service.watch(position=position) as watching:
            for number in range(int(position == "TRIM_HORIZON"), 20):
                split_twice(streams, number, 12)
                await watching.during(4)
            await watching.during(60)
            assert_each_in_order(watching, 20)

    on(streams, scene)


@pytest.mark.parametrize("kept", ["with records", "empty", "gone"])
def test_shard_that_is_never_listed_is_told_of_also_beside_others_that_are_dispensable(kept: str) -> None:
    streams = FakeStreams()
    streams.add("r0")
    streams.add("child", "trimmed long ago")

    async def scene(service: Service) -> None:
        streams.write("child", "a", 1)
        async with service.watch(position="TRIM_HORIZON") as watching:
            await watching.during(50)
            split_twice(streams, 0, 1000)
            if kept == "empty":
                streams.shards["x0"].records.clear()
            elif kept == "gone":
                streams.shards.pop("x0")
            with pytest.raises(HistoryLost if kept == "gone" else AwsUnreachable) as told:
                await watching.during(200)
            expected = {"shard_id": "x0"} if kept == "gone" else {"cause": "bad_response"}
            assert told.value.metadata == expected
            assert watching.changes == ["a/1"]

    on(streams, scene)


def test_stream_that_was_disabled_ends_after_its_last_child_that_is_listed_late() -> None:
    streams = FakeStreams()
    streams.add("r")

    async def scene(service: Service) -> None:
        async with service.watch() as watching:
            streams.close("r", "x")
            streams.write("x", "k", 1)
            streams.close("x")
            streams.status = "DISABLED"
            listed_after(streams, "x", 5)
            assert await watching.until(1) == ["k/1"]
            with pytest.raises(NothingToWatch):
                await watching.during(60)

    on(streams, scene)


@pytest.mark.parametrize("seconds", [0, 45, 100])
def test_stream_that_was_disabled_ends_from_ten_to_thirty_seconds_after_its_last_change(seconds: float) -> None:
    streams = FakeStreams()
    streams.add("r")

    async def scene(service: Service) -> None:
        async with service.watch() as watching:
            # A shard that ends without a child is looked for at ever longer intervals.
            streams.add("other")
            streams.close("other")
            await watching.during(seconds)
            streams.write("r", "k", 1)
            streams.close("r")
            streams.status = "DISABLED"
            await watching.until(1)
            told_at = asyncio.get_running_loop().time()
            with pytest.raises(NothingToWatch):
                await watching.during(60)
            assert 10 < asyncio.get_running_loop().time() - told_at < 30

    on(streams, scene)
