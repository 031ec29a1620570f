"""The caller's deadline is the only timeout, and a caller who has gone leaves no work behind."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from tests.integration.stub.conftest import Start
from tests.integration.stub.sidecar import CUT_AFTER_SECONDS, Sidecar, refusal_at_deadline
from tests.integration.stub_aws import StubAws, held, refused

from awsidecar.dynamodb.v1 import items_pb2
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue

pytestmark = pytest.mark.asyncio(loop_scope="session")

PUT = items_pb2.PutItemRequest(table_name="users", item={"id": AttributeValue(s="ann")})
GET = items_pb2.GetItemRequest(table_name="users", key={"id": AttributeValue(s="ann")})


async def test_deadline_ends_the_call_and_its_request_to_aws(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("GetItem", held())
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await sidecar.dynamodb.GetItem(GET, timeout=CUT_AFTER_SECONDS)
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await aws.until(lambda: aws.abandoned == 1)
    assert aws.in_progress == 0


async def test_retries_end_with_the_deadline(aws: StubAws, start: Start) -> None:
    aws.on("GetItem", refused("InternalServerError", "sorry", 500))
    async with start(AWSIDECAR_AWS_MAX_ATTEMPTS="10") as sidecar:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            # Enough for a first attempt on a busy machine.
            await sidecar.dynamodb.GetItem(GET, timeout=0.5)
        # AWS's own error, when the next pause would outlast the deadline; or the deadline, when it cuts a pause short.
        assert failed.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        # Ten attempts take seconds of pauses: all of them made would say that nobody watched the deadline.
        assert 1 <= aws.count("GetItem") < 10


async def test_caller_who_cancels_closes_the_request_to_aws(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("GetItem", held())
    call = sidecar.dynamodb.GetItem(GET)
    waiting = asyncio.ensure_future(call)
    await aws.until(lambda: aws.in_progress == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await aws.until(lambda: aws.abandoned == 1)


async def test_caller_whose_connection_breaks_closes_the_request_to_aws(aws: StubAws, start: Start) -> None:
    aws.on("GetItem", held())
    async with start() as sidecar:
        waiting = asyncio.ensure_future(sidecar.dynamodb.GetItem(GET))
        await aws.until(lambda: aws.in_progress == 1)
        await sidecar.channel.close(None)
        await aws.until(lambda: aws.abandoned == 1)
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await waiting


async def test_cancelled_calls_leave_the_others_alone(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("GetItem", held())
    calls = [sidecar.dynamodb.GetItem(GET) for _ in range(20)]
    waiting = [asyncio.ensure_future(call) for call in calls]
    await aws.until(lambda: aws.in_progress == 20)
    for call in calls[::2]:
        call.cancel()
    await aws.until(lambda: aws.abandoned == 10)
    aws.release()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(outcome, asyncio.CancelledError) for outcome in outcomes] == [True, False] * 10
    assert all(isinstance(outcome, items_pb2.GetItemResponse) for outcome in outcomes[1::2])


@pytest.mark.parametrize(("request_", "told"), [(PUT, {"ambiguous": "true"}), (GET, {})], ids=["write", "read"])
async def test_caller_is_told_what_was_on_its_way_when_the_deadline_passed(
    sidecar: Sidecar, aws: StubAws, request_: Any, told: dict[str, str]
) -> None:
    operation = type(request_).__name__.removesuffix("Request")
    ask = getattr(sidecar.dynamodb, operation)
    aws.on(operation, held())
    refusal = await refusal_at_deadline(lambda: ask(request_, timeout=CUT_AFTER_SECONDS))
    assert refusal.reason == "DEADLINE_SPENT"
    assert refusal.metadata == {"operation": operation, "attempts": "1", **told}
