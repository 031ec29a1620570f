"""How often a watch asks and speaks, and what a client costs that is slow."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest
from tests.unit.dynamodb.changes.fakes import FakeStreams, rejected
from tests.unit.dynamodb.changes.scenes import on, write_every_second
from tests.unit.dynamodb.changes.watching import Service, Watching

from awsidecar_server.dynamodb.changes.lineage import Lineage, ListedShard
from awsidecar_server.dynamodb.changes.positions import End, Oldest
from awsidecar_server.errors import AwsRejected, Unauthenticated


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


@pytest.mark.parametrize("position", ["LATEST", "TRIM_HORIZON"])
def test_thousand_shards_take_few_tasks_and_few_calls_at_once_and_are_read_in_turn(position: str) -> None:
    streams = FakeStreams(page=1)
    for number in range(1000):
        streams.add(f"shard-{number}")

    async def scene(service: Service) -> None:
        async with service.watch(position=position) as watching:
            assert streams.most_at_once <= 8
            streams.most_at_once = 0
            # One has more than can be read meanwhile.
            for value in range(5000):
                streams.write("shard-500", "a", value)
            await watching.during(60)
            assert len(asyncio.all_tasks()) < 12
            assert streams.most_at_once <= 5  # four of shards, and one that lists them
            reads = sorted(len(times) for times in streams.read_at.values())
            assert len(reads) == 1000
            assert 10 < reads[0] <= reads[-1] < 2 * reads[0]

    on(streams, scene)


def test_begin_of_the_newest_that_fails_asks_about_no_more_shards() -> None:
    streams = FakeStreams()
    for number in range(1000):
        streams.add(f"shard-{number}")

    async def scene(service: Service) -> None:
        streams.fail("GetShardIterator", partial(rejected, "AccessDeniedException"))
        with pytest.raises(AwsRejected):
            async with service.watch():
                pass
        assert streams.calls["GetShardIterator"] == 8

    on(streams, scene)


def test_many_shards_that_come_to_their_ends_take_no_longer_each_than_few() -> None:
    """In a list of them all, nothing is looked for from its beginning on each time."""

    def seconds(shards: int) -> float:
        streams = FakeStreams()
        streams.add("shard-0")
        for number in range(1, shards):
            streams.close(f"shard-{number - 1}", f"shard-{number}")
        listed = [ListedShard(one.shard_id, one.parent_id, one.first) for one in streams.shards.values()]
        lineage = Lineage({"shard-0": Oldest()})
        lineage.learn(listed)
        began = time.process_time()
        for shard in listed:
            lineage.advance(shard.shard_id, End())
            lineage.begin()
        return time.process_time() - began

    assert seconds(4000) < 40 * max(seconds(400), 0.001)
