"""Batches of writes that tasks share, and that are cancelled or closed under them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

import awsidecar
from awsidecar import aio, errors
from awsidecar.dynamodb.v1 import batch_streams_pb2 as pb
from awsidecar.dynamodb.v1.failure_pb2 import Failure

from .batch_streams import THROTTLED, writes_done
from .fake_sidecar import FakeSidecar, Refused


async def test_tasks_may_share_a_batch(sidecar: FakeSidecar) -> None:
    sidecar.exchanges["BatchWriteStream"] = writes_done()
    async with aio.connect(sidecar.target) as client, client.dynamodb.batch_writer("users") as batch:

        async def write(first: int) -> None:
            for number in range(first, first + 500):
                await batch.put_item(Item={"id": number})

        await asyncio.gather(*(write(500 * task) for task in range(20)))
        await asyncio.gather(
            *(batch.put_item(Item={"id": 10_000 + number}) for number in range(3000)), batch.flush()
        )
    assert batch.done == 13_000
    sent = [write.put.item["id"].n for received in sidecar.received for write in received.message.writes]
    assert sorted(map(int, sent)) == list(range(13_000))


class Slow:
    """Says that writes are done when a test wants it to."""

    def __init__(self, sidecar: FakeSidecar, failures: dict[int, Failure | None] | None = None) -> None:
        self.reached, self.released = threading.Event(), threading.Event()
        self._outcomes = writes_done(failures)
        sidecar.exchanges["BatchWriteStream"] = self._serve

    def _serve(self, requests: Iterator[Any]) -> Iterator[Message | Refused]:
        for response in self._outcomes(requests):
            self.reached.set()
            self.released.wait(10)
            yield response


@pytest.mark.parametrize(("size", "most"), [pytest.param(1, 100, id="small"), pytest.param(50_000, 21, id="large")])
async def test_what_tasks_write_at_once_is_sent_in_requests_of_the_usual_size(
    sidecar: FakeSidecar, size: int, most: int
) -> None:
    """One that is too large is refused by gRPC, and then nobody knows which of its writes were done."""
    sidecar.exchanges["BatchWriteStream"] = writes_done()
    async with aio.connect(sidecar.target) as client, client.dynamodb.batch_writer("users", timeout=20) as batch:
        await asyncio.gather(*(batch.put_item(Item={"id": number, "b": b"x" * size}) for number in range(450)))
    assert batch.done == 450
    assert {len(received.message.writes) for received in sidecar.received} == {most, 450 % most}


async def test_a_flush_waits_for_what_was_written_before_it_and_not_for_others(sidecar: FakeSidecar) -> None:
    slow = Slow(sidecar)
    async with aio.connect(sidecar.target) as client, client.dynamodb.batch_writer("users", timeout=20) as batch:
        await batch.put_item(Item={"id": 1})
        flushing = asyncio.ensure_future(batch.flush())
        await asyncio.to_thread(slow.reached.wait, 10)
        await batch.put_item(Item={"id": 2})
        slow.released.set()
        async with asyncio.timeout(10):
            await flushing
        assert batch.done == 1
    assert batch.done == 2


async def test_a_write_of_a_task_is_done_also_while_another_task_leaves_the_block(sidecar: FakeSidecar) -> None:
    slow = Slow(sidecar)
    async with aio.connect(sidecar.target) as client:
        batch = client.dynamodb.batch_writer("users", timeout=20)
        await batch.put_item(Item={"id": 1})
        leaving = asyncio.ensure_future(batch.__aexit__(None, None, None))
        await asyncio.to_thread(slow.reached.wait, 10)
        await batch.put_item(Item={"id": 2})
        slow.released.set()
        async with asyncio.timeout(10):
            await leaving
        assert batch.done == 2


def puts_of(batch: Any, count: int, much: bytes = b"") -> asyncio.Future[list[Any]]:
    """Writes at once, in a task each; they run until they have to wait as soon as the event loop comes to them."""
    writing = (batch.put_item(Item={"id": number, "much": much}) for number in range(count))
    return asyncio.gather(*writing, return_exceptions=True)


@pytest.mark.parametrize(("before", "count"), [pytest.param(0, 100, id="due"), pytest.param(1950, 60, id="full")])
async def test_writes_that_waited_for_their_turn_are_not_sent_when_the_listener_has_ended_the_batch(
    sidecar: FakeSidecar, before: int, count: int
) -> None:
    slow = Slow(sidecar, {0: THROTTLED})

    def enough(failed: awsidecar.FailedWrite) -> None:
        raise LookupError("enough")

    async with aio.connect(sidecar.target) as client:
        batch = client.dynamodb.batch_writer("users", timeout=20, on_failure=enough)
        # So much that it is a request by itself, and the first response tells of nothing else.
        await batch.put_item(Item={"id": 0, "much": b"x" * 1024 * 1024})
        for number in range(before):
            await batch.put_item(Item={"id": number})
        flushing = asyncio.ensure_future(batch.flush())
        await asyncio.to_thread(slow.reached.wait, 10)
        writing = puts_of(batch, count)
        await asyncio.sleep(0)
        slow.released.set()
        with pytest.raises(LookupError, match="enough"):
            await flushing
        assert isinstance((await writing)[-1], RuntimeError)
        with pytest.raises(RuntimeError, match="the batch has ended"):
            await batch.__aexit__(None, None, None)
    assert sum(len(received.message.writes) for received in sidecar.received) <= 1 + before


async def test_writes_that_waited_for_their_turn_are_done_when_the_task_that_left_the_block_has_sent_them(
    sidecar: FakeSidecar,
) -> None:
    slow = Slow(sidecar)
    async with aio.connect(sidecar.target) as client:
        batch = client.dynamodb.batch_writer("users", timeout=20)
        await batch.put_item(Item={"id": 1})
        leaving = asyncio.ensure_future(batch.__aexit__(None, None, None))
        await asyncio.to_thread(slow.reached.wait, 10)
        writing = puts_of(batch, 100)
        await asyncio.sleep(0)
        slow.released.set()
        await leaving
        assert set(await writing) == {None}
    assert batch.done == 101


async def test_a_write_is_refused_when_another_task_has_begun_to_end_the_call(sidecar: FakeSidecar) -> None:
    """It would be told of as not done, or not at all."""
    ending, released = threading.Event(), threading.Event()

    def ends_late(requests: Iterator[Any]) -> Iterator[Message | Refused]:
        yield from writes_done()(requests)
        ending.set()
        released.wait(10)

    sidecar.exchanges["BatchWriteStream"] = ends_late
    async with aio.connect(sidecar.target) as client:
        batch = client.dynamodb.batch_writer("users", timeout=20)
        await batch.put_item(Item={"id": 1})
        leaving = asyncio.ensure_future(batch.__aexit__(None, None, None))
        await asyncio.to_thread(ending.wait, 10)
        with pytest.raises(RuntimeError, match="the batch has ended"):
            await batch.put_item(Item={"id": 2})
        released.set()
        await leaving
        assert batch.done == 1


class Adding:
    """Tells of writes as done, each time after a task has added one more; so there is always one that is open."""

    def __init__(self, sidecar: FakeSidecar) -> None:
        self.added, self.refusals = 0, list[BaseException]()
        self.batch: Any = None
        self._loop = asyncio.get_running_loop()
        sidecar.exchanges["BatchWriteStream"] = self._serve

    async def add(self) -> None:
        await self.batch.put_item(Item={"id": self.added})
        self.added += 1

    def _serve(self, requests: Iterator[Any]) -> Iterator[Message | Refused]:
        for response in writes_done()(requests):
            if not self.refusals:
                adding = asyncio.run_coroutine_threadsafe(self.add(), self._loop)
                self.refusals.extend(filter(None, [adding.exception(10)]))
            yield response


async def test_a_task_that_goes_on_writing_does_not_keep_another_in_the_block(sidecar: FakeSidecar) -> None:
    adding = Adding(sidecar)
    async with aio.connect(sidecar.target) as client:
        async with asyncio.timeout(10), client.dynamodb.batch_writer("users", timeout=60) as batch:
            adding.batch = batch
            await adding.add()
        assert 2 < adding.added < 10
        assert batch.done == adding.added
        assert [str(one) for one in adding.refusals] == ["the batch has ended: nothing is sent any more"]


def _none_done(requests: Iterator[Any]) -> Iterator[Message | Refused]:
    index = 0
    for request in requests:
        response = pb.BatchWriteStreamResponse()
        for _ in request.writes:
            response.outcomes.add(index=index).failure.CopyFrom(Failure(code=8, message="slow down"))
            index += 1
        yield response


async def test_tasks_that_write_again_whatever_fails_do_not_keep_another_in_the_block(sidecar: FakeSidecar) -> None:
    """The batch is full all the time."""
    sidecar.exchanges["BatchWriteStream"] = _none_done
    again: set[asyncio.Future[None]] = set()
    failing, is_over = asyncio.Event(), False

    def write_again(failed: awsidecar.FailedWrite) -> None:
        failing.set()
        if not is_over:
            assert failed.item is not None
            again.add(writing := asyncio.ensure_future(batch.put_item(Item=failed.item)))
            writing.add_done_callback(again.discard)
            writing.add_done_callback(asyncio.Future.exception)

    async with aio.connect(sidecar.target) as client:
        batch = client.dynamodb.batch_writer("users", timeout=60, on_failure=write_again)
        writing = puts_of(batch, 30, b"x" * 380_000)
        await failing.wait()
        try:
            with pytest.raises(errors.BatchFailed, match="slow down"):
                async with asyncio.timeout(30):
                    await batch.__aexit__(None, None, None)
        finally:
            is_over = True
            await asyncio.gather(writing, *again, return_exceptions=True)


async def test_what_the_listener_has_a_task_write_again_is_done_before_the_block_is_left(
    sidecar: FakeSidecar,
) -> None:
    sidecar.exchanges["BatchWriteStream"] = writes_done({0: THROTTLED, 1: THROTTLED})
    again: list[asyncio.Future[None]] = []

    def write_again(failed: awsidecar.FailedWrite) -> None:
        assert failed.item is not None
        again.append(asyncio.ensure_future(batch.put_item(Item=failed.item)))

    async with aio.connect(sidecar.target) as client:
        batch = client.dynamodb.batch_writer("users", timeout=20, on_failure=write_again)
        await batch.put_item(Item={"id": 1})
        with pytest.raises(errors.BatchFailed, match="2 of 3 writes were not done"):
            await batch.__aexit__(None, None, None)
        assert await asyncio.gather(*again) == [None, None]


async def test_a_flush_that_waited_for_its_turn_returns_when_the_task_that_left_the_block_has_done_its_writes(
    sidecar: FakeSidecar,
) -> None:
    slow = Slow(sidecar)
    async with aio.connect(sidecar.target) as client:
        batch = client.dynamodb.batch_writer("users", timeout=20)
        await batch.put_item(Item={"id": 1})
        leaving = asyncio.ensure_future(batch.__aexit__(None, None, None))
        await asyncio.to_thread(slow.reached.wait, 10)
        await batch.put_item(Item={"id": 2})
        flushing = asyncio.ensure_future(batch.flush())
        await asyncio.sleep(0)
        slow.released.set()
        await leaving
        await flushing
        assert batch.done == 2
        with pytest.raises(RuntimeError, match="the batch has ended"):
            await batch.flush()


async def test_a_flush_that_waited_for_its_turn_fails_when_the_batch_has_ended_with_its_writes_open(
    sidecar: FakeSidecar,
) -> None:
    slow = Slow(sidecar, {0: THROTTLED})

    def enough(failed: awsidecar.FailedWrite) -> None:
        raise LookupError("enough")

    async with aio.connect(sidecar.target) as client:
        batch = client.dynamodb.batch_writer("users", timeout=20, on_failure=enough)
        await batch.put_item(Item={"id": 0})
        first = asyncio.ensure_future(batch.flush())
        await asyncio.to_thread(slow.reached.wait, 10)
        await batch.put_item(Item={"id": 1})
        second = asyncio.ensure_future(batch.flush())
        await asyncio.sleep(0)
        slow.released.set()
        with pytest.raises(LookupError, match="enough"):
            await first
        with pytest.raises(RuntimeError, match="the batch has ended"):
            await second
    assert sum(len(received.message.writes) for received in sidecar.received) == 1


async def test_a_cancelled_flush_harms_no_write(sidecar: FakeSidecar) -> None:
    slow = Slow(sidecar)
    async with aio.connect(sidecar.target) as client, client.dynamodb.batch_writer("users", timeout=20) as batch:
        for number in range(250):
            await batch.put_item(Item={"id": number})
        for _ in range(3):
            flushing = asyncio.ensure_future(batch.flush())
            await asyncio.to_thread(slow.reached.wait, 10)
            flushing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await flushing
        slow.released.set()
    assert batch.done == 250


async def test_writes_of_a_batch_whose_client_is_closed_are_open(sidecar: FakeSidecar) -> None:
    slow = Slow(sidecar)
    client = aio.connect(sidecar.target)
    batch = client.dynamodb.batch_writer("users", timeout=20)
    with pytest.raises(errors.BatchFailed) as caught:
        await _written_and_closed(client, batch, slow)
    slow.released.set()
    assert [one.ambiguous for one in caught.value.failures] == [True] * 100
    assert caught.value.code is grpc.StatusCode.CANCELLED


async def _written_and_closed(client: aio.Client, batch: Any, slow: Slow) -> None:
    async with batch:
        for number in range(100):
            await batch.put_item(Item={"id": number})
        await asyncio.to_thread(slow.reached.wait, 10)
        await client.close()
