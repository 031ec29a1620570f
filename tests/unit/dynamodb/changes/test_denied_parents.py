"""Parents of which AWS says that it has them not: it may be wrong for a moment, and is asked again."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.dynamodb.changes.fakes import FakeStreams
from tests.unit.dynamodb.changes.scenes import line, on
from tests.unit.dynamodb.changes.watching import Service

from awsidecar_server.errors import AwsUnreachable, HistoryLost


def parent_denied_for(streams: FakeStreams, seconds: float) -> list[str]:
    """A line of three closed shards, and the open one after them; AWS denies for a while that it has the first."""
    changes = line(streams, {"x": 0, "y": 0, "z": 0})
    late = streams.shards.pop("x")
    asyncio.get_running_loop().call_later(seconds, streams.shards.setdefault, "x", late)
    return changes


def test_parent_that_aws_denies_for_a_moment_is_read() -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        changes = parent_denied_for(streams, 1)
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert await watching.until(3) == changes

    on(streams, scene)


def test_parent_that_aws_denies_for_longer_is_lost_history_when_it_is_listed() -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        parent_denied_for(streams, 5)
        async with service.watch(position="TRIM_HORIZON") as watching:
            with pytest.raises(HistoryLost) as lost:
                await watching.during(100)
        assert lost.value.metadata == {"shard_id": "x"}

    on(streams, scene)


@pytest.mark.parametrize("seconds", [0.3, 1, 4])
def test_parent_that_aws_denies_for_a_moment_is_not_forgotten_by_who_goes_on_soon(seconds: float) -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        changes = line(streams, {"x": 10, "y": 0, "z": 0})
        streams.gone.add("x")
        asyncio.get_running_loop().call_later(0.5, streams.gone.discard, "x")
        async with service.watch(position="TRIM_HORIZON") as watching:
            await watching.during(seconds)
            assert watching.changes == []
        async with service.watch(checkpoint=watching.checkpoint) as resumed:
            assert await resumed.until(3) == changes

    on(streams, scene)


def test_parent_that_may_be_done_without_and_is_denied_for_a_moment_is_not_done_without() -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        changes = line(streams, {"x": 90, "y": 0, "z": 0})
        for start, end in ((0, 1), (35, 36.5)):
            asyncio.get_running_loop().call_later(start, streams.gone.add, "x")
            asyncio.get_running_loop().call_later(end, streams.gone.discard, "x")
        async with service.watch(position="TRIM_HORIZON") as watching:
            with pytest.raises(AwsUnreachable):
                await watching.during(60)
        async with service.watch(checkpoint=watching.checkpoint) as resumed:
            with pytest.raises(AwsUnreachable):
                await resumed.during(60)
        async with service.watch(checkpoint=resumed.checkpoint) as resumed:
            assert await resumed.until(3) == changes

    on(streams, scene)


def test_aws_is_asked_about_each_parent_a_few_times_and_about_few_at_a_time() -> None:
    streams = FakeStreams()
    for number in range(300):
        streams.add(f"child-{number}", f"trimmed-{number}").is_closed = True

    async def scene(service: Service) -> None:
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert (streams.calls["GetShardIterator"], streams.most_at_once) == (3 * 300, 8)
            await watching.during(60)
            assert streams.calls["GetShardIterator"] == 3 * 300 + 300

    on(streams, scene)


def test_gone_parent_of_an_open_shard_is_asked_about_again_when_its_time_is_over() -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        streams.add("child", "trimmed")
        streams.write("child", "k", 1)
        async with service.watch(position="TRIM_HORIZON") as watching:
            await watching.during(25)
            assert (streams.calls["GetShardIterator"], watching.changes) == (4, [])
            assert await watching.until(1) == ["k/1"]
            assert streams.calls["GetShardIterator"] == 4 + 4 + 1

    on(streams, scene)
