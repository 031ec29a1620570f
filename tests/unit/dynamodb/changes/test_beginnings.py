"""Lines whose first shards have nothing any more: what AWS keeps comes, and what is denied for a moment, too."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from google.protobuf.message import Message
from tests.unit.dynamodb.changes.fakes import FakeStreams, rejected
from tests.unit.dynamodb.changes.scenes import on
from tests.unit.dynamodb.changes.watching import Service

from awsidecar.dynamodb.v1 import streams_pb2
from awsidecar_server.errors import HistoryLost


class Walked(FakeStreams):
    """A shard without records has some pages before its end."""

    def __init__(self, pages: int = 3) -> None:
        super().__init__()
        self._pages = pages

    def _get_records(self, request: streams_pb2.GetRecordsRequest) -> Message:
        iterator, _, page = request.shard_iterator.partition("#")
        request.shard_iterator = iterator
        answer = super()._get_records(request)
        assert isinstance(answer, streams_pb2.GetRecordsResponse)
        if not (answer.records or answer.next_shard_iterator) and int(page or 0) < self._pages:
            answer.next_shard_iterator = f"{iterator}#{int(page or 0) + 1}"
        return answer


class Flickering(FakeStreams):
    """Has something of a shard only after many calls; every second one denies that there is such a shard."""

    answers = 12

    def _get_records(self, request: streams_pb2.GetRecordsRequest) -> Message:
        if not self.answers:
            return super()._get_records(request)
        self.answers -= 1
        if self.answers % 2 == 0:
            raise rejected("ResourceNotFoundException")
        return streams_pb2.GetRecordsResponse(next_shard_iterator=request.shard_iterator)


class Trimming(FakeStreams):
    """The oldest record goes between the calls that are to read it, a few times."""

    def _get_records(self, request: streams_pb2.GetRecordsRequest) -> Message:
        shard_id, index, _ = request.shard_iterator.split("|")
        if self.shards[shard_id].trimmed < 4:
            self.trim(shard_id, int(index) + 1)
        return super()._get_records(request)


def three_generations(streams: FakeStreams) -> None:
    streams.add("p")
    streams.write("p", "k", 1)
    streams.close("p", "c")
    streams.write("c", "k", 2)
    streams.write("c", "k", 3)
    streams.close("c", "d")
    streams.write("d", "k", 4)


@pytest.mark.parametrize("is_gone", [True, False])
@pytest.mark.parametrize(("kept", "expected"), [(1, ["k/3", "k/4"]), (0, ["k/4"])])
def test_what_is_kept_of_the_next_shards_comes_when_a_line_begins_with_nothing(
    is_gone: bool, kept: int, expected: list[str]
) -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        three_generations(streams)
        if is_gone:
            streams.gone.add("p")
        else:
            streams.trim("p", 1)
        if kept:
            streams.trim("c", 1)
        else:
            streams.gone.add("c")
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert await watching.until(len(expected)) == expected

    on(streams, scene)


def test_child_of_a_shard_that_has_brought_something_begins_with_its_first_record() -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        three_generations(streams)
        streams.trim("c", 1)
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert await watching.until(1) == ["k/1"]
            with pytest.raises(HistoryLost):
                await watching.during(10)

    on(streams, scene)


@pytest.mark.parametrize(
    ("operation", "code", "times"),
    [("GetShardIterator", "ResourceNotFoundException", 2), ("GetRecords", "TrimmedDataAccessException", 5)],
)
def test_beginning_that_aws_denies_for_a_moment_is_read(operation: str, code: str, times: int) -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        three_generations(streams)
        streams.fail(operation, partial(rejected, code), times=times)
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert await watching.until(4) == ["k/1", "k/2", "k/3", "k/4"]

    on(streams, scene)


def test_beginning_that_aws_denies_for_some_seconds_is_read() -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        three_generations(streams)
        streams.gone.add("p")
        asyncio.get_running_loop().call_later(2.5, streams.gone.discard, "p")
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert await watching.until(4) == ["k/1", "k/2", "k/3", "k/4"]

    on(streams, scene)


def test_beginning_that_goes_before_the_client_has_what_was_read_of_it_is_lost_history() -> None:
    streams = FakeStreams(page=1)

    async def scene(service: Service) -> None:
        streams.add("p")
        streams.write("p", "k", 1)
        streams.write("p", "k", 2)
        streams.close("p", "c")
        async with service.watch(position="TRIM_HORIZON") as watching:
            await asyncio.sleep(0.1)
            streams.gone.add("p")
            streams.expire_iterators()
            await asyncio.sleep(10)
            assert await watching.until(1) == ["k/1"]
            with pytest.raises(HistoryLost):
                await watching.during(10)

    on(streams, scene)


def test_beginning_that_aws_denies_now_and_then_is_read() -> None:
    streams = Flickering()

    async def scene(service: Service) -> None:
        three_generations(streams)
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert await watching.until(4) == ["k/1", "k/2", "k/3", "k/4"]

    on(streams, scene)


def test_denied_beginnings_keep_nothing_from_being_read_and_their_checkpoint_is_good() -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        for name in "abcdefgh":
            streams.add(name).is_closed = True
            streams.gone.add(name)
        streams.add("z")
        streams.write("z", "k", 1)
        began = asyncio.get_running_loop().time()
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert await watching.until(1) == ["k/1"]
            assert asyncio.get_running_loop().time() - began < 1
            checkpoint = watching.messages[-1].checkpoint
        streams.write("z", "k", 2)
        async with service.watch(checkpoint=checkpoint) as resumed:
            assert await resumed.until(1) == ["k/2"]
            await resumed.during(60)
            assert resumed.changes == ["k/2"]

    on(streams, scene)


@pytest.mark.parametrize("seconds", [0.3, 2])
def test_watch_that_goes_on_from_a_beginning_brings_all_that_aws_keeps_of_it(seconds: float) -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        three_generations(streams)
        streams.fail("GetRecords", partial(rejected, "ResourceNotFoundException"), times=2)
        async with service.watch(position="TRIM_HORIZON") as watching:
            await watching.during(seconds)
            first = watching.messages[0].checkpoint
        async with service.watch(checkpoint=first) as resumed:
            assert await resumed.until(4) == ["k/1", "k/2", "k/3", "k/4"]

    on(streams, scene)


def test_watch_goes_on_when_one_of_two_children_of_a_beginning_has_brought_something() -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        streams.add("p")
        streams.close("p", "c", "d")
        streams.write("c", "k", 1)
        streams.trim("c", 1)
        streams.close("c", "e")
        streams.gone.update({"p", "c"})
        streams.write("d", "l", 1)
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert await watching.until(1) == ["l/1"]
            checkpoint = watching.messages[-1].checkpoint
        streams.write("e", "k", 2)
        async with service.watch(checkpoint=checkpoint) as resumed:
            assert await resumed.until(1) == ["k/2"]

    on(streams, scene)


@pytest.mark.parametrize("is_gone", [True, False])
@pytest.mark.parametrize("children", [("c",), ("c", "d")])
def test_watch_goes_on_from_a_beginning_that_is_no_longer_listed(is_gone: bool, children: tuple[str, ...]) -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        streams.add("p")
        streams.close("p", *children)
        for number, child in enumerate(children):
            streams.write(child, "k", number)
            streams.close(child)
        streams.gone.add("p")
        async with service.watch(position="TRIM_HORIZON") as watching:
            first = watching.messages[0].checkpoint
        streams.shards["p"].is_listed = False
        if not is_gone:
            streams.gone.clear()
        async with service.watch(checkpoint=first) as resumed:
            await resumed.during(300)
            assert sorted(resumed.changes) == [f"k/{number}" for number in range(len(children))]

    on(streams, scene)


def test_beginning_that_is_no_longer_listed_and_has_no_children_is_lost_history() -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        streams.add("p").is_closed = True
        streams.gone.add("p")
        async with service.watch(position="TRIM_HORIZON") as watching:
            first = watching.messages[0].checkpoint
        streams.shards["p"].is_listed = False
        async with service.watch(checkpoint=first) as resumed:
            with pytest.raises(HistoryLost):
                await resumed.during(60)

    on(streams, scene)


def test_only_what_was_closed_when_it_began_may_be_gone_when_a_watch_goes_on(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        async with service.watch(position="TRIM_HORIZON") as watching:
            first = watching.messages[0].checkpoint
        streams.write("one", "k", 1)
        streams.close("one", "two")
        streams.gone.add("one")
        async with service.watch(checkpoint=first) as resumed:
            with pytest.raises(HistoryLost):
                await resumed.during(60)

    on(streams, scene)


def test_beginning_whose_oldest_record_goes_before_it_is_read_begins_with_the_next() -> None:
    streams = Trimming()

    async def scene(service: Service) -> None:
        streams.add("p")
        for value in range(1, 7):
            streams.write("p", "k", value)
        streams.shards["p"].is_closed = True
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert await watching.until(2) == ["k/5", "k/6"]

    on(streams, scene)


@pytest.mark.parametrize("seconds", [5, 50, 200])
@pytest.mark.parametrize("is_known", [True, False])
def test_shard_that_was_read_is_not_lost_when_one_after_it_was_done_without(is_known: bool, seconds: float) -> None:
    streams = FakeStreams()

    async def scene(service: Service) -> None:
        streams.add("g")
        streams.write("g", "k", 1)
        streams.close("g", "p")
        streams.close("p", "c")
        streams.write("c", "k", 2)
        streams.close("c", "d")
        empty = streams.shards["p"]
        if is_known:
            empty.is_listed = False
            asyncio.get_running_loop().call_later(seconds, setattr, empty, "is_listed", True)
        else:
            del streams.shards["p"]
            asyncio.get_running_loop().call_later(seconds, streams.shards.setdefault, "p", empty)
        async with service.watch(position="TRIM_HORIZON") as watching:
            await watching.during(300)
            assert sorted(watching.changes) == ["k/1", "k/2"]

    on(streams, scene)


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("pages", [3, 8, 25])
def test_shard_without_records_may_have_pages_before_its_end(is_known: bool, pages: int) -> None:
    streams = Walked(pages)

    async def scene(service: Service) -> None:
        if is_known:
            streams.add("p", is_listed=False).is_closed = True
        streams.add("c", "p")
        streams.write("c", "k", 1)
        streams.close("c", "d")
        if not is_known:
            late = streams.add("p")
            late.is_closed = True
            del streams.shards["p"]
            asyncio.get_running_loop().call_later(50, streams.shards.setdefault, "p", late)
        async with service.watch(position="TRIM_HORIZON") as watching:
            await watching.during(300)
            assert watching.changes == ["k/1"]

    on(streams, scene)


def test_first_message_waits_for_one_page_of_a_parent_that_is_not_listed() -> None:
    streams = Walked()

    async def scene(service: Service) -> None:
        streams.add("p", is_listed=False).is_closed = True
        streams.add("c", "p").is_closed = True
        began = asyncio.get_running_loop().time()
        async with service.watch(position="TRIM_HORIZON"):
            assert asyncio.get_running_loop().time() - began < 0.2

    on(streams, scene)


def test_shard_that_comes_when_it_was_done_without_and_does_not_end_is_lost_history() -> None:
    streams = Walked(40)

    async def scene(service: Service) -> None:
        streams.add("c", "p")
        streams.write("c", "k", 1)
        streams.close("c", "d")
        late = FakeStreams().add("p")
        late.is_closed = True
        asyncio.get_running_loop().call_later(50, streams.shards.setdefault, "p", late)
        async with service.watch(position="TRIM_HORIZON") as watching:
            assert await watching.until(1) == ["k/1"]
            with pytest.raises(HistoryLost) as lost:
                await watching.during(300)
        assert lost.value.metadata == {"shard_id": "p"}

    on(streams, scene)
