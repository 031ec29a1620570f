"""Batches of writes whose application is told of each failure as it comes."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext, suppress

import pytest

import awsidecar
from awsidecar import aio, errors
from awsidecar.batch_writers import BatchWriter

from .batch_streams import AWAY, THROTTLED, puts, run, writes_done
from .fake_sidecar import FakeSidecar


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


def write_three(batch: BatchWriter) -> None:
    with batch:
        for number in range(3):
            batch.put_item(Item={"id": number})


def test_the_listener_may_write_again_what_failed(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    sidecar.exchanges["BatchWriteStream"] = writes_done({1: THROTTLED, 3: THROTTLED})

    def again(failed: awsidecar.FailedWrite) -> None:
        assert failed.item is not None
        batch.put_item(Item=failed.item)

    batch = client.dynamodb.batch_writer("users", timeout=5, on_failure=again)
    with pytest.raises(errors.BatchFailed) as caught:
        write_three(batch)
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
    with pytest.raises(errors.BatchFailed if is_caught else RuntimeError):
        write_three(batch)
    assert heard == ([0, 1, 2] if is_caught else [0])


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
