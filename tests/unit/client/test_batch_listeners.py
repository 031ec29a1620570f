"""Batches of writes whose application is told of each failure as it comes."""

from __future__ import annotations

import asyncio
import gc
import inspect
import traceback
import weakref
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

import awsidecar
from awsidecar import aio, errors
from awsidecar.batch_progress import WriteProgress
from awsidecar.batch_writers import BatchWriter
from awsidecar.dynamodb.v1 import batch_streams_pb2 as pb

from .batch_streams import AWAY, THROTTLED, puts, run, writes_done
from .fake_sidecar import FakeSidecar, Refused, details_of

DRAINING = Refused(grpc.StatusCode.UNAVAILABLE, "shutting down", details_of("DRAINING", "awsidecar"))


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Nothing that is part of a cycle is freed."""
    gc.disable()
    yield
    gc.enable()


def test_failures_are_counted_and_the_first_are_kept(sidecar: FakeSidecar, way: str) -> None:
    sidecar.exchanges["BatchWriteStream"] = writes_done(dict.fromkeys(range(1, 6000), THROTTLED))
    heard: list[awsidecar.FailedWrite] = []
    with pytest.raises(errors.BatchFailed, match="5999 of 6000 writes were not done") as caught:
        run(sidecar, way, puts(6000), table_name="users", on_failure=heard.append)
    assert [one.index for one in heard] == list(range(1, 6000))
    assert [one.index for one in caught.value.failures] == list(range(1, 4001))
    assert (caught.value.failed, caught.value.done, caught.value.ambiguous) == (5999, 1, False)


def test_what_the_listener_raises_ends_the_batch(sidecar: FakeSidecar, way: str) -> None:
    sidecar.exchanges["BatchWriteStream"] = writes_done({7: THROTTLED, 8: THROTTLED})
    heard: list[int] = []

    def enough(failed: awsidecar.FailedWrite) -> None:
        heard.append(failed.index)
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        run(sidecar, way, puts(9000), table_name="users", on_failure=enough)
    assert heard == [7]
    assert sum(len(received.message.writes) for received in sidecar.received) < 9000


def test_what_the_listener_was_not_told_of_when_it_ended_the_batch_it_never_hears_of() -> None:
    """Also when another task has taken one more response by then."""
    heard: list[int] = []

    def enough(failed: awsidecar.FailedWrite) -> None:
        heard.append(failed.index)
        raise LookupError("enough")

    progress = WriteProgress("users", enough)
    for number in range(4):
        progress.put({"id": number}, None)
    for first in (0, 2):
        response = pb.BatchWriteStreamResponse()
        for index in (first, first + 1):
            response.outcomes.add(index=index).failure.CopyFrom(THROTTLED)
        with pytest.raises(LookupError):
            progress.note(response)
    assert heard == [0, 2]


def write(batch: BatchWriter, count: int = 3) -> None:
    with batch:
        for number in range(count):
            batch.put_item(Item={"id": number})


def test_the_listener_may_write_again_what_failed(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    sidecar.exchanges["BatchWriteStream"] = writes_done({1: THROTTLED, 3: THROTTLED})

    def again(failed: awsidecar.FailedWrite) -> None:
        assert failed.item is not None
        batch.put_item(Item=failed.item)

    batch = client.dynamodb.batch_writer("users", timeout=5, on_failure=again)
    with pytest.raises(errors.BatchFailed) as caught:
        write(batch)
    assert [one.index for one in caught.value.failures] == [1, 3]
    assert caught.value.done == 3


@pytest.mark.parametrize("is_caught", [True, False])
def test_the_listener_cannot_write_to_a_stream_that_has_ended(
    sidecar: FakeSidecar, client: awsidecar.Client, is_caught: bool
) -> None:
    """Each write would fail and be told of, for ever."""
    sidecar.exchanges["BatchWriteStream"] = lambda requests: iter([AWAY])
    heard: list[int] = []

    def again(failed: awsidecar.FailedWrite) -> None:
        heard.append(failed.index)
        assert len(heard) < 100
        with suppress(RuntimeError) if is_caught else nullcontext():
            batch.put_item(Item={"id": 1})

    batch = client.dynamodb.batch_writer("users", timeout=5, on_failure=again)
    with pytest.raises(errors.BatchFailed) as caught:
        write(batch)
    assert heard == [one.index for one in caught.value.failures] == [0, 1, 2]
    assert (caught.value.failed, caught.value.done) == (3, 0)


class Held:
    """Is held by a frame, and tells by its end that of the frame."""


@pytest.mark.parametrize("is_caught", [True, False])
def test_writes_that_are_refused_to_the_listener_leave_nothing_for_the_garbage_collector(
    no_collection: None, is_caught: bool
) -> None:
    held: list[weakref.ref[Held]] = []

    def again(failed: awsidecar.FailedWrite) -> None:
        local = Held()
        held.append(weakref.ref(local))
        with suppress(RuntimeError) if is_caught else nullcontext():
            progress.put({"id": 1}, None)

    progress = WriteProgress("users", again)
    for number in range(3):
        progress.put({"id": number}, None)
    with suppress(errors.BatchFailed):
        progress.check()
    assert [one() for one in held] == [None, None, None]


def test_a_write_that_is_refused_after_the_end_leaves_nothing_for_the_garbage_collector(
    no_collection: None,
) -> None:
    progress = WriteProgress("users")
    progress.is_closed = True
    ways: list[list[str]] = []

    def write_late() -> weakref.ref[Held]:
        local = Held()
        try:
            progress.put({"id": 1}, None)
        except RuntimeError as refused:
            ways.append([frame.name for frame in traceback.extract_tb(refused.__traceback__)])
        return weakref.ref(local)

    assert write_late()() is None
    assert ways == [["write_late", "put", "_named", "check_open"]]


def test_another_error_that_the_listener_raises_after_a_refused_write_is_not_passed_over(
    sidecar: FakeSidecar, client: awsidecar.Client
) -> None:
    sidecar.exchanges["BatchWriteStream"] = lambda requests: iter([AWAY])
    heard: list[int] = []

    def enough(failed: awsidecar.FailedWrite) -> None:
        heard.append(failed.index)
        with suppress(RuntimeError):
            batch.put_item(Item={"id": 1})
        raise RuntimeError("enough")

    batch = client.dynamodb.batch_writer("users", timeout=5, on_failure=enough)
    with pytest.raises(RuntimeError, match="enough"):
        write(batch)
    assert heard == [0]


def test_the_end_of_another_batch_is_not_passed_over(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    sidecar.exchanges["BatchWriteStream"] = writes_done({1: THROTTLED})
    with client.dynamodb.batch_writer("users") as other:
        pass

    def elsewhere(failed: awsidecar.FailedWrite) -> None:
        other.put_item(Item={"id": 1})

    with pytest.raises(RuntimeError, match="the batch has ended"):
        write(client.dynamodb.batch_writer("users", timeout=5, on_failure=elsewhere))


@pytest.mark.parametrize("end", [DRAINING, pb.BatchWriteStreamResponse(deadline_spent=True)])
def test_what_was_done_is_not_told_of_when_the_stream_ends_after_the_listener_wrote_again(
    sidecar: FakeSidecar, client: awsidecar.Client, end: Message | Refused
) -> None:
    """The batch is full, so that each write takes a response, and one response tells of the failure and of what is done."""

    def serve(requests: Iterator[Any]) -> Iterator[Message | Refused]:
        read = 0
        while read < 2000:
            read += len(next(requests).writes)
        response = pb.BatchWriteStreamResponse()
        response.outcomes.add(index=0).failure.CopyFrom(THROTTLED)
        for index in range(1, 500):
            response.outcomes.add(index=index).done.SetInParent()
        yield response
        yield end

    sidecar.exchanges["BatchWriteStream"] = serve
    heard: list[int] = []

    def again(failed: awsidecar.FailedWrite) -> None:
        heard.append(failed.index)
        batch.put_item(Item={"id": failed.index})

    batch = client.dynamodb.batch_writer("users", timeout=5, on_failure=again)
    with pytest.raises(errors.BatchFailed) as caught:
        write(batch, 2500)
    # One more than were given: the first, written again.
    assert heard == [0, *range(500, batch.done + caught.value.failed)]
    assert (caught.value.done, caught.value.failed, caught.value.ambiguous) == (499, len(heard), False)


def depth() -> int:
    """How many calls deep this one is."""
    return sum(1 for _ in traceback.walk_stack(inspect.currentframe()))


def test_the_listener_may_write_again_any_number(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    """It is called by itself at no time."""
    sidecar.exchanges["BatchWriteStream"] = writes_done(dict.fromkeys(range(7500), THROTTLED))
    depths: set[int] = set()
    most_open = 0

    def again(failed: awsidecar.FailedWrite) -> None:
        nonlocal most_open
        depths.add(depth())
        batch.put_item(Item={"id": failed.index})
        most_open = max(most_open, len(batch._progress._open))

    batch = client.dynamodb.batch_writer("users", timeout=60, on_failure=again)
    with pytest.raises(errors.BatchFailed) as caught:
        write(batch, 2500)
    assert (caught.value.failed, caught.value.done) == (7500, 2500)
    assert max(depths) - min(depths) < 10
    assert most_open <= 2000


def test_a_listener_that_writes_more_than_may_be_under_way_is_told_of_one_write_after_the_other(
    sidecar: FakeSidecar, client: awsidecar.Client
) -> None:
    sidecar.exchanges["BatchWriteStream"] = writes_done(dict.fromkeys(range(100), THROTTLED))
    heard: list[int] = []

    def write_much(failed: awsidecar.FailedWrite) -> None:
        heard.append(failed.index)
        for number in range(30):
            batch.put_item(Item={"id": number})
            assert heard[-1] == failed.index

    batch = client.dynamodb.batch_writer("users", timeout=20, on_failure=write_much)
    with pytest.raises(errors.BatchFailed) as caught:
        write(batch, 100)
    assert heard == list(range(100))
    assert (caught.value.failed, caught.value.done) == (100, 3000)


def test_the_listener_cannot_flush(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    """The outcomes that it would wait for may be in the response of which it is told."""
    sidecar.exchanges["BatchWriteStream"] = writes_done({1: THROTTLED})

    def flush(failed: awsidecar.FailedWrite) -> None:
        batch.flush()

    batch = client.dynamodb.batch_writer("users", timeout=5, on_failure=flush)
    with pytest.raises(RuntimeError, match=r"flush\(\) in on_failure"):
        write(batch)


def test_an_error_of_the_sidecar_that_the_listener_raises_is_not_that_of_the_stream(
    sidecar: FakeSidecar, way: str
) -> None:
    """It says nothing of the writes that are open."""
    sidecar.exchanges["BatchWriteStream"] = writes_done({7: THROTTLED})
    heard: list[int] = []

    def report(failed: awsidecar.FailedWrite) -> None:
        heard.append(failed.index)
        assert failed.error is not None
        raise failed.error

    with pytest.raises(errors.ProvisionedThroughputExceededException, match="slow down"):
        run(sidecar, way, puts(300), table_name="users", on_failure=report)
    assert heard == [7]


@pytest.mark.parametrize("way", ["threads", "asyncio"])
async def test_a_batch_that_its_listener_ended_goes_no_further(sidecar: FakeSidecar, way: str) -> None:
    """Also when its application goes on after the failure of a write."""
    sidecar.exchanges["BatchWriteStream"] = writes_done({7: THROTTLED})
    ends: list[type[Exception]] = []

    def enough(failed: awsidecar.FailedWrite) -> None:
        raise LookupError("enough")

    def with_threads() -> None:
        with (
            awsidecar.connect(sidecar.target) as client,
            client.dynamodb.batch_writer("users", on_failure=enough) as batch,
        ):
            for number in range(3000):
                try:
                    batch.put_item(Item={"id": number})
                except (LookupError, RuntimeError) as failure:
                    ends.append(type(failure))

    async def with_asyncio() -> None:
        async with (
            aio.connect(sidecar.target) as client,
            client.dynamodb.batch_writer("users", on_failure=enough) as batch,
        ):
            for number in range(3000):
                try:
                    await batch.put_item(Item={"id": number})
                except (LookupError, RuntimeError) as failure:
                    ends.append(type(failure))

    with pytest.raises(RuntimeError, match="the batch has ended"):
        await (asyncio.to_thread(with_threads) if way == "threads" else with_asyncio())
    assert ends[0] is LookupError
    assert set(ends[1:]) == {RuntimeError}
