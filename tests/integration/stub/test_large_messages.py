"""One caller's large message does not hold up the calls of the others: it is converted in a thread."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable

import grpc
import pytest
import pytest_asyncio
from tests.integration.stub.process import served
from tests.integration.stub.sidecar import LANE, Client, connected, refusal_of, settings_for
from tests.integration.stub_aws import Answer, StubAws

from awsidecar.dynamodb.v1 import items_pb2, query_pb2
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue, AttributeValueList

pytestmark = pytest.mark.asyncio(loop_scope="session")

GET = items_pb2.GetItemRequest(table_name="users", key={"id": AttributeValue(s="ann")})
SERVICE = "/awsidecar.dynamodb.v1.DynamoDbService"
MIB = 1024 * 1024
LONGEST_WAIT_SECONDS = 1.0
# Were the messages here converted on the event loop, the first call of the others would wait for the whole of it, which
# takes about a second, and hardly another one would be made.
FEWEST_CALLS = 8


@pytest_asyncio.fixture(loop_scope="session")
async def client(aws: StubAws) -> AsyncIterator[Client]:
    """Of a sidecar in a process of its own, so that nothing but the sidecar is measured."""
    async with served(settings_for(aws.url)) as process, connected(process.target) as client:
        await client.dynamodb.GetItem(GET)
        yield client


async def waits_during(client: Client, large: Awaitable[object]) -> list[float]:
    """How long each call of somebody else took, one after the other, while the large one was at work."""
    waits: list[float] = []
    working = asyncio.ensure_future(large)
    while not working.done():
        started = time.monotonic()
        await client.dynamodb.GetItem(GET)
        waits.append(time.monotonic() - started)
    await working
    return waits


async def test_large_request_of_many_small_elements_keeps_nobody_waiting(client: Client, aws: StubAws) -> None:
    """It is refused for its last element, so that it never comes to the stub, whose time is not to be measured."""
    element = AttributeValue(s="abc")
    elements = [element] * (8 * MIB // (element.ByteSize() + 2))
    values = AttributeValueList(values=[*elements, AttributeValue()])
    item = {"id": AttributeValue(s="ann"), "list": AttributeValue(l=values)}
    raw = items_pb2.PutItemRequest(table_name="users", item=item).SerializeToString()
    assert len(raw) >= 8 * MIB - 100
    put = client.method(f"{SERVICE}/PutItem")
    refusals = asyncio.ensure_future(refusal_of(put(raw)))
    waits = await waits_during(client, refusals)
    assert refusals.result().code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusals.result().metadata["field"] == f"Item.list.L[{len(elements)}]"
    assert aws.count("PutItem") == 0
    assert max(waits) < LONGEST_WAIT_SECONDS
    assert len(waits) >= FEWEST_CALLS


@pytest.mark.skipif(LANE == "sdk", reason="the SDK reads answers on the event loop")
async def test_large_answer_of_many_small_items_keeps_nobody_waiting(client: Client, aws: StubAws) -> None:
    item = {"id": {"S": "ann"}, "n": {"N": "1"}, "tags": {"L": [{"S": "a"}, {"BOOL": True}]}}
    written = json.dumps(item, separators=(",", ":"))  # as AWS writes it
    count = 8 * MIB // len(written)
    aws.on("Scan", Answer(f'{{"Count":{count},"Items":[{",".join([written] * count)}]}}'))
    scan = client.method(f"{SERVICE}/Scan")
    asked = query_pb2.ScanRequest(table_name="users").SerializeToString()
    answered = asyncio.ensure_future(scan(asked))
    waits = await waits_during(client, answered)
    assert len(answered.result()) > MIB
    assert max(waits) < LONGEST_WAIT_SECONDS
    assert len(waits) >= FEWEST_CALLS
