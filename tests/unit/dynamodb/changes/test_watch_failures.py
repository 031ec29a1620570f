"""What a watch bears, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest
from tests.unit.dynamodb.changes.fakes import FakeStreams, rejected
from tests.unit.dynamodb.changes.scenes import on, write_every_second
from tests.unit.dynamodb.changes.watching import Service

from awsidecar_server.errors import AwsRejected, AwsUnreachable, HistoryLost, Unauthenticated


def test_watch_ends_with_its_session(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        ends = False

        async def verify() -> None:
            if ends:
                raise Unauthenticated("closed", reason="SESSION_NOT_FOUND")

        async with service.watch(verify=verify) as quiet, service.watch(verify=verify) as busy:
            await quiet.during(25)
            ends = True
            with pytest.raises(Unauthenticated):
                await quiet.during(11)
            writing = asyncio.create_task(write_every_second(streams, "one"))
            with pytest.raises(Unauthenticated):
                await busy.until(100)
            writing.cancel()

    on(streams, scene)


@pytest.mark.parametrize(
    "failure",
    [
        partial(AwsUnreachable, "lost", cause="connection_lost"),
        partial(rejected, "InternalServerError", status=500),
        partial(rejected, "LimitExceededException"),
    ],
)
@pytest.mark.parametrize("operation", ["GetRecords", "GetShardIterator", "DescribeStream"])
def test_failure_that_passes_is_borne(
    streams: FakeStreams, operation: str, failure: Callable[[], Exception]
) -> None:
    async def scene(service: Service) -> None:
        async with service.watch() as watching:
            streams.fail(operation, failure, times=8)
            streams.write("one", "a", 1)
            streams.close("one", "two")
            streams.write("two", "a", 2)
            assert await watching.until(2) == ["a/1", "a/2"]
            assert not streams.failures[operation]

    on(streams, scene)


def test_iterator_that_ends_before_it_is_used_is_borne_as_other_failures_that_pass(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        async with service.watch() as watching:
            streams.write("one", "a", 1)
            streams.fail("GetRecords", partial(rejected, "ExpiredIteratorException"), times=8)
            assert await watching.until(1) == ["a/1"]
            streams.fail("GetRecords", partial(rejected, "ExpiredIteratorException"), times=1000)
            asked, began = streams.calls["GetRecords"], asyncio.get_running_loop().time()
            with pytest.raises(AwsUnreachable):
                await watching.during(200)
            assert 60 < asyncio.get_running_loop().time() - began < 65
            assert streams.calls["GetRecords"] - asked < 100

    on(streams, scene)


@pytest.mark.parametrize("changes", [[], ["a/1"]], ids=["nothing", "something"])
def test_iterator_that_is_called_trimmed_while_its_records_are_there_is_made_anew(
    streams: FakeStreams, changes: list[str]
) -> None:
    """As DynamoDB Local has it for a shard without records, when another table has some."""

    async def scene(service: Service) -> None:
        async with service.watch() as watching:
            for _ in changes:
                streams.write("one", "a", 1)
            assert await watching.until(len(changes)) == changes
            streams.fail("GetRecords", partial(rejected, "TrimmedDataAccessException"))
            streams.write("one", "a", 2)
            assert await watching.until(len(changes) + 1) == [*changes, "a/2"]
            assert not streams.failures["GetRecords"]

    on(streams, scene)


def test_oldest_record_that_goes_before_it_is_read_makes_the_next_the_oldest(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        streams.shards["one"].is_listed = False
        streams.write("one", "a", 1)
        streams.close("one", "two")
        streams.write("two", "a", 2)
        streams.fail("GetRecords", partial(rejected, "TrimmedDataAccessException"), times=3)
        async with service.watch(position="TRIM_HORIZON") as watching:
            streams.shards["one"].is_listed = True
            streams.fail("GetRecords", partial(rejected, "TrimmedDataAccessException"), times=3)
            assert await watching.until(2) == ["a/1", "a/2"]
        streams.fail("GetRecords", partial(rejected, "TrimmedDataAccessException"), times=100)
        async with service.watch(position="TRIM_HORIZON") as watching:
            with pytest.raises(HistoryLost):
                await watching.during(20)

    on(streams, scene)


def test_oldest_records_that_go_now_and_then_end_no_watch(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        async with service.watch(position="TRIM_HORIZON") as watching:
            for _ in range(5):
                streams.fail("GetRecords", partial(rejected, "TrimmedDataAccessException"), times=2)
                await watching.during(10)
            streams.write("one", "a", 1)
            assert await watching.until(1) == ["a/1"]

    on(streams, scene)


@pytest.mark.parametrize("operation", ["GetRecords", "DescribeStream"])
def test_failure_that_lasts_ends_the_watch(streams: FakeStreams, operation: str) -> None:
    async def scene(service: Service) -> None:
        async with service.watch() as watching:
            streams.fail(operation, partial(AwsUnreachable, "lost", cause="connect"), times=1000)
            streams.close("one")
            began = asyncio.get_running_loop().time()
            with pytest.raises(AwsUnreachable):
                await watching.during(200)
            assert 60 < asyncio.get_running_loop().time() - began < 80

    on(streams, scene)


def test_refusal_ends_the_watch_at_once(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        async with service.watch() as watching:
            streams.fail("GetRecords", partial(rejected, "AccessDeniedException"))
            with pytest.raises(AwsRejected):
                await watching.during(5)

    on(streams, scene)
