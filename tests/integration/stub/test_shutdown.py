"""The end of the process: calls that were accepted finish, new ones go elsewhere, and it ends in time."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.integration.stub.process import SidecarProcess, launched
from tests.integration.stub.sidecar import Client, Refusal, connected, read_refusal, refusal_of, settings_for
from tests.integration.stub_aws import Answer, StubAws, held

from awsidecar.documents.v1.batches_pb2 import BatchWriteRequest
from awsidecar.documents.v1.document_service_pb2_grpc import DocumentServiceStub
from awsidecar.dynamodb.v1 import items_pb2
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue
from awsidecar.dynamodb.v1.batch_pb2 import PutRequest
from awsidecar.dynamodb.v1.batch_streams_pb2 import BatchWriteStreamRequest

pytestmark = pytest.mark.asyncio(loop_scope="session")

GET = items_pb2.GetItemRequest(table_name="users", key={"id": AttributeValue(s="ann")})
ANN = Answer({"Item": {"id": {"S": "ann"}}})


@asynccontextmanager
async def process_on(aws: StubAws, **changes: str) -> AsyncIterator[tuple[SidecarProcess, Client]]:
    """A process, whose end is the test's affair, and a client of it."""
    process = await launched(settings_for(aws.url, **changes))
    try:
        async with connected(process.target) as client:
            yield process, client
    finally:
        await process.killed()


async def page(address: str, path: str) -> int:
    """The HTTP status of an operator's page; 0 when nobody serves it."""
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://{address}{path}") as response:
            return response.status
    except aiohttp.ClientConnectionError:
        return 0


async def is_serving(client: Client) -> bool:
    """What a load balancer with an open connection sees."""
    try:
        answer = await health_pb2_grpc.HealthStub(client.channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    except grpc.aio.AioRpcError as failed:
        if failed.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def test_call_in_flight_finishes_while_new_ones_are_turned_away(aws: StubAws) -> None:
    aws.on("GetItem", held(ANN))
    async with process_on(aws) as (process, client):
        assert await page(process.admin, "/readyz") == 200
        assert await is_serving(client)
        call = asyncio.ensure_future(client.dynamodb.GetItem(GET))
        await aws.until(lambda: aws.in_progress == 1)
        process.signal()
        await process.draining()
        assert await page(process.admin, "/readyz") == 503
        assert await page(process.admin, "/livez") == 200
        async with connected(process.target) as newcomer:
            assert not await is_serving(newcomer)
            with pytest.raises(grpc.aio.AioRpcError) as turned_away:
                await newcomer.dynamodb.GetItem(GET, timeout=5)
            assert turned_away.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not await is_serving(client)
        aws.release()
        assert (await call).item.attributes["id"].s == "ann"
        assert await process.ended() == 0
    assert aws.count("GetItem") == 1


async def test_grace_bounds_the_wait_for_calls(aws: StubAws) -> None:
    aws.on("GetItem", held())
    async with process_on(aws, AWSIDECAR_SHUTDOWN_GRACE_SECONDS="0.5") as (process, client):
        call = asyncio.ensure_future(client.dynamodb.GetItem(GET))
        await aws.until(lambda: aws.in_progress == 1)
        process.signal()
        started = time.monotonic()
        assert await process.ended() == 0
        assert time.monotonic() - started < 0.5 + 2
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call
        assert failed.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        await aws.until(lambda: aws.in_progress == 0)


async def test_write_that_outlasts_the_grace_is_told_that_it_may_have_been_done(aws: StubAws) -> None:
    aws.on("PutItem", held())
    async with process_on(aws, AWSIDECAR_SHUTDOWN_GRACE_SECONDS="0.2") as (process, client):
        call = client.dynamodb.PutItem(items_pb2.PutItemRequest(table_name="users", item=GET.key))
        refused = asyncio.ensure_future(refusal_of(call))
        await aws.until(lambda: aws.in_progress == 1)
        process.signal()
        refusal = await refused
        assert (refusal.code.name, refusal.reason) == ("UNAVAILABLE", "DRAINING")
        assert (refusal.metadata["attempts"], refusal.metadata["ambiguous"]) == ("1", "true")
        assert await process.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_second_signal_ends_the_process_at_once(aws: StubAws, number: signal.Signals) -> None:
    aws.on("GetItem", held())
    async with process_on(aws, AWSIDECAR_SHUTDOWN_GRACE_SECONDS="60") as (process, client):
        call = asyncio.ensure_future(client.dynamodb.GetItem(GET))
        await aws.until(lambda: aws.in_progress == 1)
        process.signal(number)
        await process.draining()
        process.signal(number)
        assert await process.ended() == 128 + number
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_idle_process_ends_at_once(aws: StubAws) -> None:
    async with process_on(aws, AWSIDECAR_SHUTDOWN_GRACE_SECONDS="60") as (process, client):
        await client.dynamodb.GetItem(GET)
        process.signal()
        assert await process.ended() == 0


async def test_of_a_thousand_calls_each_ends_well_or_unavailable(aws: StubAws) -> None:
    aws.on("GetItem", ANN)
    codes: list[grpc.StatusCode] = []
    async with process_on(aws) as (process, client):

        async def call(share: int) -> None:
            for _ in range(share):
                try:
                    await client.dynamodb.GetItem(GET, timeout=10)
                    codes.append(grpc.StatusCode.OK)
                except grpc.aio.AioRpcError as failed:
                    codes.append(failed.code())
                if len(codes) == 300:
                    process.signal()

        await asyncio.gather(*(call(50) for _ in range(20)))
        assert await process.ended() == 0
    assert len(codes) == 1000
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert codes.count(grpc.StatusCode.OK) >= 300


@pytest.mark.parametrize("service", ["dynamodb", "documents"])
async def test_stream_of_batches_ends_when_what_is_in_flight_is_done(aws: StubAws, service: str) -> None:
    aws.on("DescribeTable", Answer({"Table": {"KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}]}}))
    aws.on("BatchWriteItem", held())
    async with process_on(aws, AWSIDECAR_SHUTDOWN_GRACE_SECONDS="60") as (process, client):
        call, request = _busy(client, service)
        await call.write(request)
        await aws.until(lambda: aws.in_progress == 8)
        process.signal()
        await process.draining()
        aws.release()
        kinds, refusal = await _told(call)
        assert (refusal.code.name, refusal.reason) == ("UNAVAILABLE", "DRAINING")
        assert "ambiguous" not in refusal.metadata
        assert await process.ended() == 0
    assert (kinds.count("done"), kinds.count("not_attempted"), len(kinds)) == (200, 300, 500)
    assert aws.count("BatchWriteItem") == 8


async def test_stream_of_batches_that_outlasts_the_grace_says_that_writes_may_have_been_done(aws: StubAws) -> None:
    aws.on("DescribeTable", Answer({"Table": {"KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}]}}))
    aws.on("BatchWriteItem", held())
    async with process_on(aws, AWSIDECAR_SHUTDOWN_GRACE_SECONDS="0.2") as (process, client):
        call, request = _busy(client, "dynamodb")
        await call.write(request)
        await aws.until(lambda: aws.in_progress == 8)
        process.signal()
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
        refusal = read_refusal(ended.value)
        assert (refusal.code.name, refusal.reason) == ("UNAVAILABLE", "DRAINING")
        assert (refusal.metadata["attempts"], refusal.metadata["ambiguous"]) == ("8", "true")
        assert await process.ended() == 0


async def _told(call: Any) -> tuple[list[str], Refusal]:
    """What became of each element, and how the call ended."""
    kinds: list[str] = []
    try:
        async for response in call:
            kinds += [outcome.WhichOneof("result") for outcome in response.outcomes]
    except grpc.aio.AioRpcError as ended:
        return kinds, read_refusal(ended)
    raise AssertionError("ended well")


def _busy(client: Client, service: str) -> tuple[Any, Any]:
    """A stream of writes, and a request with more of them than are in flight at once."""
    if service == "documents":
        documents: Any = DocumentServiceStub(client.channel)
        plain = BatchWriteRequest()
        for number in range(500):
            plain.writes.add(table_name="T").put.update({"id": str(number)})
        return documents.BatchWrite(timeout=60), plain
    request = BatchWriteStreamRequest()
    for number in range(500):
        request.writes.add(table_name="T", put=PutRequest(item={"id": AttributeValue(s=str(number))}))
    return client.dynamodb.BatchWriteStream(timeout=60), request
