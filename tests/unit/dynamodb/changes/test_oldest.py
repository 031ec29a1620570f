"""Where each line of shards begins for who wants the oldest: nothing that AWS keeps is passed over."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from google.protobuf.message import Message
from tests.unit.dynamodb.changes.fakes import STREAM, FakeStreams, rejected
from tests.unit.dynamodb.changes.scenes import Line, line, on
from tests.unit.dynamodb.changes.watching import Service, forged

from awsidecar.dynamodb.v1 import streams_pb2
from awsidecar_server.dynamodb.changes.gaps import Gaps
from awsidecar_server.dynamodb.changes.lineage import Lineage, ListedShard
from awsidecar_server.dynamodb.changes.positions import After, OldestOfLine
from awsidecar_server.dynamodb.changes.shard_reading import Kept
from awsidecar_server.errors import AwsUnreachable, HistoryLost, Unauthenticated
from awsidecar_server.identity.refusals import session_not_found


@pytest.mark.parametrize("parent", [None, "trimmed"])
@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize(
    "shards",
    [
        {"y": 20, "z": 0},
        {"x": 5, "y": 5, "z": 0},
        {"x": 10, "y": 5, "z": 0},
        {"w": 20, "x": 20, "y": 20, "z": 0},
        {"v": 20, "w": 15, "x": 10, "y": 5, "z": 0},
        {"v": 80, "w": 60, "x": 40, "y": 20, "z": 0},
        {"x": 5, "y": 0, "z": 5},
        {"x": 25, "y": 0},
        {"x": 20},
        {"x": 20, "y": 15},
        {"x": 20, "y": 10, "z": 5},
    ],
    ids=repr,
)
def test_line_that_is_listed_late_is_brought_from_its_oldest_shard(
    shards: Line, parent: str | None, is_open: bool
) -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        changes = line(streams, shards, parent, is_open=is_open)
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert await watching.until(len(changes)) == changes
            await watching.during(60)
            assert watching.changes == changes

    on(streams, scene)


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize(
    "shards", [{"y": 70, "z": 0}, {"x": 70, "y": 5, "z": 0}, {"w": 70, "x": 10, "y": 5, "z": 0}], ids=repr
)
def test_shard_that_aws_has_and_does_not_list_in_time_is_an_error_and_is_read_after_it(
    shards: Line, is_open: bool
) -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        changes = line(streams, shards, is_open=is_open)
        oldest = next(iter(shards))
        async with service.watch(position="TRIM_HORIZON") as watching:
            with pytest.raises(AwsUnreachable, match=f"AWS has the shard {oldest}, and does not list it"):
                await watching.during(200)
        assert asyncio.get_running_loop().time() < 60
        assert watching.changes == []
        async with service.watch(checkpoint=watching.checkpoint) as resumed:
            assert await resumed.until(len(changes)) == changes

    on(streams, scene)


def test_shard_that_aws_has_for_ever_with_nothing_in_it_does_not_hold_up_its_line(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        streams.add("trimmed", is_listed=False).is_closed = True
        changes = line(streams, {"y": 0, "z": 0})
        streams.write("one", "other", 1)
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert await watching.until(3) == ["other/1", *changes]
            streams.shards.pop("trimmed")
            streams.write("z", "y", 3)
            assert (await watching.until(4))[3] == "y/3"
        async with service.watch(checkpoint=watching.checkpoint) as resumed:
            await resumed.during(60)
            assert resumed.changes == []

    on(streams, scene)


def test_shard_with_nothing_in_it_is_waited_for_longer() -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        changes = line(streams, {"x": 100, "y": 100, "z": 0})
        streams.shards["y"].records.clear()
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert await watching.until(2) == [changes[0], changes[2]]

    on(streams, scene)


@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.parametrize("seconds", [{"x": 200, "y": 200}, {"x": 400, "y": 200}], ids=repr)
def test_shard_that_comes_when_what_follows_it_was_read_is_lost_history_unless_it_is_gone(
    seconds: Line, is_kept: bool
) -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        changes = line(streams, {**seconds, "z": 0})
        streams.shards["y"].records.clear()
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert await watching.until(1) == changes[2:]
            if is_kept:
                with pytest.raises(HistoryLost) as lost:
                    await watching.during(400)
                assert lost.value.metadata == {"shard_id": "x"}
            else:
                streams.gone.add("x")
                await watching.during(400)
            assert watching.changes == changes[2:]

    on(streams, scene)


@pytest.mark.parametrize("parent", [None, "trimmed"])
def test_closed_shard_that_is_listed_and_gone_is_nothing_to_begin_with(parent: str | None) -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        changes = line(streams, {"x": 0, "y": 0, "z": 0}, parent)
        streams.gone.add("x")
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert await watching.until(2) == changes[1:]
            first = watching.messages[0].checkpoint
        async with service.watch(checkpoint=first) as resumed:
            assert await resumed.until(2) == changes[1:]

    on(streams, scene)


def test_open_shard_that_is_listed_and_gone_is_lost_history(streams: FakeStreams) -> None:
    streams.gone.add("one")

    async def scene(service: Service) -> None:
        async with service.watch(position="TRIM_HORIZON") as watching:
            with pytest.raises(HistoryLost):
                await watching.during(10)

    on(streams, scene)


def test_beginning_of_which_something_has_come_is_lost_history_when_it_goes() -> None:
    streams = FakeStreams(page=1)

    async def scene(service: Service) -> None:
        line(streams, {"x": 0, "y": 0})
        shard = streams.shards["x"]
        shard.is_closed = False
        streams.write("x", "x", 2)
        shard.is_closed = True
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert await watching.until(1) == ["x/1"]
            streams.gone.add("x")
            streams.expire_iterators()
            with pytest.raises(HistoryLost):
                await watching.during(10)
            assert watching.changes == ["x/1"]

    on(streams, scene)


class Throttled(FakeStreams):
    """Nine of ten iterators are refused for now."""

    def _get_shard_iterator(self, request: streams_pb2.GetShardIteratorRequest) -> Message:
        if self.calls["GetShardIterator"] % 10:
            raise rejected("ThrottlingException")
        return super()._get_shard_iterator(request)


@pytest.mark.parametrize("is_ended", [True, False])
def test_beginning_for_which_aws_takes_long_ends_in_time_and_with_the_session(is_ended: bool) -> None:
    streams = Throttled()

    async def scene(service: Service) -> None:
        async def verify() -> None:
            if is_ended and asyncio.get_running_loop().time() > 20:
                raise session_not_found()

        for number in range(300):
            streams.add(f"child-{number}", f"trimmed-{number}").is_closed = True
        with pytest.raises(Unauthenticated if is_ended else AwsUnreachable):
            async with service.watch(position="TRIM_HORIZON", verify=verify):
                pass
        assert asyncio.get_running_loop().time() == pytest.approx(20 if is_ended else 90, abs=1)
        assert streams.under_way == 0

    on(streams, scene)


def test_open_parent_with_nothing_in_it_is_there(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        streams.add("parent", is_listed=False)
        streams.add("child", "parent")
        async with asyncio.timeout(5), service.watch(position="TRIM_HORIZON"):
            pass

    on(streams, scene)


@pytest.mark.parametrize("has_numbers", [True, False])
@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("shards", [{"y": 5, "z": 0}, {"x": 15, "y": 5, "z": 0}], ids=repr)
@pytest.mark.parametrize("seconds", [0.1, 1, 7, 20, 40])
def test_checkpoint_of_a_line_whose_beginning_is_waited_for_goes_on(
    shards: Line, is_open: bool, seconds: float, has_numbers: bool
) -> None:
    streams = FakeStreams(has_numbers=has_numbers)

    async def scene(service: Service) -> None:
        changes = line(streams, shards, is_open=is_open)
        async with service.watch(position="TRIM_HORIZON", heartbeat=1) as watching:
            await watching.during(seconds)
        came = watching.changes
        async with service.watch(checkpoint=watching.checkpoint) as resumed:
            await resumed.during(60)
            assert [*came, *resumed.changes] == changes

    on(streams, scene)


@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.parametrize("operation", ["GetShardIterator", "GetRecords"])
def test_failure_that_passes_says_neither_that_a_parent_is_gone_nor_that_it_is_kept(
    operation: str, is_kept: bool
) -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        changes = line(streams, {"x": 20, "y": 0, "z": 0} if is_kept else {"y": 0, "z": 0})
        streams.fail(operation, partial(rejected, "ThrottlingException"), times=5)
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert await watching.until(len(changes)) == changes
            assert (asyncio.get_running_loop().time() < 10) == (not is_kept)

    on(streams, scene)


def test_failure_that_lasts_is_told_before_the_watch_is_in_place(streams: FakeStreams) -> None:
    streams.shards["one"].parent_id = "trimmed"

    async def scene(service: Service) -> None:
        streams.fail("GetShardIterator", partial(AwsUnreachable, "lost", cause="connect"), times=1000)
        with pytest.raises(AwsUnreachable, match="lost"):
            async with service.watch(position="TRIM_HORIZON"):
                pass
        assert 60 < asyncio.get_running_loop().time() < 65

    on(streams, scene)


def test_shard_that_goes_while_it_is_waited_for_is_done_without() -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        line(streams, {"x": 1000, "y": 0, "z": 0})
        asyncio.get_running_loop().call_later(10, streams.shards.pop, "x")
        async with service.watch(position="TRIM_HORIZON") as watching:
            checkpoint = watching.checkpoint
            assert await watching.until(2) == ["x/2", "x/3"]
        # Who has been away since may have missed it.
        async with service.watch(checkpoint=checkpoint) as resumed:
            with pytest.raises(HistoryLost) as lost:
                await resumed.during(60)
        assert (lost.value.metadata, resumed.changes) == ({"shard_id": "x"}, [])

    on(streams, scene)


def test_parent_of_an_open_shard_that_aws_does_not_know_yet_is_read_before_it() -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        changes = line(streams, {"x": 0, "y": 0})
        late = streams.shards.pop("x")
        asyncio.get_running_loop().call_later(12, streams.shards.setdefault, "x", late)
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert await watching.until(2) == changes

    on(streams, scene)


def test_other_lines_are_read_and_followed_while_the_beginning_of_one_is_waited_for(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        late = line(streams, {"x": 25, "y": 0})
        async with service.watch(position="TRIM_HORIZON") as watching:
            for generation in range(3):
                parent, child = ("one", "g0") if not generation else (f"g{generation - 1}", f"g{generation}")
                streams.write(parent, "a", generation)
                streams.close(parent, child)
            assert await watching.until(3) == ["a/0", "a/1", "a/2"]
            assert asyncio.get_running_loop().time() < 10
            assert (await watching.until(5))[3:] == late

    on(streams, scene)


def test_two_lines_of_one_ancestor_that_is_listed_late_begin_with_it_once(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        line(streams, {"x": 15, "y1": 5, "z1": 0})
        streams.add("y2", "x")
        streams.write("y2", "other", 1)
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert sorted(await watching.until(4)) == ["other/1", "x/1", "x/2", "x/3"]
            assert watching.changes[0] == "x/1"
            await watching.during(60)
            assert len(watching.changes) == 4

    on(streams, scene)


def test_more_pages_are_read_of_a_shard_that_must_have_an_end() -> None:
    lineage = Lineage({"son": OldestOfLine(), "open": After("1")})
    lineage.learn([ListedShard("son", "root")])
    gaps = Gaps()
    assert gaps.look(lineage, set(), 0) == {"root": 1}
    assert gaps.look(lineage, set(), 31) == {"root": 30, "open": 5}


def test_aws_is_not_asked_anew_while_it_gives_no_answer() -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        changes = line(streams, {"x": 40, "y": 5, "z": 0})
        async with service.watch(position="TRIM_HORIZON") as watching:
            streams.fail("GetShardIterator", partial(AwsUnreachable, "lost", cause="connect"), times=50)
            asking: list[int] = []
            for _ in range(39):
                await watching.during(1)
                asking.append(sum("Watch._ask " in str(one.get_coro()) for one in asyncio.all_tasks()))
            assert max(asking) == 1
            assert await watching.until(3) == changes

    on(streams, scene)


def test_of_shards_that_do_not_come_the_one_that_is_gone_is_told_of() -> None:
    lineage = Lineage({"a": OldestOfLine(), "b": OldestOfLine(), "c": OldestOfLine()})
    gaps = Gaps()
    assert (gaps.look(lineage, set(), 0), gaps.look(lineage, set(), 30)) == ({}, {})
    assert gaps.look(lineage, set(), 31).keys() == {"a", "b", "c"}
    with pytest.raises(HistoryLost) as lost:
        gaps.settle(lineage, {"a": Kept.WITH_RECORDS, "b": Kept.NOTHING, "c": Kept.WITH_RECORDS})
    assert lost.value.metadata == {"shard_id": "b"}


def test_few_are_asked_about_of_many_lines_that_the_stream_does_not_know(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        positions = {f"{number:x}": "<" for number in range(2000)}
        async with service.watch(checkpoint=forged(STREAM, positions), heartbeat=1) as watching:
            assert len(asyncio.all_tasks()) < 10
            with pytest.raises(HistoryLost):
                await watching.during(60)
        # And one for the shard that it does know.
        assert streams.calls["GetShardIterator"] <= 4 * 64 + 1

    on(streams, scene)
