"""Streams of writes that end before all is done: out of time, left by their caller, or by a defect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from google.protobuf.message import Message
from tests.unit.dynamodb.batch_writing import failure_of, kinds, outcomes_of, stream_of
from tests.unit.dynamodb.fake_batches import (
    CONNECTIONS,
    SCOPE,
    FakeDynamoDb,
    FakeTiming,
    put,
    refusal,
    requests_of,
    told,
)

from awsidecar.dynamodb.v1.batch_streams_pb2 import BatchWriteStreamRequest, StreamedWrite
from awsidecar_server.dynamodb.batches.entries import Outcome
from awsidecar_server.dynamodb.batches.stream import MOST_UNTOLD, BatchStream
from awsidecar_server.dynamodb.batches.work import Means
from awsidecar_server.dynamodb.batches.writes import Writes
from awsidecar_server.dynamodb.table_keys import TableKeys
from awsidecar_server.errors import DeadlineSpent, InvalidRequest, LimitReached
from awsidecar_server.operations import Scope


async def test_without_a_deadline_throttling_comes_to_an_end() -> None:
    aws, timing = FakeDynamoDb(), FakeTiming()
    aws.unprocessed = lambda size: size
    outcomes, _ = await told(stream_of(aws, timing), requests_of([put(pk="1", v=1)]))
    assert kinds(outcomes) == ["failure"]
    assert isinstance(outcomes[0].result.failure, LimitReached)
    assert outcomes[0].result.failure.reason == "UNPROCESSED"
    assert not outcomes[0].result.is_ambiguous
    assert timing.now() < 180


async def test_a_little_before_the_deadline_all_are_told_of() -> None:
    """One is done, one hangs, one has been left unprocessed, and one waits for the one that hangs."""
    aws, timing = FakeDynamoDb({"T": ("pk",), "Hangs": ("pk",), "Busy": ("pk",)}), FakeTiming()
    aws.pause = lambda table: asyncio.Event().wait() if table == "Hangs" else asyncio.sleep(0)

    def throttles(table: str, number: int) -> None:
        if table == "Busy":
            raise refusal("BatchWriteItem", "ThrottlingException")

    aws.before = throttles
    writes = [put("T", pk="1", v=1), put("Hangs", pk="1", v=1), put("Hangs", pk="1", v=2), put("Busy", pk="1", v=1)]
    outcomes, reports = await told(stream_of(aws, timing, deadline=10.0), requests_of(writes))
    assert kinds(outcomes) == ["done", "failure", "not_attempted", "failure"]
    assert isinstance(failure_of(outcomes, 1), DeadlineSpent)
    assert failure_of(outcomes, 3).code == "ThrottlingException"
    assert {outcome.index for outcome in outcomes if outcome.result.is_ambiguous} == {1}
    assert timing.now() == 9.5
    assert [report.is_deadline_spent for report in reports] == [False] * (len(reports) - 1) + [True]


async def test_when_time_is_up_all_is_told_of_that_the_caller_still_sends() -> None:
    """It learns from the first of these words that it may stop."""
    aws, timing = FakeDynamoDb(), FakeTiming()
    aws.pause = lambda table: asyncio.Event().wait()
    told_of = asyncio.Event()

    async def requests() -> AsyncIterator[Message]:
        yield BatchWriteStreamRequest(writes=[put(pk="1", v=1)])
        await told_of.wait()
        yield BatchWriteStreamRequest(writes=[put(pk="2", v=1), StreamedWrite(table_name="T")])

    outcomes: list[Outcome] = []
    async for report in stream_of(aws, timing, deadline=1.0).reports(requests()):
        assert report.is_deadline_spent
        outcomes += report.outcomes
        told_of.set()
    assert kinds(outcomes) == ["failure", "not_attempted", "failure"]
    assert timing.now() == 0.9


async def test_when_time_is_up_a_caller_without_writes_is_told_too() -> None:
    told_of = asyncio.Event()

    async def requests() -> AsyncIterator[Message]:
        await told_of.wait()
        for request in list[Message]():
            yield request

    reports = stream_of(FakeDynamoDb(), deadline=1.0).reports(requests())
    assert (await anext(reports)).is_deadline_spent
    told_of.set()
    assert [report async for report in reports] == []


async def test_a_key_that_nobody_tells_holds_nothing_up_when_time_is_up() -> None:
    aws = FakeDynamoDb()
    keys = TableKeys(aws, CONNECTIONS)

    async def never(*asked: object, **how: object) -> None:
        await asyncio.Event().wait()

    keys.of = never  # type: ignore[method-assign]
    scope = Scope(SCOPE.caller, SCOPE.region, 10.0)
    stream = BatchStream(Writes(Means(aws, keys), scope), scope, FakeTiming())
    outcomes, _ = await told(stream, requests_of([put(pk="1", v=1)]))
    assert kinds(outcomes) == ["not_attempted"]


async def test_at_the_deadline_what_waits_for_the_key_of_its_table_was_not_attempted_and_the_rest_is_done() -> None:
    aws = FakeDynamoDb({"T": ("pk",), "slow": ("pk",)})

    async def hang(table: str) -> None:
        if table == "slow":
            await asyncio.Event().wait()

    aws.pause_describing = hang
    writes = [put("slow" if number % 2 else "T", pk=str(number), v=number) for number in range(40)]
    outcomes = await outcomes_of(aws, writes, deadline=4.0)
    assert kinds(outcomes) == ["done", "not_attempted"] * 20


async def test_who_does_not_take_the_outcomes_is_not_read_from() -> None:
    aws = FakeDynamoDb()
    read = 0

    async def endless() -> AsyncIterator[Message]:
        nonlocal read
        while True:
            read += 100
            yield BatchWriteStreamRequest(writes=[put(pk=str(read + number), v=1) for number in range(100)])

    async with aclosing(stream_of(aws).reports(endless())) as reports:
        told_of = len((await anext(reports)).outcomes)
        for _ in range(2000):
            await asyncio.sleep(0)
        assert read <= told_of + MOST_UNTOLD + 100
        assert aws.counts["BatchWriteItem"] <= 8


async def test_a_stream_that_is_left_leaves_nothing_running() -> None:
    aws = FakeDynamoDb()
    aws.pause = lambda table: asyncio.Event().wait()

    async def endless() -> AsyncIterator[Message]:
        yield BatchWriteStreamRequest(writes=[put(pk=str(number), v=1) for number in range(100)])
        await asyncio.Event().wait()

    before = asyncio.all_tasks()
    task = asyncio.create_task(
        told(BatchStream(Writes(Means(aws, TableKeys(aws, CONNECTIONS)), SCOPE), SCOPE), endless())
    )
    for _ in range(20):
        await asyncio.sleep(0)
    assert aws.counts["BatchWriteItem"] == 4
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == before
    assert not +aws.in_flight


async def test_late_options_end_the_stream_after_what_came_before_is_told() -> None:
    aws = FakeDynamoDb()

    async def requests() -> AsyncIterator[Message]:
        yield BatchWriteStreamRequest(writes=[put(pk="1", v=1)])
        late = BatchWriteStreamRequest(writes=[put(pk="2", v=1)])
        late.options.in_order = True
        yield late

    reports = stream_of(aws).reports(requests())
    assert kinds((await anext(reports)).outcomes) == ["done"]
    with pytest.raises(InvalidRequest, match="first message"):
        await anext(reports)
    assert len(aws.tables["T"]) == 1


async def test_a_defect_ends_the_stream() -> None:
    aws = FakeDynamoDb()

    def broken(table: str, number: int) -> None:
        raise KeyError("defect")

    aws.before = broken
    with pytest.raises(KeyError):
        await outcomes_of(aws, [put(pk="1", v=1)])
