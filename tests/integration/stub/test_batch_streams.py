"""Streams of batches on real sockets: the deadline, a cancelled caller, one that does not read, and one nobody knows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from tests.integration.stub.conftest import Start
from tests.integration.stub.sidecar import Sidecar, read_refusal
from tests.integration.stub_aws import Answer, Recorded, StubAws, held, refused

from awsidecar.credentials.v1.credentials_pb2 import CloseSessionRequest
from awsidecar.documents.v1.batches_pb2 import BatchWriteRequest
from awsidecar.documents.v1.document_service_pb2_grpc import DocumentServiceStub
from awsidecar.dynamodb.v1 import batch_streams_pb2 as pb
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue
from awsidecar.dynamodb.v1.batch_pb2 import PutRequest

pytestmark = pytest.mark.asyncio(loop_scope="session")

DESCRIBED = Answer({"Table": {"KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}]}})
# Of which the sidecar keeps a tenth for its report, and a busy machine needs most before it.
SECONDS = 5.0


def writes(count: int, table: str = "T", text: str = "") -> pb.BatchWriteStreamRequest:
    request = pb.BatchWriteStreamRequest()
    for number in range(count):
        item = {"pk": AttributeValue(s=str(number)), "text": AttributeValue(s=text)}
        request.writes.add(table_name=table, put=PutRequest(item=item))
    return request


def is_about(request: Recorded, table: str) -> bool:
    return table in request.parameters["RequestItems"]


async def test_the_report_arrives_before_the_deadline_of_the_caller(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("DescribeTable", DESCRIBED)
    aws.on("BatchWriteItem", lambda request: held() if is_about(request, "Hangs") else Answer())
    requests = [writes(3), writes(2, "Hangs")]
    started = time.monotonic()
    call = sidecar.dynamodb.BatchWriteStream(iter(requests), timeout=SECONDS)
    responses = [response async for response in call]
    assert time.monotonic() - started < SECONDS
    assert await call.code() is grpc.StatusCode.OK
    outcomes = {outcome.index: outcome for response in responses for outcome in response.outcomes}
    assert [outcomes[number].WhichOneof("result") for number in range(5)] == ["done"] * 3 + ["failure"] * 2
    assert outcomes[4].failure.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert outcomes[4].failure.ambiguous
    assert responses[-1].deadline_spent
    await aws.until(lambda: aws.abandoned == 1)


@pytest.mark.parametrize("setting", ["AWSIDECAR_AWS_POOL_SIZE", "AWSIDECAR_AWS_MAX_CONNECTIONS"])
async def test_tables_whose_keys_hang_leave_connections_to_others(start: Start, aws: StubAws, setting: str) -> None:
    aws.on("DescribeTable", held())
    async with start(**{setting: "24"}) as sidecar:
        call = sidecar.dynamodb.BatchWriteStream(iter([writes(1, f"T{n}") for n in range(20)]), timeout=60)
        told = 0
        async with asyncio.timeout(SECONDS):
            async for response in call:
                told += len(response.outcomes)
                if told == 17:
                    break
        assert aws.count("DescribeTable") == 3
        call.cancel()


async def test_a_cancelled_caller_ends_the_calls_to_aws(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("DescribeTable", DESCRIBED)
    aws.on("BatchWriteItem", held())
    call = sidecar.dynamodb.BatchWriteStream(iter([writes(50)]), timeout=60)
    await aws.until(lambda: aws.in_progress == 2)
    call.cancel()
    await aws.until(lambda: aws.abandoned == 2)


async def test_who_is_not_known_has_nothing_done(sidecar: Sidecar, aws: StubAws) -> None:
    call = sidecar.dynamodb.BatchWriteStream(
        iter([writes(1)]), timeout=60, metadata=(("x-awsidecar-session", "no-such-session"),)
    )
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await call.read()
    assert read_refusal(refusal.value).reason == "SESSION_NOT_FOUND"
    assert not aws.requests


async def test_a_caller_that_does_not_read_the_outcomes_is_not_read_from(sidecar: Sidecar, aws: StubAws) -> None:
    """Outcomes with long messages fill the windows of HTTP/2 soon."""
    aws.on("DescribeTable", DESCRIBED)
    aws.on("BatchWriteItem", refused("AccessDeniedException", "no " * 250))
    sent = 0

    async def endless() -> AsyncIterator[pb.BatchWriteStreamRequest]:
        nonlocal sent
        while True:
            sent += 100
            yield writes(100, text="x" * 1000)

    call = sidecar.dynamodb.BatchWriteStream(endless(), timeout=60)
    before = -1
    while sent != before:
        before = sent
        await asyncio.sleep(0.5)
    assert sent < 20_000
    call.cancel()


async def test_each_failure_has_the_details_of_a_status(sidecar: Sidecar, aws: StubAws) -> None:
    from google.rpc import error_details_pb2

    aws.on("DescribeTable", DESCRIBED)
    aws.on("BatchWriteItem", refused("ResourceNotFoundException", "Requested resource not found"))
    call: Any = sidecar.dynamodb.BatchWriteStream(iter([writes(1)]), timeout=60)
    outcomes = [outcome async for response in call for outcome in response.outcomes]
    failure = outcomes[0].failure
    assert failure.code == grpc.StatusCode.NOT_FOUND.value[0]
    info = error_details_pb2.ErrorInfo()
    assert failure.details[0].Unpack(info)
    assert (info.reason, info.domain) == ("RESOURCE_NOT_FOUND_EXCEPTION", "dynamodb.amazonaws.com")
    assert info.metadata["operation"] == "BatchWriteStream"
    assert dict(await call.trailing_metadata())["x-awsidecar-tier"] == "service_account"


@pytest.mark.parametrize("service", ["dynamodb", "documents"])
async def test_session_that_is_closed_has_nothing_more_written(
    sidecar: Sidecar, aws: StubAws, service: str
) -> None:
    session = (("x-awsidecar-session", await sidecar.open_session("AKIABATCHES")),)
    aws.on("DescribeTable", DESCRIBED)
    aws.on("BatchWriteItem", Answer())
    call: Any
    request: Any
    if service == "documents":
        documents: Any = DocumentServiceStub(sidecar.channel)
        call = documents.BatchWrite(timeout=60, metadata=session)
        request = BatchWriteRequest()
        request.writes.add(table_name="T").put.update({"pk": "0"})
    else:
        call = sidecar.dynamodb.BatchWriteStream(timeout=60, metadata=session)
        request = writes(1)
    await call.write(request)
    assert _results(await call.read()) == ["done"]
    await sidecar.credentials.CloseSession(CloseSessionRequest(), metadata=session)
    await call.write(request)
    response = await call.read()
    assert _results(response) == ["failure"]
    failure = response.outcomes[0].failure
    assert failure.code == grpc.StatusCode.UNAUTHENTICATED.value[0]
    assert not failure.ambiguous
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert aws.count("BatchWriteItem") == 1


def _results(response: Any) -> list[str]:
    return [outcome.WhichOneof("result") for outcome in response.outcomes]
