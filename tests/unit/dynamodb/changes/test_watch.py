"""Watches of a stream in memory. Time passes at once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from tests.unit import virtual_time
from tests.unit.dynamodb.changes.fakes import STREAM, FakeStreams, rejected
from tests.unit.dynamodb.changes.watching import Service, Watching, changed

from awsidecar_server.errors import AwsRejected, AwsUnreachable, HistoryLost, NothingToWatch, Unauthenticated

HOUR = 3600.0


def on(streams: FakeStreams, scene: Callable[[Service], Awaitable[None]]) -> None:
    """Plays a scene in a loop of its own."""

    async def play() -> None:
        await scene(Service.on(streams))
        await asyncio.sleep(60)
        assert len(asyncio.all_tasks()) == 1, "a watch leaves something behind"

    virtual_time.run(play())


@pytest.fixture
def streams() -> FakeStreams:
    found = FakeStreams()
    found.add("one")
    return found


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
        async with service.watch(checkpoint=watching.checkpoint) as watching:
            with pytest.raises(HistoryLost):
                await watching.during(60)

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


async def write_every_second(streams: FakeStreams, *shard_ids: str) -> None:
    for value in itertools.count():
        for shard_id in shard_ids:
            streams.write(shard_id, shard_id, value)
        await asyncio.sleep(1)


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
