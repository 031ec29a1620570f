"""What a watch goes on from, and what it says of changes that are gone."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from tests.unit.dynamodb.changes.fakes import STREAM, FakeStreams, rejected
from tests.unit.dynamodb.changes.scenes import HOUR, on
from tests.unit.dynamodb.changes.watching import Service, forged

from awsidecar_server.errors import AwsRejected, HistoryLost, InvalidRequest, NothingToWatch


@pytest.mark.parametrize("knows_timestamps", [True, False])
def test_checkpoint_from_before_any_change_misses_none(knows_timestamps: bool) -> None:
    streams = FakeStreams(knows_timestamps=knows_timestamps)
    streams.add("one")

    async def scene(service: Service) -> None:
        streams.write("one", "old")
        await asyncio.sleep(HOUR)
        async with service.watch() as watching:
            checkpoint = watching.checkpoint
        streams.write("one", "a", 1)
        await asyncio.sleep(HOUR)
        async with service.watch(checkpoint=checkpoint) as watching:
            assert await watching.until(1) == ["a/1"]

    on(streams, scene)


def test_every_checkpoint_goes_on_behind_its_own_message(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        for value in range(10):
            streams.write("one", "a", value)
        streams.close("one", "two")
        streams.write("two", "a", 10)
        async with service.watch(position="TRIM_HORIZON", max_records=3) as watching:
            everything = await watching.until(11)
            assert [len(message.records) for message in watching.messages] == [0, 3, 3, 3, 1, 1]
        for count, message in enumerate(watching.messages):
            behind = sum(len(one.records) for one in watching.messages[: count + 1])
            async with service.watch(checkpoint=message.checkpoint) as resumed:
                assert await resumed.until(11 - behind) == everything[behind:]

    on(streams, scene)


def test_iterators_that_expire_while_the_client_is_slow_cost_no_change() -> None:
    streams = FakeStreams(page=2)
    streams.add("one")

    async def scene(service: Service) -> None:
        async with service.watch() as watching:
            for value in range(40):
                streams.write("one", "a", value)
            await asyncio.sleep(HOUR)
            assert await watching.until(40) == [f"a/{value}" for value in range(40)]

    on(streams, scene)


def test_iterators_that_expire_while_nothing_happens_cost_no_change(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        async with service.watch() as watching:
            await watching.during(5)
            streams.expire_iterators()
            streams.write("one", "a")
            assert await watching.until(1) == ["a/0"]

    on(streams, scene)


def test_watch_that_nothing_happens_in_goes_on_for_days(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        streams.latency = 20
        async with service.watch(heartbeat=300) as watching:
            await watching.during(26 * HOUR)
            streams.write("one", "a")
            assert await watching.until(1) == ["a/0"]

    on(streams, scene)


def test_changes_that_are_gone_are_an_error_that_names_the_shard(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        streams.write("one", "a", 1)
        async with service.watch(position="TRIM_HORIZON") as watching:
            await watching.until(1)
        streams.write("one", "a", 2)
        streams.write("one", "a", 3)
        streams.trim("one", 2)
        async with service.watch(checkpoint=watching.checkpoint) as watching:
            with pytest.raises(HistoryLost) as lost:
                await watching.until(1)
        assert (lost.value.reason, lost.value.metadata) == ("HISTORY_LOST", {"shard_id": "one"})

    on(streams, scene)


@pytest.mark.parametrize(
    ("operation", "code", "times"),
    [
        ("GetShardIterator", "ResourceNotFoundException", 3),
        ("GetShardIterator", "TrimmedDataAccessException", 3),
        ("GetRecords", "ResourceNotFoundException", 3),
    ],
)
def test_changes_that_aws_denies_for_a_moment_come(
    streams: FakeStreams, operation: str, code: str, times: int
) -> None:
    async def scene(service: Service) -> None:
        streams.write("one", "a", 1)
        async with service.watch(position="TRIM_HORIZON") as watching:
            await watching.until(1)
        streams.write("one", "a", 2)
        streams.close("one", "two")
        streams.write("two", "a", 3)
        streams.fail(operation, partial(rejected, code), times=times)
        async with service.watch(checkpoint=watching.checkpoint) as resumed:
            assert await resumed.until(1) == ["a/2"]
            streams.expire_iterators()
            streams.fail(operation, partial(rejected, code), times=times)
            assert await resumed.until(2) == ["a/2", "a/3"]

    on(streams, scene)


def test_changes_that_aws_denies_again_and_again_are_an_error_after_some_seconds(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        streams.write("one", "a", 1)
        async with service.watch(position="TRIM_HORIZON") as watching:
            await watching.until(1)
            streams.gone.add("one")
            streams.expire_iterators()
            began = asyncio.get_running_loop().time()
            with pytest.raises(HistoryLost):
                await watching.during(60)
            assert 3 < asyncio.get_running_loop().time() - began < 6

    on(streams, scene)


def test_failure_between_denials_says_nothing(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        async with service.watch(position="TRIM_HORIZON") as watching:
            first = watching.messages[0].checkpoint
        streams.write("one", "a", 1)
        for _ in range(4):
            streams.fail("GetShardIterator", partial(rejected, "ResourceNotFoundException"))
            streams.fail("GetShardIterator", partial(rejected, "InternalServerError", status=500))
        async with service.watch(checkpoint=first) as resumed:
            with pytest.raises(HistoryLost):
                await resumed.during(60)

    on(streams, scene)


def test_child_whose_beginning_is_gone_is_an_error_too(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        async with service.watch() as watching:
            streams.close("one")
            await watching.during(20)
        streams.add("two", "one")
        streams.write("two", "a")
        streams.trim("two", 1)
        async with service.watch(checkpoint=watching.checkpoint) as watching:
            with pytest.raises(HistoryLost):
                await watching.until(1)

    on(streams, scene)


def test_checkpoint_whose_shard_is_gone_is_an_error(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        async with service.watch() as watching:
            pass
        del streams.shards["one"]
        streams.add("two", "between")
        with pytest.raises(HistoryLost):
            async with service.watch(checkpoint=watching.checkpoint):
                pass

    on(streams, scene)


def test_lineage_with_a_hole_that_stays_is_an_error(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        async with service.watch() as watching:
            streams.close("one")
            await watching.during(20)
        del streams.shards["one"]
        streams.add("three", "two")
        streams.write("three", "a")
        async with service.watch(checkpoint=watching.checkpoint) as watching:
            with pytest.raises(HistoryLost):
                await watching.during(120)
            assert watching.changes == []

    on(streams, scene)


def test_checkpoint_older_than_what_a_stream_keeps_is_an_error_even_without_a_change(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        async with service.watch() as watching:
            pass
        await asyncio.sleep(25 * HOUR)
        async with service.watch(checkpoint=watching.checkpoint) as watching:
            with pytest.raises(HistoryLost):
                await watching.during(60)

    on(streams, scene)


def test_stream_that_is_disabled_is_brought_to_its_end_and_then_an_error(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        async with service.watch() as watching:
            streams.write("one", "a")
            streams.close("one")
            streams.status, streams.newest_arn = "DISABLED", STREAM.replace("2026", "2027")
            with pytest.raises(NothingToWatch) as ended:
                await watching.until(2)
            assert watching.changes == ["a/0"]
            assert (ended.value.reason, ended.value.metadata) == ("STREAM_ENDED", {"stream_label": "label"})
        # The table has another stream, but the checkpoint is of this one.
        async with service.watch(checkpoint=watching.messages[0].checkpoint) as again:
            with pytest.raises(NothingToWatch):
                await again.until(2)
            assert again.changes == ["a/0"]

    on(streams, scene)


@pytest.mark.parametrize("is_made_anew", [False, True])
def test_stream_of_a_table_that_is_gone_is_brought_to_its_end(streams: FakeStreams, is_made_anew: bool) -> None:
    async def scene(service: Service) -> None:
        async with service.watch() as watching:
            pass
        streams.write("one", "a")
        streams.close("one")
        # The new table has no stream.
        streams.status, streams.has_table, streams.newest_arn = "DISABLED", is_made_anew, ""
        for name in ("users", STREAM.partition("/stream/")[0])[: 1 if is_made_anew else 2]:
            with pytest.raises(NothingToWatch) as ended:
                async with service.watch(table_name=name, checkpoint=watching.checkpoint) as resumed:
                    await resumed.until(2)
            assert (resumed.changes, ended.value.reason) == (["a/0"], "STREAM_ENDED")

    on(streams, scene)


@pytest.mark.parametrize("is_made_anew", [False, True])
def test_checkpoint_of_another_table_is_refused_also_when_the_table_is_gone(
    streams: FakeStreams, is_made_anew: bool
) -> None:
    async def scene(service: Service) -> None:
        async with service.watch() as watching:
            pass
        streams.has_table, streams.newest_arn = is_made_anew, ""
        ours = STREAM.partition("/stream/")[0]
        others = ["user", "users2", "table/users", ours.replace("users", "orders"), ours.replace("1234", "5678")]
        if is_made_anew:
            others, watching.messages[0].checkpoint = ["users"], forged(STREAM.replace("users", "orders"), {})
        for other in others:
            with pytest.raises(InvalidRequest, match=r"^checkpoint: is of another table"):
                async with service.watch(table_name=other, checkpoint=watching.checkpoint):
                    pass

    on(streams, scene)


def test_table_that_is_gone_is_aws_s_own_refusal_without_a_checkpoint(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        streams.has_table = False
        for position in ("LATEST", "TRIM_HORIZON"):
            with pytest.raises(AwsRejected, match="ResourceNotFoundException"):
                async with service.watch(position=position):
                    pass

    on(streams, scene)


def test_shard_of_the_checkpoint_that_aws_lists_late_is_read_when_it_does(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        streams.add("two")
        async with service.watch() as watching:
            pass
        streams.write("one", "a")
        streams.write("two", "b")
        streams.shards["two"].is_listed = False
        async with service.watch(checkpoint=watching.checkpoint) as resumed:
            assert await resumed.until(1) == ["a/0"]
            asked = len(streams.read_at["two"])
            await resumed.during(20)
            assert len(streams.read_at["two"]) == asked
            streams.shards["two"].is_listed = True
            assert await resumed.until(2) == ["a/0", "b/0"]

    on(streams, scene)


def test_checkpoint_of_something_else_is_refused(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        async with service.watch() as watching:
            pass
        streams.newest_arn = STREAM.replace("/users/", "/orders/")
        with pytest.raises(Exception, match="checkpoint: is of another table"):
            async with service.watch(checkpoint=watching.checkpoint):
                pass
        with pytest.raises(Exception, match="checkpoint: is of another stream"):
            async with service.watch(
                stream_arn=STREAM.replace("2026", "2025"), table_name=None, checkpoint=watching.checkpoint
            ):
                pass
        async with service.watch(stream_arn=STREAM, table_name=None, checkpoint=watching.checkpoint) as named:
            assert named.messages[0].stream_arn == STREAM

    on(streams, scene)
