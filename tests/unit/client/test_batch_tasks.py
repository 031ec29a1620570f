"""Batches of writes that tasks share, and that are cancelled or closed under them."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

import awsidecar
from awsidecar import aio, errors

from .batch_streams import THROTTLED, writes_done
from .batch_tasks import Slow, begin_to_leave, puts_of
from .fake_sidecar import FakeSidecar


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


async def test_a_flush_that_waited_for_its_turn_returns_when_the_task_that_left_the_block_has_done_its_writes(
    sidecar: FakeSidecar,
) -> None:
    slow = Slow(sidecar)
    async with aio.connect(sidecar.target) as client:
        batch = client.dynamodb.batch_writer("users", timeout=20)
        left = await begin_to_leave(batch, slow)
        await batch.put_item(Item={"id": 2})
        flushing = asyncio.ensure_future(batch.flush())
        await asyncio.sleep(0)
        slow.released.set()
        await left
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
