"""Streams of pages under what happens to them: callers that stop, sessions that end, sidecars that do."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from tests.integration.stub.process import launched
from tests.integration.stub.sidecar import (
    CUT_AFTER_SECONDS,
    LARGE,
    Sidecar,
    connected,
    read_refusal,
    refusal_at_deadline,
    settings_for,
)
from tests.integration.stub_aws import Answer, Recorded, StubAws, held, refused

from awsidecar.credentials.v1.credentials_pb2 import CloseSessionRequest
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue
from awsidecar.dynamodb.v1.items_pb2 import GetItemRequest
from awsidecar.dynamodb.v1.page_streams_pb2 import QueryStreamRequest, QueryStreamResponse, ScanStreamRequest
from awsidecar.dynamodb.v1.query_pb2 import QueryRequest, ScanRequest

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUERY = QueryStreamRequest(query=QueryRequest(table_name="users"))
GET = GetItemRequest(table_name="users", key={"id": AttributeValue(n="1")})
PAGE_BYTES = 1_000_000
PATIENCE_SECONDS = 30


def page(number: int, *, last: bool = False, text: str = "") -> Answer:
    item = {"id": {"N": str(number)}, "text": {"S": text}}
    end: dict[str, Any] = {} if last else {"LastEvaluatedKey": {"id": {"N": str(number)}}}
    return Answer({"Items": [item], "Count": 1, "ScannedCount": 1, **end})


def number_of(response: object) -> int:
    assert isinstance(response, QueryStreamResponse)
    return int(response.page.items[0].attributes["id"].n)


async def test_cancelled_stream_ends_its_read_ahead(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("Query", page(1), held(page(2)))
    call = sidecar.dynamodb.QueryStream(QUERY, timeout=PATIENCE_SECONDS)
    assert number_of(await call.read()) == 1
    await aws.until(lambda: aws.in_progress == 1)
    call.cancel()
    await aws.until(lambda: aws.abandoned == 1)
    assert aws.count("Query") == 2


async def test_cancelled_parallel_scan_ends_the_reads_of_all_segments(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("Scan", held())
    request = ScanStreamRequest(scan=ScanRequest(table_name="users"), segments=100)
    call = sidecar.dynamodb.ScanStream(request, timeout=PATIENCE_SECONDS)
    reading = asyncio.ensure_future(call.read())
    await aws.until(lambda: aws.in_progress == 16)
    call.cancel()
    await aws.until(lambda: aws.abandoned == 16)
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_parallel_scan_with_a_large_request_has_one_on_its_way_at_a_time(
    sidecar: Sidecar, aws: StubAws
) -> None:
    aws.on("Scan", held(page(1, last=True)))
    scan = ScanRequest(table_name="users", filter_expression="x" * 300_000)
    call = sidecar.dynamodb.ScanStream(ScanStreamRequest(scan=scan, segments=4), timeout=PATIENCE_SECONDS)
    reading = asyncio.ensure_future(call.read())
    await aws.until(lambda: aws.in_progress == 1)
    for _ in range(50):
        await sidecar.dynamodb.GetItem(GET)
    assert aws.count("Scan") == 1
    aws.release()
    await reading
    while await call.read() is not grpc.aio.EOF:
        pass
    assert [request.parameters["Segment"] for request in aws.requests if request.operation == "Scan"] == [
        0,
        1,
        2,
        3,
    ]


async def test_reader_that_stops_stops_the_reading(sidecar: Sidecar, aws: StubAws) -> None:
    """What is not read waits in the sidecar, two pages of it, and a few on the way, and AWS is asked for no more."""
    text = "." * PAGE_BYTES

    def answer(request: Recorded) -> Answer:
        start = int(request.parameters.get("ExclusiveStartKey", {"id": {"N": "0"}})["id"]["N"])
        return page(start + 1, last=start == 49, text=text)

    aws.on("Query", answer)
    # A client's own window grows with what it has received before, and with it what waits there.
    steady = [*LARGE, ("grpc.http2.bdp_probe", 0)]
    async with connected(sidecar.target, steady) as client:
        call = client.dynamodb.QueryStream(QUERY, timeout=PATIENCE_SECONDS)
        numbers = [number_of(await call.read())]
        for _ in range(200):
            await client.dynamodb.GetItem(GET)
        asked = aws.count("Query")
        assert asked < 12
        for _ in range(200):
            await client.dynamodb.GetItem(GET)
        assert aws.count("Query") == asked
        while (response := await call.read()) is not grpc.aio.EOF:
            numbers.append(number_of(response))
    assert numbers == list(range(1, 51))
    assert aws.count("Query") == 50


async def test_session_that_is_closed_ends_its_streams(sidecar: Sidecar, aws: StubAws) -> None:
    session = (("x-awsidecar-session", await sidecar.open_session("AKIASTREAM")),)
    aws.on("Query", page(1), held(page(2)), page(3))
    call = sidecar.dynamodb.QueryStream(QUERY, metadata=session, timeout=PATIENCE_SECONDS)
    assert number_of(await call.read()) == 1
    await aws.until(lambda: aws.in_progress == 1)
    await sidecar.credentials.CloseSession(CloseSessionRequest(), metadata=session)
    aws.release()
    assert number_of(await call.read()) == 2
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call.read()
    refusal = read_refusal(failed.value)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "SESSION_NOT_FOUND")
    assert refusal.trailers["x-awsidecar-tier"] == "session"
    assert aws.key_ids("Query") == ["AKIASTREAM"] * 2


async def test_credentials_that_aws_calls_expired_end_the_stream_after_its_last_page(
    sidecar: Sidecar, aws: StubAws
) -> None:
    session = (("x-awsidecar-session", await sidecar.open_session("AKIASTREAM")),)
    aws.on("Query", page(1), refused("ExpiredTokenException", "expired"))
    call = sidecar.dynamodb.QueryStream(QUERY, metadata=session, timeout=PATIENCE_SECONDS)
    assert number_of(await call.read()) == 1
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call.read()
    assert failed.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_stream_ends_with_its_deadline(sidecar: Sidecar, aws: StubAws) -> None:
    async def read() -> None:
        aws.on("Query", page(1), held())
        call = sidecar.dynamodb.QueryStream(QUERY, timeout=CUT_AFTER_SECONDS)
        assert number_of(await call.read()) == 1
        await call.read()

    refusal = await refusal_at_deadline(read)
    assert refusal.code is grpc.StatusCode.DEADLINE_EXCEEDED
    # Of the page that was on its way; the one before has come.
    assert refusal.metadata["attempts"] == "1"


async def test_stream_that_outlasts_a_drain_ends_as_unavailable(aws: StubAws) -> None:
    """Which is what a client goes on after."""
    aws.on("Query", page(1), held())
    process = await launched(settings_for(aws.url, AWSIDECAR_SHUTDOWN_GRACE_SECONDS="0.3"))
    try:
        async with connected(process.target) as client:
            call = client.dynamodb.QueryStream(QUERY, timeout=PATIENCE_SECONDS)
            assert number_of(await call.read()) == 1
            process.signal()
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await call.read()
            assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
            assert await process.ended() == 0
    finally:
        await process.killed()
