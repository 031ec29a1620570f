"""Batches of writes whose stream has ended while their application goes on."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import awsidecar
from awsidecar import aio, errors
from awsidecar.batch_progress import FailedWrite, WriteProgress
from awsidecar.dynamodb.v1 import batch_streams_pb2 as pb
from awsidecar.failures import raise_if_cancelled
from awsidecar.refusal import Refusal

from .batch_streams import AWAY, THROTTLED, writes_done
from .fake_sidecar import FakeSidecar


def error_of(call: Callable[..., object], *arguments: Any) -> errors.BatchFailed:
    with pytest.raises(errors.BatchFailed) as caught:
        call(*arguments)
    return caught.value


def ended(on_failure: Callable[[FailedWrite], object] | None = None) -> WriteProgress:
    """A batch whose stream broke when one write was open."""
    progress = WriteProgress("users", on_failure)
    progress.put({"id": 0}, None)
    error_of(progress.check, errors.Unavailable(Refusal(AWAY.code, "gone", "BatchWriteStream")))
    return progress


def test_the_listener_is_told_of_writes_to_a_stream_that_has_ended() -> None:
    heard: list[FailedWrite] = []
    progress = ended(heard.append)
    error_of(progress.put, {"id": 1}, None)
    error_of(progress.delete, {"id": 2}, None)
    assert [(one.index, one.item, one.key) for one in heard[1:]] == [(1, {"id": 1}, None), (2, None, {"id": 2})]
    assert {type(one.error) for one in heard} == {errors.Unavailable}


def test_errors_of_writes_to_a_stream_that_has_ended_share_what_they_tell() -> None:
    """Thousands of them may be kept: by whoever gathers what became of each write."""
    progress = ended()
    caught = [error_of(progress.put, {"id": number}, None) for number in range(1, 5_000)]
    assert [len(one.failures) for one in caught] == [*range(2, 4_001), *[4_000] * 1_000]
    assert [one.failed for one in caught] == list(range(2, 5_001))
    assert len({id(one.failures) for one in caught[3_998:]}) == 1


class Counted(dict[str, int]):
    """An item of which a test knows whether it is still there."""


def test_the_error_of_a_stream_that_has_ended_keeps_no_more_than_it_tells() -> None:
    progress, items = WriteProgress("users"), list[weakref.ref[Counted]]()

    def put(item: Counted) -> None:
        items.append(weakref.ref(item))
        progress.put(item, None)

    for number in range(5_000):
        put(Counted(id=number))
    failed = error_of(progress.check)
    assert len(failed.failures) == sum(one() is not None for one in items) == 4_000


def test_failures_are_told_by_the_order_of_the_writes_whatever_became_known_first() -> None:
    progress = WriteProgress("users")
    for number in range(4):
        progress.put({"id": number}, None)
    for index in (3, 1, 2):
        response = pb.BatchWriteStreamResponse()
        response.outcomes.add(index=index).failure.CopyFrom(THROTTLED)
        progress.note(response)
    assert [one.index for one in error_of(progress.check).failures] == [0, 1, 2, 3]


@pytest.mark.parametrize("way", ["threads", "asyncio"])
async def test_a_flush_after_the_stream_has_ended_fails(sidecar: FakeSidecar, way: str) -> None:
    """Whoever passed over the failure of a write would take what follows for done."""
    sidecar.exchanges["BatchWriteStream"] = lambda requests: iter([AWAY])

    def with_threads() -> None:
        with awsidecar.connect(sidecar.target) as client, client.dynamodb.batch_writer("users", timeout=5) as batch:
            batch.put_item(Item={"id": 1})
            for _ in range(2):
                with pytest.raises(errors.BatchFailed, match="1 of 1"):
                    batch.flush()

    async def with_asyncio() -> None:
        async with aio.connect(sidecar.target) as client, client.dynamodb.batch_writer("users", timeout=5) as batch:
            await batch.put_item(Item={"id": 1})
            ends = await asyncio.gather(batch.flush(), batch.flush(), return_exceptions=True)
            assert {type(end) for end in ends} == {errors.BatchFailed}
            with pytest.raises(errors.BatchFailed, match="1 of 1"):
                await batch.flush()

    with pytest.raises(errors.BatchFailed, match="1 of 1"):
        await (asyncio.to_thread(with_threads) if way == "threads" else with_asyncio())


async def test_a_block_that_was_left_by_an_exception_takes_nothing_more(sidecar: FakeSidecar) -> None:
    sidecar.exchanges["BatchWriteStream"] = writes_done()
    with awsidecar.connect(sidecar.target) as client:
        batch = client.dynamodb.batch_writer("users")
        with pytest.raises(LookupError), batch:
            raise LookupError
        with pytest.raises(RuntimeError, match="the batch has ended"):
            batch.put_item(Item={"id": 1})
    async with aio.connect(sidecar.target) as aio_client:
        aio_batch = aio_client.dynamodb.batch_writer("users")
        with pytest.raises(LookupError):
            async with aio_batch:
                raise LookupError
        with pytest.raises(RuntimeError, match="the batch has ended"):
            await aio_batch.put_item(Item={"id": 1})


async def test_a_cancellation_that_reaches_what_runs_in_no_task_stays_one() -> None:
    """There is nobody who could have been cancelled, and so nobody who was not."""
    ended_by: asyncio.Future[type[BaseException] | None] = asyncio.get_running_loop().create_future()

    def call() -> None:
        try:
            raise_if_cancelled()
        except asyncio.CancelledError as error:
            ended_by.set_result(type(error))
        else:
            ended_by.set_result(None)

    asyncio.get_running_loop().call_soon(call)
    assert await ended_by is asyncio.CancelledError
