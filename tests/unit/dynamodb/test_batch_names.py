"""Streams of writes to tables that have several names, and to tables that only seem to be one."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.dynamodb.batch_writing import SlowKey, kinds, outcomes_of, stream_of
from tests.unit.dynamodb.fake_batches import (
    FakeDynamoDb,
    put,
    refusal,
    requests_of,
    told,
)


async def test_a_table_by_its_name_and_by_its_arn_is_one_table() -> None:
    arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/T"
    aws = FakeDynamoDb({"T": ("pk",), arn: ("pk",)})

    async def pause(table: str) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    aws.pause = pause
    assert kinds(await outcomes_of(aws, [put("T", pk="1", v=1), put(arn, pk="1", v=2)])) == ["done"] * 2
    assert aws.most_at_once == 1


async def test_names_of_one_table_keep_the_order_between_them() -> None:
    arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/slow"
    aws = FakeDynamoDb({"slow": ("pk",), arn: ("pk",)})
    aws.tables[arn] = aws.tables["slow"]
    slow = SlowKey(aws)
    order: list[str] = []
    aws.before = lambda table, number: order.append(table)
    writes = [put("slow" if number % 2 else arn, pk="1", v=number) for number in range(6)]
    telling = asyncio.ensure_future(told(stream_of(aws), requests_of(writes, 1)))
    await slow.asked.wait()
    slow.told.set()
    outcomes, _ = await telling
    assert kinds(outcomes) == ["done"] * 6
    assert order == [arn, "slow"] * 3


@pytest.mark.parametrize("denied", ["slow", "arn", "at first"])
async def test_names_of_one_table_keep_the_order_also_where_its_key_is_known_under_one_only(denied: str) -> None:
    arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/slow"
    aws = FakeDynamoDb({"slow": ("pk",), arn: ("pk",)})
    aws.tables[arn] = aws.tables["slow"]
    asked: list[str] = []

    async def describing(table: str) -> None:
        asked.append(table)
        await asyncio.sleep(0)
        if (denied == "at first" and len(asked) == 1) or denied == ("arn" if table == arn else table):
            raise refusal("DescribeTable", "AccessDeniedException")

    aws.pause_describing = describing
    order: list[str] = []
    aws.after = lambda table, number: order.append(next(iter(aws.tables[table].values()))["v"].n)
    writes = [put("slow" if number % 3 else arn, pk="1", v=number) for number in range(30)]
    assert kinds(await outcomes_of(aws, writes)) == ["done"] * 30
    assert order == [str(number) for number in range(30)]
