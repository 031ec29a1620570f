"""What a watch brings, and in which order: shards, their children, and streams that are new."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.dynamodb.changes.fakes import STREAM, FakeStreams
from tests.unit.dynamodb.changes.scenes import on
from tests.unit.dynamodb.changes.watching import Service, changed

from awsidecar_server.errors import NothingToWatch


def test_latest_brings_what_is_written_after_the_first_message_and_nothing_older(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        streams.write("one", "old")
        async with service.watch() as watching:
            assert (watching.messages[0].stream_arn, changed(watching.messages[0])) == (STREAM, [])
            streams.write("one", "new", 1)
            streams.write("one", "new", 2)
            assert await watching.until(2) == ["new/1", "new/2"]
            assert watching.messages[-1].shard_id == "one"

    on(streams, scene)


def test_trim_horizon_brings_every_shard_after_its_parent(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        streams.write("one", "a", 1)
        streams.close("one", "left", "right")
        streams.write("left", "a", 2)
        streams.close("left", "son")
        streams.write("son", "a", 3)
        streams.write("right", "b", 1)
        async with service.watch(position="TRIM_HORIZON") as watching:
            changes = await watching.until(4)
            assert [change for change in changes if change[0] == "a"] == ["a/1", "a/2", "a/3"]
            assert changes[0] == "a/1"

    on(streams, scene)


def test_children_of_a_shard_that_closes_during_the_watch_are_followed(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        async with service.watch() as watching:
            for generation in range(5):
                parent, child = ("one", "g0") if not generation else (f"g{generation - 1}", f"g{generation}")
                streams.write(parent, "a", generation)
                streams.close(parent, child)
                await watching.until(generation + 1)
            assert watching.changes == [f"a/{generation}" for generation in range(5)]

    on(streams, scene)


def test_parent_that_looks_open_is_read_before_its_children(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        streams.shards["one"].shows_end = False
        streams.add("child", "one")
        streams.write("child", "a", 2)
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert not [one for one in await watching.during(30) if one.records]
            streams.write("one", "a", 1)
            streams.close("one")
            assert await watching.until(2) == ["a/1", "a/2"]

    on(streams, scene)


def test_child_that_is_listed_late_is_waited_for(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        async with service.watch() as watching:
            streams.close("one")
            child = streams.add("child", "one", is_listed=False)
            streams.write("child", "a")
            assert not [one for one in await watching.during(300) if one.records]
            checkpoint = watching.checkpoint
            child.is_listed = True
            assert await watching.until(1) == ["a/0"]
        async with service.watch(checkpoint=checkpoint) as watching:
            assert await watching.until(1) == ["a/0"]

    on(streams, scene)


def test_slow_client_does_not_make_a_list_that_lags_a_gap_that_stays(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        async with service.watch() as watching:
            pass
        streams.close("one", "two")
        streams.shards["two"].is_listed = False
        streams.close("two", "three")
        streams.write("three", "a")
        async with service.watch(checkpoint=watching.checkpoint) as watching:
            await asyncio.sleep(20)
            streams.shards["two"].is_listed = True
            await asyncio.sleep(400)
            assert await watching.until(1) == ["a/0"]

    on(streams, scene)


def test_parent_that_is_listed_late_is_read_before_its_child(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        streams.write("one", "a", 1)
        streams.close("one", "two", "three")
        streams.write("three", "b", 1)
        streams.shards["two"].is_listed = False
        streams.write("two", "a", 2)
        streams.close("two", "son")
        streams.write("son", "a", 3)
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert [change for one in await watching.during(20) for change in changed(one)] == ["a/1", "b/1"]
            streams.shards["two"].is_listed = True
            changes = await watching.until(4)
            assert [change for change in changes if change[0] == "a"] == ["a/1", "a/2", "a/3"]

    on(streams, scene)


def test_open_shard_whose_parent_never_comes_is_read_for_who_wants_the_oldest(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        streams.shards["one"].parent_id = "long-gone"
        streams.write("one", "a")
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert await watching.until(1) == ["a/0"]
            streams.close("one", "two")
            streams.write("two", "a", 1)
            assert await watching.until(2) == ["a/0", "a/1"]

    on(streams, scene)


@pytest.mark.parametrize("newest_arn", ["", STREAM])
def test_table_without_a_stream_cannot_be_watched(streams: FakeStreams, newest_arn: str) -> None:
    async def scene(service: Service) -> None:
        streams.newest_arn, streams.stream_enabled = newest_arn, False
        with pytest.raises(NothingToWatch) as refused:
            async with service.watch():
                pass
        assert refused.value.reason == "STREAM_NOT_ENABLED"

    on(streams, scene)


def test_new_stream_without_a_shard_is_watched_from_its_first(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        del streams.shards["one"]
        async with service.watch() as watching:
            await watching.during(5)
            streams.add("two")
            streams.write("two", "a")
            assert await watching.until(1) == ["a/0"]

    on(streams, scene)


def test_hundreds_of_shards_are_listed_page_by_page_and_all_read() -> None:
    streams = FakeStreams()
    for number in range(250):
        streams.add(f"shard-{number}")

    async def scene(service: Service) -> None:
        async with service.watch() as watching:
            assert watching.checkpoint
            for number in range(250):
                streams.write(f"shard-{number}", f"key-{number}")
            assert sorted(await watching.until(250)) == sorted(f"key-{number}/0" for number in range(250))
            # A checkpoint of that size goes with heartbeats alone.
            assert {bool(message.checkpoint) for message in watching.messages if message.records} == {False}
            async with service.watch(checkpoint=(await watching.next()).checkpoint) as resumed:
                assert not [one for one in await resumed.during(20) if one.records]

    on(streams, scene)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"table_name": ""}, "source"),
        ({"position": "latest"}, "position"),
        ({"checkpoint": "nonsense"}, "checkpoint"),
        ({"max_records": 0}, "max_records"),
        ({"max_records": 1001}, "max_records"),
        ({"heartbeat": 0}, "heartbeat_interval"),
        ({"heartbeat": 301}, "heartbeat_interval"),
    ],
)
def test_request_that_cannot_be_followed_names_its_field(
    streams: FakeStreams, request_: dict[str, object], field: str
) -> None:
    async def scene(service: Service) -> None:
        with pytest.raises(Exception, match=f"^{field}: ") as refused:
            async with service.watch(**request_):  # type: ignore[arg-type]
                pass
        assert getattr(refused.value, "metadata", {}) == {"field": field}

    on(streams, scene)
