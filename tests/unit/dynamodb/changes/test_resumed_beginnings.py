"""Watches that go on from beginnings which the list lacks: only what AWS denies is done without."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.dynamodb.changes.fakes import STREAM, FakeStreams
from tests.unit.dynamodb.changes.scenes import line, on
from tests.unit.dynamodb.changes.watching import Service, forged

from awsidecar_server.dynamodb.changes.gaps import Gaps
from awsidecar_server.dynamodb.changes.lineage import Lineage, ListedShard
from awsidecar_server.dynamodb.changes.positions import Oldest
from awsidecar_server.dynamodb.changes.shard_reading import Kept
from awsidecar_server.errors import AwsUnreachable, HistoryLost


async def checkpoint_at_the_beginning(service: Service) -> str:
    async with service.watch(position="TRIM_HORIZON") as watching:
        assert watching.changes == []
        return watching.messages[0].checkpoint


def at_the_beginning(shard_id: str = "p") -> str:
    """The checkpoint of a watch to which nothing has come of the closed shard with which it began."""
    return forged(STREAM, {shard_id: "?"})


def list_after(streams: FakeStreams, seconds: float, *shard_ids: str) -> None:
    for shard_id in shard_ids:
        streams.shards[shard_id].is_listed = False
        asyncio.get_running_loop().call_later(seconds, setattr, streams.shards[shard_id], "is_listed", True)


@pytest.mark.parametrize("seconds", [0.4, 5, 20])
@pytest.mark.parametrize("missing", [("p",), ("p", "c")])
@pytest.mark.parametrize("parent", [None, "trimmed"])
@pytest.mark.parametrize("is_gone", [True, False])
def test_what_is_before_a_beginning_that_is_missing_from_a_list_is_not_read_in_its_place(
    is_gone: bool, parent: str | None, missing: tuple[str, ...], seconds: float
) -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        changes = line(streams, {"g": 0, "p": 0, "c": 0}, parent)[1:]
        streams.trim("g", 1)
        if is_gone:
            streams.gone.add("g")
        list_after(streams, seconds, *missing)
        async with service.watch(checkpoint=at_the_beginning()) as resumed:
            await resumed.during(100)
            assert resumed.changes == changes

    on(streams, scene)


@pytest.mark.parametrize("parent", [None, "trimmed"])
def test_beginning_that_aws_has_and_does_not_list_in_time_is_an_error_and_is_read_after_it(
    parent: str | None,
) -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        changes = line(streams, {"g": 0, "p": 0, "c": 0}, parent)[1:]
        streams.gone.add("g")
        list_after(streams, 50, "p")
        async with service.watch(checkpoint=at_the_beginning()) as resumed:
            with pytest.raises(AwsUnreachable):
                await resumed.during(50)
            assert resumed.changes == []
        async with service.watch(checkpoint=resumed.checkpoint) as resumed:
            assert await resumed.until(2) == changes

    on(streams, scene)


def test_beginning_that_is_waited_for_holds_up_no_child_of_another_shard() -> None:
    """Not even for callers who never stay until it is given up."""
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        line(streams, {"p": 0, "c": 0})
        streams.trim("p", 1)
        streams.shards["p"].is_listed = False
        streams.add("o")
        streams.write("o", "o", 0)
        checkpoint = forged(STREAM, {"p": "?", "o": "^"})
        for number, (parent, child) in enumerate([("o", "o1"), ("o1", "o2"), ("o2", "o3")], 1):
            streams.close(parent, child)
            streams.write(child, "o", number)
            async with service.watch(checkpoint=checkpoint, heartbeat=1) as resumed:
                await resumed.during(3)
                assert resumed.changes[-1] == f"o/{number}"
                checkpoint = resumed.checkpoint
        async with service.watch(checkpoint=checkpoint) as resumed:
            assert await resumed.until(1) == ["p/2"]

    on(streams, scene)


@pytest.mark.parametrize("seconds", [0.3, 1])
def test_beginning_that_is_not_listed_and_is_denied_for_a_moment_is_waited_for(seconds: float) -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        changes = line(streams, {"p": 0, "c": 0}, is_open=False)
        list_after(streams, 10, "p")
        streams.gone.add("p")
        asyncio.get_running_loop().call_later(seconds, streams.gone.discard, "p")
        async with service.watch(checkpoint=at_the_beginning()) as resumed:
            assert await resumed.until(2) == changes

    on(streams, scene)


def test_beginning_that_goes_while_it_is_waited_for_is_done_without() -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        changes = line(streams, {"p": 0, "c": 0})
        streams.shards["p"].is_listed = False
        asyncio.get_running_loop().call_later(10, streams.gone.add, "p")
        async with service.watch(checkpoint=at_the_beginning()) as resumed:
            await resumed.during(60)
            assert resumed.changes == changes[1:]

    on(streams, scene)


def test_beginning_that_was_done_without_and_comes_with_changes_is_lost_history() -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        changes = line(streams, {"p": 0, "c": 0})
        late = streams.shards.pop("p")
        asyncio.get_running_loop().call_later(5, streams.shards.setdefault, "p", late)
        async with service.watch(checkpoint=at_the_beginning()) as resumed:
            assert await resumed.until(1) == changes[1:]
            with pytest.raises(HistoryLost) as lost:
                await resumed.during(100)
        assert lost.value.metadata == {"shard_id": "p"}

    on(streams, scene)


def test_open_child_of_a_beginning_that_is_gone_and_listed_no_more_is_read_at_once() -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        changes = line(streams, {"p": 0, "c": 0})
        streams.gone.add("p")
        first = await checkpoint_at_the_beginning(service)
        streams.shards["p"].is_listed = False
        began = asyncio.get_running_loop().time()
        async with service.watch(checkpoint=first) as resumed:
            assert await resumed.until(1) == changes[1:]
            assert asyncio.get_running_loop().time() - began < 2

    on(streams, scene)


@pytest.mark.parametrize("seconds", [3, 25])
def test_child_of_a_beginning_that_is_gone_may_be_listed_late(seconds: float) -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        changes = line(streams, {"p": 0, "c": 0})
        del streams.shards["p"]
        list_after(streams, seconds, "c")
        async with service.watch(checkpoint=at_the_beginning()) as resumed:
            assert await resumed.until(1) == changes[1:]

    on(streams, scene)


def test_beginning_with_nothing_in_it_that_is_listed_no_more_holds_nothing_up_for_longer_than_others() -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        changes = line(streams, {"p": 0, "c": 0})
        streams.trim("p", 1)
        streams.shards["p"].is_listed = False
        began = asyncio.get_running_loop().time()
        async with service.watch(checkpoint=at_the_beginning()) as resumed:
            assert await resumed.until(1) == changes[1:]
            assert 30 < asyncio.get_running_loop().time() - began < 45

    on(streams, scene)


def test_aws_is_asked_once_about_beginnings_that_it_has_and_does_not_list_until_their_time_is_over() -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        line(streams, {"p": 0, "c": 0})
        list_after(streams, 25, "p")
        async with service.watch(checkpoint=at_the_beginning()) as resumed:
            await resumed.during(20)
            assert streams.calls["GetShardIterator"] == 1

    on(streams, scene)


def two_children(streams: FakeStreams) -> None:
    streams.add("p")
    streams.write("p", "k", 1)
    streams.close("p", "c", "d")
    streams.write("c", "k", 2)
    streams.write("c", "k", 3)
    streams.write("d", "l", 1)
    streams.close("c", "e")
    streams.write("e", "k", 4)


@pytest.mark.parametrize("beginning", ["?", "<"])
@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ({"c": ">000000000000000000005"}, ["k/3", "k/4", "l/1"]),
        ({"c": "$"}, ["k/4", "l/1"]),
        ({"c": "?"}, ["k/2", "k/3", "k/4", "l/1"]),
        ({"e": "^"}, ["k/4", "l/1"]),
    ],
)
def test_shards_that_a_forged_checkpoint_names_behind_a_beginning_are_not_begun_again(
    position: dict[str, str], expected: list[str], beginning: str
) -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        two_children(streams)
        del streams.shards["p"]
        async with service.watch(checkpoint=forged(STREAM, {"p": beginning, **position})) as resumed:
            await resumed.during(200)
            assert sorted(resumed.changes) == expected
            assert [one for one in resumed.changes if one[0] == "k"] == expected[:-1]

    on(streams, scene)


@pytest.mark.parametrize("is_listed", [True, False])
def test_line_whose_end_a_forged_checkpoint_names_is_lost_history_when_aws_has_something_of_it(
    is_listed: bool,
) -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        two_children(streams)
        streams.shards["p"].is_listed = is_listed
        with pytest.raises(HistoryLost) as lost:
            async with service.watch(checkpoint=forged(STREAM, {"c": "^", "p": "<"})) as resumed:
                await resumed.during(100)
        assert lost.value.metadata == {"shard_id": "p"}

    on(streams, scene)


def test_beginning_is_not_lost_when_the_list_that_comes_meanwhile_lacks_its_children() -> None:
    lineage, gaps = Lineage({"p": Oldest()}), Gaps()
    lineage.learn([ListedShard("c", "p")])
    assert gaps.look(lineage, {"p"}, 0) == {"p": 1}
    lineage.learn([])
    assert gaps.look(lineage, {"p"}, 1) == {}
    assert gaps.settle(lineage, {"p": Kept.NOTHING}) == {}
    lineage.learn([ListedShard("c", "p")])
    assert gaps.look(lineage, {"p"}, 31) == {"p": 30}
    assert gaps.settle(lineage, {"p": Kept.NOTHING}) == {"c": Oldest()}
