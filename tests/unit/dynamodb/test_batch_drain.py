"""A stream of batches when the sidecar drains, or cuts it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import pytest
from google.protobuf.message import Message
from tests.unit.dynamodb.fake_batches import (
    CONNECTIONS,
    SCOPE,
    FakeDynamoDb,
    FakeTiming,
    get,
    put,
    refusal,
    requests_of,
)

from awsidecar_server.aws.progress import Progress
from awsidecar_server.dynamodb.batches.entries import Outcome
from awsidecar_server.dynamodb.batches.reads import Reads
from awsidecar_server.dynamodb.batches.stream import BatchStream
from awsidecar_server.dynamodb.batches.work import Means
from awsidecar_server.dynamodb.batches.writes import Writes
from awsidecar_server.dynamodb.table_keys import TableKeys
from awsidecar_server.errors import AwsRejected, Draining

WRITES = [put(pk=str(number), v=number) for number in range(300)]


class Held:
    """What AWS waits for before it answers; `arrived` says that so many batches of writes are in flight.

    It waits twice for each batch, before it performs it and after.
    """

    def __init__(self, aws: FakeDynamoDb, batches: int = 1) -> None:
        self.waiting = 0
        self.batches = batches
        self.arrived = asyncio.Event()
        self._released = asyncio.Semaphore(0)
        aws.pause = self.pause

    async def pause(self, table: str) -> None:
        self.waiting += 1
        if self.waiting == self.batches:
            self.arrived.set()
        await self._released.acquire()

    async def go_on(self, batches: int) -> None:
        """Lets AWS answer so many batches, and whoever waits for them act on it, one after the other."""
        for _ in range(2 * batches):
            self._released.release()
            await turns()


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class Drained:
    """A stream of writes whose caller never says that it is at its end, and what it is told."""

    def __init__(self, aws: FakeDynamoDb) -> None:
        self.progress = Progress()
        self.drain = asyncio.Event()
        self.outcomes: list[Outcome] = []
        self.all_told = asyncio.Event()
        scope = replace(SCOPE, progress=self.progress)
        work = Writes(Means(aws, TableKeys(aws, CONNECTIONS)), scope)
        self.timing = FakeTiming()
        self.stream = BatchStream(work, scope, self.timing, drain=self.drain)

    async def told(self, requests: AsyncIterator[Message]) -> None:
        async with aclosing(self.stream.reports(requests)) as reports:
            async for report in reports:
                assert not report.is_deadline_spent
                self.outcomes += report.outcomes
                if len(self.outcomes) == len(WRITES):
                    self.all_told.set()

    def kinds(self) -> dict[int, str]:
        assert len({one.index for one in self.outcomes}) == len(self.outcomes)
        return {one.index: one.result.kind for one in self.outcomes}


async def endless(*requests: Message) -> AsyncIterator[Message]:
    for request in requests:
        yield request
    await asyncio.Event().wait()


async def one_request() -> Message:
    (request,) = [one async for one in requests_of(WRITES, 300)]
    return request


async def test_drain_finishes_what_is_in_flight_and_begins_nothing() -> None:
    aws = FakeDynamoDb()
    held, drained = Held(aws, 8), Drained(aws)
    telling = asyncio.ensure_future(drained.told(endless(await one_request())))
    await held.arrived.wait()
    drained.drain.set()
    await turns()
    assert not telling.done()
    await held.go_on(8)
    with pytest.raises(Draining):
        await telling
    assert aws.counts["BatchWriteItem"] == 8
    kinds = drained.kinds()
    assert sorted(kinds) == list(range(300))
    assert [index for index, kind in kinds.items() if kind == "done"] == list(range(200))
    assert {kinds[index] for index in range(200, 300)} == {"not_attempted"}
    assert len(aws.tables["T"]) == 200
    assert not drained.progress.is_ambiguous


async def test_drain_ends_a_stream_whose_caller_is_silent() -> None:
    aws = FakeDynamoDb()
    drained = Drained(aws)
    telling = asyncio.ensure_future(drained.told(endless(await one_request())))
    await drained.all_told.wait()
    drained.drain.set()
    with pytest.raises(Draining):
        await telling
    assert set(drained.kinds().values()) == {"done"}


async def test_drain_does_not_outlast_a_table_that_is_throttled() -> None:
    aws, struck = FakeDynamoDb(), asyncio.Event()

    def throttled(table: str, number: int) -> None:
        struck.set()
        raise refusal("BatchWriteItem", "ThrottlingException")

    aws.before = throttled
    drained = Drained(aws)
    telling = asyncio.ensure_future(drained.told(endless(await one_request())))
    await struck.wait()
    drained.drain.set()
    with pytest.raises(Draining):
        await telling
    assert drained.timing.now() == 0
    assert len(drained.kinds()) == 300
    failed = [one.result for one in drained.outcomes if one.result.kind == "failure"]
    assert failed
    assert all(isinstance(one.failure, AwsRejected) and not one.is_ambiguous for one in failed)
    assert not drained.progress.is_ambiguous


async def test_drain_does_not_wait_for_the_key_of_a_table() -> None:
    aws, asked = FakeDynamoDb(), asyncio.Event()

    async def hang(table: str) -> None:
        asked.set()
        await asyncio.Event().wait()

    aws.pause_describing = hang
    drained = Drained(aws)
    telling = asyncio.ensure_future(drained.told(endless(await one_request())))
    await asked.wait()
    drained.drain.set()
    with pytest.raises(Draining):
        await telling
    assert drained.kinds() == dict.fromkeys(range(300), "not_attempted")


async def test_stream_that_is_at_its_end_ends_well_in_a_drain() -> None:
    aws = FakeDynamoDb()
    held, drained = Held(aws), Drained(aws)
    telling = asyncio.ensure_future(drained.told(requests_of(WRITES[:20])))
    await held.arrived.wait()
    await turns()
    drained.drain.set()
    await held.go_on(1)
    await telling
    assert drained.kinds() == dict.fromkeys(range(20), "done")


async def test_stream_that_is_cut_in_a_write_leaves_it_open() -> None:
    aws = FakeDynamoDb()
    held, drained = Held(aws), Drained(aws)
    telling = asyncio.ensure_future(drained.told(endless(await one_request())))
    await held.arrived.wait()
    telling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await telling
    assert drained.progress.is_ambiguous
    assert drained.progress.attempts


async def test_stream_that_is_cut_before_it_told_of_a_write_leaves_it_open() -> None:
    drained = Drained(FakeDynamoDb())
    async with aclosing(drained.stream.reports(requests_of(WRITES[:20]))) as reports:
        await anext(reports)
        assert not drained.progress.is_ambiguous
    assert drained.progress.is_ambiguous


async def test_stream_of_reads_that_is_cut_leaves_nothing_open() -> None:
    aws, progress = FakeDynamoDb(), Progress()
    scope = replace(SCOPE, progress=progress)
    stream = BatchStream(Reads(Means(aws, TableKeys(aws, CONNECTIONS)), scope), scope, FakeTiming())
    async with aclosing(stream.reports(requests_of([get(pk="1")]))) as reports:
        await anext(reports)
    assert not progress.is_ambiguous
