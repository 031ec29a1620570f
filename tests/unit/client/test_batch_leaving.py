"""Batches of writes that one task leaves while others write."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.message import Message

import awsidecar
from awsidecar import aio, errors
from awsidecar.dynamodb.v1 import batch_streams_pb2 as pb
from awsidecar.dynamodb.v1.failure_pb2 import Failure

from .batch_streams import THROTTLED, writes_done
from .batch_tasks import Slow, begin_to_leave, puts_of
from .fake_sidecar import FakeSidecar, Refused


async def test_a_write_of_a_task_is_done_also_while_another_task_leaves_the_block(sidecar: FakeSidecar) -> None:
    slow = Slow(sidecar)
    async with aio.connect(sidecar.target) as client:
        batch = client.dynamodb.batch_writer("users", timeout=20)
        left = await begin_to_leave(batch, slow)
        await batch.put_item(Item={"id": 2})
        slow.released.set()
        async with asyncio.timeout(10):
            await left
        assert batch.done == 2


async def test_writes_that_waited_for_their_turn_are_done_when_the_task_that_left_the_block_has_sent_them(
    sidecar: FakeSidecar,
) -> None:
    slow = Slow(sidecar)
    async with aio.connect(sidecar.target) as client:
        batch = client.dynamodb.batch_writer("users", timeout=20)
        left = await begin_to_leave(batch, slow)
        writing = puts_of(batch, 100)
        await asyncio.sleep(0)
        slow.released.set()
        await left
        assert set(await writing) == {None}
    assert batch.done == 101


async def test_a_task_whose_write_is_sent_goes_on_writing_while_another_leaves_the_block(
    sidecar: FakeSidecar,
) -> None:
    sidecar.exchanges["BatchWriteStream"] = writes_done()

    async def write(count: int) -> None:
        for number in range(count):
            await batch.put_item(Item={"id": number})

    async with aio.connect(sidecar.target) as client:
        async with client.dynamodb.batch_writer("users", timeout=20) as batch:
            writing = asyncio.create_task(write(150))
            # It comes to its hundredth write, which it sends.
            await asyncio.sleep(0)
        await writing
    assert batch.done == 150


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


async def test_thousands_of_tasks_that_go_on_writing_are_not_served_before_another_leaves_the_block(
    sidecar: FakeSidecar,
) -> None:
    sidecar.exchanges["BatchWriteStream"] = writes_done()

    async with aio.connect(sidecar.target) as client:
        async with client.dynamodb.batch_writer("users", timeout=60) as batch:
            writing = [asyncio.create_task(_write_on(batch)) for _ in range(2_100)]
            # They begin, and what they write takes all the room there is.
            await asyncio.sleep(0)
        ends = await asyncio.gather(*writing, return_exceptions=True)
    assert {type(end) for end in ends} == {RuntimeError}
    assert batch.done < 5_000


@pytest.mark.parametrize("passes", range(1, 13))
async def test_who_waits_for_a_task_that_leaves_the_block_is_refused_when_that_is_cancelled(
    sidecar: FakeSidecar, passes: int
) -> None:
    """Its turn may come in the same pass of the event loop."""
    slow = Slow(sidecar, {0: THROTTLED})

    def stop(failed: awsidecar.FailedWrite) -> None:
        leaving.cancel()

    async with aio.connect(sidecar.target) as client:
        batch = client.dynamodb.batch_writer("users", timeout=20, on_failure=stop)
        for number in range(1_999):
            await batch.put_item(Item={"id": number})
        writing = asyncio.create_task(_write_on(batch))
        await asyncio.to_thread(slow.reached.wait, 10)
        for _ in range(passes):
            await asyncio.sleep(0)
        leaving = asyncio.create_task(batch.__aexit__(None, None, None))
        await asyncio.sleep(0)
        slow.released.set()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        with pytest.raises(RuntimeError, match="the batch has ended"):
            await writing


async def _write_on(batch: Any) -> None:
    while True:
        await batch.put_item(Item={"id": 1})


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
