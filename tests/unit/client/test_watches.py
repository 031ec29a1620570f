from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

import awsidecar
from awsidecar import aio, errors
from awsidecar.dynamodb.v1.watch_pb2 import WatchTableResponse
from awsidecar.watches import AioWatch, Watch

from .fake_sidecar import FakeSidecar, Refused, details_of

AWAY = Refused(grpc.StatusCode.UNAVAILABLE, "Socket closed")
DRAINING = Refused(grpc.StatusCode.UNAVAILABLE, "bye", details_of("DRAINING", "awsidecar"))
AWS_AWAY = Refused(grpc.StatusCode.UNAVAILABLE, "no answer", details_of("AWS_UNREACHABLE", "awsidecar"))
LATE = Refused(grpc.StatusCode.DEADLINE_EXCEEDED, "late")
LOST = Refused(grpc.StatusCode.OUT_OF_RANGE, "gone", details_of("HISTORY_LOST", "awsidecar", shard_id="shardId-1"))


def changes(checkpoint: str, *values: int) -> WatchTableResponse:
    """A message; a heartbeat when it has no value."""
    message = WatchTableResponse(checkpoint=checkpoint, shard_id="shardId-1" if values else "")
    for value in values:
        record = message.records.add(event_name="MODIFY")
        record.dynamodb.keys.attributes["id"].s = "a"
        record.dynamodb.new_image.attributes["value"].n = str(value)
    return message


def values_of(records: list[Any]) -> list[int]:
    return [record["dynamodb"]["NewImage"]["value"] for record in records]


class Watching:
    """Reads the watch of either client, with pauses that are only written down."""

    def __init__(self, target: str, style: str) -> None:
        self.target = target
        self.style = style
        self.pauses: list[float] = []
        self.seconds = 0.0
        self.checkpoint: str | None = None
        self.checkpoints: list[str | None] = []
        self.records: list[Any] = []

    def read(self, count: int, **arguments: Any) -> list[int]:
        """So many changes; notes the checkpoint at each of them, and the one at the end."""
        if self.style == "threads":
            self._read(count, arguments)
        else:
            asyncio.run(self._read_aio(count, arguments))
        return values_of(self.records)

    def begin_twice(self, later: Callable[[], None], **arguments: Any) -> None:
        """Fails to begin because the sidecar is away, and begins once more an hour later."""
        if self.style == "threads":
            self._begin_twice(later, arguments)
        else:
            asyncio.run(self._begin_twice_aio(later, arguments))

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.seconds += seconds

    async def _aio_pause(self, seconds: float) -> None:
        self._pause(seconds)

    def _timed(self, watch: Watch | AioWatch) -> None:
        watch._progress._clock = lambda: self.seconds

    def _read(self, count: int, arguments: Any) -> None:
        with awsidecar.connect(self.target) as client:
            watch = client.dynamodb.watch_table("users", **arguments)
            watch._pause = self._pause
            self._timed(watch)
            try:
                for record in itertools.islice(watch, count):
                    self.records.append(record)
                    self.checkpoints.append(watch.checkpoint)
            finally:
                self.checkpoint = watch.checkpoint

    def _begin_twice(self, later: Callable[[], None], arguments: Any) -> None:
        with awsidecar.connect(self.target) as client:
            watch = client.dynamodb.watch_table("users", **arguments)
            watch._pause = self._pause
            self._timed(watch)
            with pytest.raises(errors.Unavailable):
                watch.begin()
            self.seconds += 3600
            later()
            watch.begin()
            self.checkpoint = watch.checkpoint

    async def _begin_twice_aio(self, later: Callable[[], None], arguments: Any) -> None:
        async with aio.connect(self.target) as client:
            watch = client.dynamodb.watch_table("users", **arguments)
            watch._pause = self._aio_pause
            self._timed(watch)
            with pytest.raises(errors.Unavailable):
                await watch.begin()
            self.seconds += 3600
            later()
            await watch.begin()
            self.checkpoint = watch.checkpoint

    async def _read_aio(self, count: int, arguments: Any) -> None:
        async with aio.connect(self.target) as client:
            watch = client.dynamodb.watch_table("users", **arguments)
            watch._pause = self._aio_pause
            self._timed(watch)
            try:
                async for record in watch:
                    self.records.append(record)
                    self.checkpoints.append(watch.checkpoint)
                    if len(self.records) == count:
                        break
            finally:
                self.checkpoint = watch.checkpoint


@pytest.fixture(params=["threads", "asyncio"])
def watching(request: pytest.FixtureRequest, sidecar: FakeSidecar) -> Watching:
    return Watching(sidecar.target, request.param)


def starts(sidecar: FakeSidecar) -> list[tuple[str, str]]:
    return [(one.message.position, one.message.checkpoint) for one in sidecar.received]


def test_changes_come_one_by_one_as_records_have_them(sidecar: FakeSidecar, watching: Watching) -> None:
    sidecar.answer("WatchTable", [changes("c0"), changes("c1", 1, 2), changes("c2"), changes("c3", 3), LOST])
    assert watching.read(3, heartbeat=2.5, max_records=7) == [1, 2, 3]
    assert watching.records[0] == {
        "eventName": "MODIFY",
        "dynamodb": {"Keys": {"id": "a"}, "NewImage": {"value": 1}},
    }
    (request,) = (one.message for one in sidecar.received)
    assert (request.table_name, request.position, request.max_records) == ("users", "LATEST", 7)
    assert request.heartbeat_interval.ToMilliseconds() == 2500


def test_checkpoint_is_behind_changes_that_the_application_has_dealt_with(
    sidecar: FakeSidecar, watching: Watching
) -> None:
    sidecar.answer("WatchTable", [changes("c0"), changes("c1", 1, 2), changes("", 3), changes("c3"), LOST])
    with pytest.raises(errors.OutOfRange):
        watching.read(9)
    assert watching.checkpoints == ["c0", "c0", "c1"]
    assert watching.checkpoint == "c3"


@pytest.mark.parametrize("gone", [AWAY, DRAINING, AWS_AWAY, LATE])
def test_watch_goes_on_after_its_newest_checkpoint(sidecar: FakeSidecar, watching: Watching, gone: Refused) -> None:
    sidecar.answer(
        "WatchTable",
        [changes("c0"), changes("c1", 1), gone],
        [changes("c1"), gone],
        [changes("c1"), changes("c2", 2), LOST],
    )
    assert watching.read(2, start="TRIM_HORIZON") == [1, 2]
    assert starts(sidecar) == [("TRIM_HORIZON", ""), ("", "c1"), ("", "c1")]
    assert watching.pauses == [0.1, 0.1]


def test_watch_begins_with_a_checkpoint(sidecar: FakeSidecar, watching: Watching) -> None:
    sidecar.answer("WatchTable", [changes("c5"), changes("c6", 6), LOST])
    watching.read(1, checkpoint="c5")
    assert starts(sidecar) == [("", "c5")]


def test_lost_history_is_the_applications_to_deal_with(sidecar: FakeSidecar, watching: Watching) -> None:
    sidecar.answer("WatchTable", [changes("c0"), LOST])
    with pytest.raises(errors.HistoryLost) as lost:
        watching.read(1)
    assert (lost.value.shard_id, watching.pauses) == ("shardId-1", [])


def test_sidecar_that_stays_away_is_an_error_after_a_while(sidecar: FakeSidecar, watching: Watching) -> None:
    sidecar.answer("WatchTable", [AWAY])
    with pytest.raises(errors.Unavailable):
        watching.read(1, patience=60)
    assert 50 < watching.seconds <= 60
    assert max(watching.pauses) == 5


def test_watch_is_in_place_when_it_has_begun(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    sidecar.answer("WatchTable", [changes("c0"), changes("c1", 1), LOST])
    watch = client.dynamodb.watch_table("users")
    before = watch.checkpoint
    watch.begin()
    watch.begin()
    assert (before, watch.checkpoint) == (None, "c0")
    assert values_of([next(iter(watch))]) == [1]
    assert len(sidecar.received) == 1


async def test_watch_is_in_place_when_it_has_begun_for_asyncio(sidecar: FakeSidecar) -> None:
    sidecar.answer("WatchTable", [changes("c0"), changes("c1", 1), LOST])
    async with aio.connect(sidecar.target) as client:
        watch = client.dynamodb.watch_table("users")
        await watch.begin()
        await watch.begin()
        assert watch.checkpoint == "c0"
        assert values_of([await anext(aiter(watch))]) == [1]
    assert len(sidecar.received) == 1


def test_watch_whose_beginning_failed_begins_again(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    for begins in (True, False):
        sidecar.answer("WatchTable", [LOST], [changes("c0"), changes("c1", 1), LOST])
        watch = client.dynamodb.watch_table("users")
        with pytest.raises(errors.HistoryLost):
            watch.begin()
        if begins:
            watch.begin()
            assert watch.checkpoint == "c0"
        assert values_of([next(iter(watch))]) == [1]


def test_watch_that_begins_again_is_as_patient_as_at_first(sidecar: FakeSidecar, watching: Watching) -> None:
    sidecar.answer("WatchTable", [AWAY])
    watching.begin_twice(later=lambda: sidecar.answer("WatchTable", [AWAY], [changes("c0"), LOST]), patience=60)
    assert watching.checkpoint == "c0"
    assert watching.pauses[-1] == 0.1


async def test_watch_whose_beginning_was_cancelled_begins_again(sidecar: FakeSidecar) -> None:
    reached, released = threading.Event(), threading.Event()

    class Stalls(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            reached.set()
            released.wait(10)
            return iter(())

    sidecar.answer("WatchTable", Stalls(), [changes("c0"), changes("c1", 1), LOST])
    async with aio.connect(sidecar.target) as client:
        watch = client.dynamodb.watch_table("users")
        beginning = asyncio.ensure_future(watch.begin())
        await asyncio.to_thread(reached.wait, 10)
        beginning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await beginning
        released.set()
        await asyncio.gather(watch.begin(), watch.begin())
        assert values_of([await anext(aiter(watch))]) == [1]
    assert len(sidecar.received) == 2


async def test_iteration_takes_over_what_another_task_is_beginning(sidecar: FakeSidecar) -> None:
    reached, released = threading.Event(), threading.Event()

    class Slow(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            reached.set()
            released.wait(10)
            return super().__iter__()

    sidecar.answer("WatchTable", Slow([changes("c0"), changes("c1", 1), LOST]))
    async with aio.connect(sidecar.target) as client:
        watch = client.dynamodb.watch_table("users")
        beginning = asyncio.ensure_future(watch.begin())
        await asyncio.to_thread(reached.wait, 10)
        iterating = asyncio.ensure_future(anext(aiter(watch)))
        await asyncio.sleep(0)
        released.set()
        assert values_of([await iterating]) == [1]
        await beginning
    assert len(sidecar.received) == 1


def test_iterating_once_more_goes_on(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    sidecar.answer("WatchTable", [changes("c0"), changes("c1", 1, 2), changes("c2", 3), LOST])
    watch = client.dynamodb.watch_table("users")
    take: Callable[[int], list[int]] = lambda count: values_of(list(itertools.islice(watch, count)))  # noqa: E731
    assert take(3) == [1, 2, 3]
    take(1)
    assert starts(sidecar) == [("LATEST", ""), ("", "c1")]
