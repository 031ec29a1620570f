"""Streams of writes: how the keys of their tables are learnt, and what is done without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from google.protobuf.message import Message
from tests.unit import virtual_time
from tests.unit.dynamodb.batch_writing import SlowKey, failure_of, kinds, outcomes_of, stream_of
from tests.unit.dynamodb.fake_batches import (
    CONNECTIONS,
    SCOPE,
    FakeDynamoDb,
    FakeTiming,
    attributes,
    put,
    requests_of,
    told,
)

from awsidecar.dynamodb.v1.batch_streams_pb2 import BatchWriteStreamRequest, StreamedWrite
from awsidecar_server.dynamodb.batches.stream import BatchStream
from awsidecar_server.dynamodb.batches.timing import LoopTiming
from awsidecar_server.dynamodb.batches.work import Means
from awsidecar_server.dynamodb.batches.writes import Writes
from awsidecar_server.dynamodb.key_values import key_of
from awsidecar_server.dynamodb.table_keys import TableKeys
from awsidecar_server.errors import Unauthenticated


async def test_an_item_without_its_key_is_refused_by_aws_and_the_key_is_asked_for_again() -> None:
    aws = FakeDynamoDb()
    keys = TableKeys(aws, CONNECTIONS)
    work = Writes(Means(aws, keys), SCOPE)
    outcomes, _ = await told(
        BatchStream(work, SCOPE, FakeTiming()), requests_of([put(other="1", v=1), put(pk="1", v=1)])
    )
    assert kinds(outcomes) == ["failure", "done"]
    await keys.of("T", SCOPE)
    assert aws.counts["DescribeTable"] == 2


async def test_a_table_that_was_gone_is_asked_for_its_key_again() -> None:
    """The writes are of one item by the key that the new table has, and of several by the old one."""
    aws, timing = FakeDynamoDb(), FakeTiming()
    means = Means(aws, TableKeys(aws, CONNECTIONS, timing.now))

    async def told_of(*writes: StreamedWrite) -> list[str]:
        return kinds((await told(BatchStream(Writes(means, SCOPE), SCOPE, timing), requests_of(writes)))[0])

    assert await told_of(put(pk="1", other="x", v=1)) == ["done"]
    del aws.keys["T"]
    assert await told_of(put(pk="1", other="x", v=2)) == ["failure"]
    aws.keys["T"], aws.tables["T"] = ("other",), {}
    assert await told_of(*(put(pk=str(number), other="x", v=number) for number in range(10))) == ["done"] * 10
    assert aws.history["T", key_of(attributes(other="x"), ("other",))] == list(map(str, range(10)))
    assert not aws.counts["duplicates"]


async def test_without_the_key_no_two_writes_that_may_be_of_one_item_are_in_flight() -> None:
    """The fake refuses two writes of one item in a batch, and fails the test for two in flight."""
    aws = FakeDynamoDb({"T": ("pk", "sk")})
    aws.is_described = False
    writes = [put(pk=str(number % 3), sk=str(number % 5), v=number) for number in range(60)]
    assert kinds(await outcomes_of(aws, writes)) == ["done"] * 60
    assert len(aws.tables["T"]) == 15
    assert all(sorted(values, key=int) == values for values in aws.history.values())


async def test_key_that_does_not_come_yet_holds_up_no_other_table() -> None:
    aws = FakeDynamoDb({"T": ("pk",), "slow": ("pk",)})
    slow = SlowKey(aws)
    writes = [put("slow" if number % 2 else "T", pk=str(number // 2 % 50), v=number) for number in range(1000)]
    telling = asyncio.ensure_future(told(stream_of(aws), requests_of(writes, 100)))
    await slow.asked.wait()
    for _ in range(2000):
        await asyncio.sleep(0)
    assert (len(aws.tables["T"]), len(aws.tables["slow"])) == (50, 0)
    so_far = aws.counts["BatchWriteItem"]
    slow.told.set()
    outcomes, _ = await telling
    assert kinds(outcomes) == ["done"] * 1000
    assert [values[-1] for values in aws.history.values()] == [
        str(number) for number in (*range(900, 1000, 2), *range(901, 1000, 2))
    ]
    # In batches as full as writes to one item in turn allow: without the key, there would be one for each.
    assert aws.counts["BatchWriteItem"] - so_far < 100
    assert aws.counts["DescribeTable"] == 2


async def test_writes_that_come_while_those_before_are_taken_in_keep_their_order() -> None:
    aws = FakeDynamoDb({"slow": ("pk",)})
    slow = SlowKey(aws)
    writes = [put("slow", pk=str(number % 50), v=number) for number in range(3000)]

    async def in_two() -> AsyncIterator[Message]:
        for at in range(0, 3000, 100):
            if at == 2000:
                await slow.told.wait()
            yield BatchWriteStreamRequest(writes=writes[at : at + 100])

    telling = asyncio.ensure_future(told(stream_of(aws), in_two()))
    await slow.asked.wait()
    for _ in range(200):
        await asyncio.sleep(0)
    slow.told.set()
    outcomes, _ = await telling
    assert kinds(outcomes) == ["done"] * 3000
    assert all(values == sorted(values, key=int) for values in aws.history.values())


async def test_few_tables_of_a_stream_are_asked_about_at_a_time() -> None:
    aws = FakeDynamoDb({f"t{number}": ("pk",) for number in range(100)})
    most = now = 0

    async def describing(table: str) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        for _ in range(5):
            await asyncio.sleep(0)
        now -= 1

    aws.pause_describing = describing
    assert (
        kinds(await outcomes_of(aws, [put(f"t{number}", pk="1", v=number) for number in range(100)]))
        == ["done"] * 100
    )
    assert most == 8


async def test_what_waits_for_the_key_of_its_table_counts_among_what_is_read_ahead() -> None:
    aws, read = FakeDynamoDb({"slow": ("pk",)}), 0
    slow = SlowKey(aws)

    async def endless() -> AsyncIterator[Message]:
        nonlocal read
        while True:
            read += 1
            yield BatchWriteStreamRequest(writes=[put("slow", pk=str(read), v=1, text="x" * 380_000)])

    async with aclosing(stream_of(aws).reports(endless())) as reports:
        first = asyncio.ensure_future(anext(reports))
        await slow.asked.wait()
        for _ in range(2000):
            await asyncio.sleep(0)
        assert 30 < read < 60
        slow.told.set()
        assert (await first).outcomes


async def test_without_the_key_unprocessed_items_are_known_as_a_whole() -> None:
    aws = FakeDynamoDb()
    aws.is_described = False
    aws.unprocessed = lambda size: size // 2
    writes = [put(pk=str(number), v=number, tags=["a", "b"]) for number in range(40)]
    assert kinds(await outcomes_of(aws, writes)) == ["done"] * 40
    assert len(aws.tables["T"]) == 40


async def test_nothing_is_asked_of_aws_for_a_session_that_has_ended() -> None:
    """Its writes are told so one by one, also those to a table that comes first then."""
    aws = FakeDynamoDb({"T": ("pk",), "later": ("pk",)})
    is_open, is_written = True, asyncio.Event()
    aws.after = lambda table, number: is_written.set()

    async def check() -> None:
        if not is_open:
            raise Unauthenticated("closed", reason="SESSION_NOT_FOUND")

    async def requests() -> AsyncIterator[Message]:
        nonlocal is_open
        yield BatchWriteStreamRequest(writes=[put("T", pk="1", v=1)])
        await is_written.wait()
        is_open = False
        yield BatchWriteStreamRequest(writes=[put("T", pk="1", v=2), put("later", pk="1", v=3)])

    stream = BatchStream(Writes(Means(aws, TableKeys(aws, CONNECTIONS)), SCOPE), SCOPE, FakeTiming(), check=check)
    outcomes, _ = await told(stream, requests())
    assert kinds(outcomes) == ["done", "failure", "failure"]
    assert isinstance(failure_of(outcomes, 2), Unauthenticated)
    assert aws.counts == {"DescribeTable": 1, "BatchWriteItem": 1}


@pytest.mark.parametrize("seconds", [5, 50])
def test_writes_of_one_item_keep_their_order_whether_or_not_the_key_comes_in_time(seconds: int) -> None:
    """They have nothing but the item in common, so that without the key they are known to be of one by that."""
    aws = FakeDynamoDb({"T": ("pk",)})

    async def play() -> None:
        aws.pause_describing = lambda table: asyncio.sleep(seconds)
        aws.pause = lambda table: asyncio.sleep(1)

        async def requests() -> AsyncIterator[Message]:
            for number in range(40):
                yield BatchWriteStreamRequest(writes=[put("T", pk=str(number % 2), v=number)])
                await asyncio.sleep(1)

        assert kinds((await told(stream_of(aws, LoopTiming()), requests()))[0]) == ["done"] * 40

    virtual_time.run(play())
    assert [[int(value) for value in values] for values in aws.history.values()] == [
        list(range(0, 40, 2)),
        list(range(1, 40, 2)),
    ]


def test_eight_keys_that_do_not_come_hold_up_another_table_for_a_second() -> None:
    aws = FakeDynamoDb(dict.fromkeys(("T", *(f"hangs{number}" for number in range(8))), ("pk",)))
    at: dict[str, float] = {}

    async def play() -> None:
        aws.pause_describing = lambda table: asyncio.sleep(0 if table == "T" else 100)
        aws.after = lambda table, number: at.update({table: asyncio.get_running_loop().time()})
        writes = [put(name, pk="1", v=1) for name in reversed(aws.keys)]
        assert kinds((await told(stream_of(aws, LoopTiming()), requests_of(writes)))[0]) == ["done"] * 9

    virtual_time.run(play())
    assert at.pop("T") == 1
    assert set(at.values()) == {10}


def test_key_is_asked_for_again_in_a_long_stream_whose_table_has_another_one() -> None:
    """The later writes are of one item by the new key, and of several by the old one."""
    aws = FakeDynamoDb({"T": ("pk",)})

    async def play() -> None:
        async def requests() -> AsyncIterator[Message]:
            yield BatchWriteStreamRequest(writes=[put("T", pk="1", other="x", v=0)])
            await asyncio.sleep(11)
            aws.keys["T"], aws.tables["T"] = ("other",), {}
            yield BatchWriteStreamRequest(
                writes=[put("T", pk=str(number), other="x", v=number) for number in range(9)]
            )

        assert kinds((await told(stream_of(aws, LoopTiming()), requests()))[0]) == ["done"] * 10

    virtual_time.run(play())
    assert aws.counts["DescribeTable"] == 2
    assert not aws.counts["duplicates"]
