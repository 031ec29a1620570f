"""Writes whose answers are lost on the way from a real backend: none is carried out twice, and its caller is told."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.integration.backends import Backend
from tests.integration.conftest import start_sidecar, stop_sidecar
from tests.integration.fault_proxy import FaultProxy, Faults, proxied
from tests.integration.stub.sidecar import LANE

from awsidecar import aio, errors

_WRITES = ["PutItem", "UpdateItem", "TransactWriteItems", "ExecuteTransaction"]
_OFTEN = Faults(throttled=0.05, failed_before=0.1, failed_after=0.1, cut_after=0.1)
_AT_ONCE = 40
# Of repeats after failures, which `_OFTEN` leaves well below: two thirds of what the quota of a table pays for, so that none
# is left undone for its want.
_MOST_REPEATS = 24

own_lane_only = pytest.mark.skipif(LANE == "sdk", reason="the SDK repeats writes that may have been carried out")


@asynccontextmanager
async def struck(backend: Backend, seed: int) -> AsyncIterator[tuple[aio.Client, FaultProxy, str]]:
    """A client of a sidecar behind faults, these faults, and a table."""
    async with proxied(backend.endpoint, _OFTEN, seed=seed, operations=_WRITES) as proxy:
        environment = {**backend.settings, "AWS_ENDPOINT_URL": proxy.url}
        running = await asyncio.to_thread(start_sidecar, [], environment)
        try:
            async with aio.connect(running.target, timeout=60) as client:
                table = f"lost-{uuid.uuid4()}"
                await client.dynamodb.create_table(
                    TableName=table,
                    BillingMode="PAY_PER_REQUEST",
                    AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                    KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                )
                yield client, proxy, table
        finally:
            await asyncio.to_thread(stop_sidecar, running)
    assert proxy.counts.total() - proxy.counts["passed"] - proxy.counts["throttled"] <= _MOST_REPEATS


async def outcomes(calls: Sequence[Awaitable[Any]]) -> list[Any]:
    """The error of each call, or None."""
    found = await asyncio.gather(*calls, return_exceptions=True)
    return [one if isinstance(one, BaseException) else None for one in found]


async def count_of(client: aio.Client, table: str) -> Any:
    found = await client.dynamodb.get_item(TableName=table, Key={"id": "counter"}, ConsistentRead=True)
    return found["Item"]["n"]


def increment(table: str) -> Any:
    return {
        "TableName": table,
        "Key": {"id": "counter"},
        "UpdateExpression": "ADD n :one",
        "ExpressionAttributeValues": {":one": 1},
    }


async def test_each_transaction_is_applied_once(backend: Backend) -> None:
    async with struck(backend, seed=7) as (client, proxy, table):
        transact = client.dynamodb.transact_write_items
        calls = [transact(TransactItems=[{"Update": increment(table)}]) for _ in range(_AT_ONCE)]
        await asyncio.gather(*calls)
        assert await count_of(client, table) == _AT_ONCE
    assert proxy.counts["failed_after"] + proxy.counts["cut_after"] >= 5


async def test_each_transaction_of_statements_is_applied_once(backend: Backend) -> None:
    async with struck(backend, seed=8) as (client, proxy, table):
        await client.dynamodb.batch_write_item(
            RequestItems={table: [{"PutRequest": {"Item": {"id": "counter", "n": 0}}}]}
        )
        statement = f"UPDATE \"{table}\" SET n = n + 1 WHERE id = 'counter'"
        transact = client.dynamodb.execute_transaction
        await asyncio.gather(*(transact(TransactStatements=[{"Statement": statement}]) for _ in range(_AT_ONCE)))
        assert await count_of(client, table) == _AT_ONCE
    assert proxy.counts["failed_after"] + proxy.counts["cut_after"] >= 5


@own_lane_only
async def test_no_increment_is_applied_twice_and_each_that_may_have_been_applied_says_so(
    backend: Backend,
) -> None:
    async with struck(backend, seed=9) as (client, proxy, table):
        found = await outcomes([client.dynamodb.update_item(**increment(table)) for _ in range(_AT_ONCE)])
        applied = await count_of(client, table)
    succeeded = found.count(None)
    lost = proxy.counts["failed_after"] + proxy.counts["cut_after"]
    assert lost >= 5
    assert applied == succeeded + lost
    failures = [failure for failure in found if failure is not None]
    assert all(isinstance(failure, errors.Unavailable) for failure in failures)
    assert [failure.metadata["ambiguous"] for failure in failures] == ["true"] * len(failures)
    assert len(failures) == lost + proxy.counts["failed_before"]


@own_lane_only
async def test_conditional_put_never_fails_of_its_own_success(backend: Backend) -> None:
    async with struck(backend, seed=10) as (client, proxy, table):
        put = client.dynamodb.put_item
        unless_there = "attribute_not_exists(id)"
        calls = [
            put(TableName=table, Item={"id": str(number)}, ConditionExpression=unless_there)
            for number in range(_AT_ONCE)
        ]
        found = await outcomes(calls)
        stored = {int(item["id"]) async for item in client.dynamodb.scan_items(TableName=table)}
    assert proxy.counts["failed_after"] + proxy.counts["cut_after"] >= 5
    assert not [failure for failure in found if isinstance(failure, errors.ConditionalCheckFailedException)]
    succeeded = {number for number, failure in enumerate(found) if failure is None}
    unknown = {number for number, failure in enumerate(found) if failure and failure.metadata.get("ambiguous")}
    assert succeeded | unknown == set(range(_AT_ONCE))
    assert succeeded <= stored <= succeeded | unknown


@own_lane_only
async def test_plain_put_is_repeated_until_it_is_stored(backend: Backend) -> None:
    async with struck(backend, seed=11) as (client, proxy, table):
        put = client.dynamodb.put_item
        await asyncio.gather(*(put(TableName=table, Item={"id": str(number)}) for number in range(_AT_ONCE)))
        stored = {int(item["id"]) async for item in client.dynamodb.scan_items(TableName=table)}
    assert stored == set(range(_AT_ONCE))
    assert proxy.counts["failed_after"] + proxy.counts["cut_after"] >= 5
