"""How often a watch asks and speaks, and what a client costs that is slow."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.dynamodb.changes.fakes import FakeStreams
from tests.unit.dynamodb.changes.scenes import on, write_every_second
from tests.unit.dynamodb.changes.watching import Service, Watching

from awsidecar_server.errors import Unauthenticated


def test_busy_stream_of_many_shards_gives_checkpoints_in_time_all_the_same() -> None:
    streams = FakeStreams()
    for number in range(70):
        streams.add(f"shard-{number}")

    async def scene(service: Service) -> None:
        async with service.watch(heartbeat=5) as watching:
            writing = asyncio.create_task(write_every_second(streams, *streams.shards))
            brought = await watching.during(60)
            writing.cancel()
            checkpoints = [message for message in brought if message.checkpoint]
            assert len(brought) > 1000
            assert 10 <= len(checkpoints) <= 12
            seen = sum(len(one.records) for one in brought[: brought.index(checkpoints[-1])])
            async with service.watch(checkpoint=checkpoints[-1].checkpoint) as resumed:
                rest = sum(len(shard.records) for shard in streams.shards.values()) - seen
                assert len(await resumed.until(rest)) == rest

    on(streams, scene)


def test_slow_client_gets_no_more_of_a_page_when_its_session_has_ended(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        ends = False

        async def verify() -> None:
            if ends:
                raise Unauthenticated("closed", reason="SESSION_NOT_FOUND")

        for value in range(5):
            streams.write("one", "a", value)
        async with service.watch(position="TRIM_HORIZON", verify=verify, max_records=1) as watching:
            assert await watching.until(2) == ["a/0", "a/1"]
            ends = True
            await asyncio.sleep(11)
            with pytest.raises(Unauthenticated):
                await watching.next()

    on(streams, scene)


def test_heartbeats_come_while_nothing_else_does(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        async with service.watch(heartbeat=7) as watching:
            beats = await watching.during(70.5)
            assert len(beats) == 10
            assert all(beat.checkpoint and not beat.records for beat in beats)

    on(streams, scene)


def test_no_heartbeat_is_needed_while_changes_bring_checkpoints(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        async with service.watch(heartbeat=5) as watching:
            for value in range(60):
                streams.write("one", "a", value)
                await watching.until(value + 1)
                await watching.during(1)
            assert [message for message in watching.messages[1:] if not message.records] == []

    on(streams, scene)


def test_slow_client_costs_no_more_than_some_pages() -> None:
    streams = FakeStreams(page=1)
    streams.add("one")
    streams.add("two")

    async def scene(service: Service) -> None:
        async with service.watch() as watching:
            for value in range(100):
                streams.write("one", "a", value)
                streams.write("two", "b", value)
            asked = streams.calls["GetRecords"]
            await asyncio.sleep(600)
            assert streams.calls["GetRecords"] - asked <= 5
            assert len(await watching.until(200)) == 200

    on(streams, scene)


async def rates(watching: Watching, streams: FakeStreams, seconds: float) -> float:
    asked = streams.calls["GetRecords"]
    await watching.during(seconds)
    return (streams.calls["GetRecords"] - asked) / seconds


def test_idle_shard_is_asked_about_once_a_second_and_a_busy_one_five_times(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert 0.9 < await rates(watching, streams, 300) < 1.1
            streams.page = 1
            for value in range(500):
                streams.write("one", "a", value)
            assert 4.5 < await rates(watching, streams, 60) < 5.1

    on(streams, scene)
