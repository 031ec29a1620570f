"""What is too much: calls at once, bytes of a message, metadata."""

from __future__ import annotations

import asyncio
import base64

import grpc
import pytest
from tests.integration.stub.conftest import Start
from tests.integration.stub.sidecar import LARGE, Sidecar, connected, refusal_of
from tests.integration.stub_aws import Answer, StubAws, held

from awsidecar.dynamodb.v1 import batch_pb2, items_pb2
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue, Key

pytestmark = pytest.mark.asyncio(loop_scope="session")

MIB = 1024 * 1024
GET = items_pb2.GetItemRequest(table_name="users", key={"id": AttributeValue(s="ann")})
GET_BATCH = batch_pb2.BatchGetItemRequest(
    request_items={"users": batch_pb2.KeysAndAttributes(keys=[Key(attributes=GET.key)])}
)


def put_of(size: int) -> items_pb2.PutItemRequest:
    return items_pb2.PutItemRequest(table_name="users", item={"b": AttributeValue(b=b"x" * size)})


async def test_call_more_than_the_limit_is_refused_and_served_once_there_is_room(
    aws: StubAws, start: Start
) -> None:
    aws.on("GetItem", held())
    async with start(AWSIDECAR_LISTEN_MAX_IN_FLIGHT="2") as sidecar:
        waiting = [asyncio.ensure_future(sidecar.dynamodb.GetItem(GET)) for _ in range(2)]
        await aws.until(lambda: aws.in_progress == 2)
        refusal = await refusal_of(sidecar.dynamodb.GetItem(GET))
        assert (refusal.code.name, refusal.reason, refusal.metadata["limit"]) == (
            "RESOURCE_EXHAUSTED",
            "OVERLOADED",
            "2",
        )
        aws.release()
        await asyncio.gather(*waiting)
        await sidecar.dynamodb.GetItem(GET)
    assert aws.count("GetItem") == 3


async def test_request_over_the_limit_is_refused_with_its_size(sidecar: Sidecar, aws: StubAws) -> None:
    refusal = await refusal_of(sidecar.dynamodb.PutItem(put_of(33 * MIB)))
    assert (refusal.code.name, refusal.reason) == ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE")
    assert refusal.metadata["direction"] == "request"
    assert int(refusal.metadata["size_bytes"]) > int(refusal.metadata["limit_bytes"]) == 32 * MIB
    assert not aws.requests


async def test_request_far_over_the_limit_is_refused_by_grpc(sidecar: Sidecar, aws: StubAws) -> None:
    refusal = await refusal_of(sidecar.dynamodb.PutItem(put_of(50 * MIB)))
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not aws.requests


async def test_reply_of_sixteen_megabytes_passes(sidecar: Sidecar, aws: StubAws) -> None:
    text = base64.b64encode(b"x" * 400_000).decode()
    items = [{"id": {"S": str(number)}, "b": {"B": text}} for number in range(40)]
    aws.on("BatchGetItem", Answer({"Responses": {"users": items}}))
    reply = await sidecar.dynamodb.BatchGetItem(GET_BATCH)
    returned = reply.responses["users"].items
    assert [item.attributes["id"].s for item in returned] == [str(number) for number in range(40)]
    assert {item.attributes["b"].b for item in returned} == {b"x" * 400_000}


async def test_reply_over_the_limit_is_refused_with_its_size(aws: StubAws, start: Start) -> None:
    aws.on("GetItem", Answer({"Item": {"text": {"S": "x" * 100_000}}}))
    async with start(AWSIDECAR_LISTEN_MAX_MESSAGE_BYTES="65536") as sidecar:
        refusal = await refusal_of(sidecar.dynamodb.GetItem(GET))
    assert (refusal.code.name, refusal.reason) == ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE")
    assert (refusal.metadata["direction"], refusal.metadata["limit_bytes"]) == ("reply", "65536")


async def test_bytes_that_are_no_message_are_refused_with_the_name_of_the_message(sidecar: Sidecar) -> None:
    call = sidecar.method("/awsidecar.dynamodb.v1.DynamoDbService/GetItem")
    refusal = await refusal_of(call(b"\xff\xff\xff"))
    assert (refusal.code.name, refusal.reason) == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")
    assert refusal.metadata["message"] == "awsidecar.dynamodb.v1.GetItemRequest"


async def test_metadata_over_the_limit_is_refused_and_the_connection_lives_on(
    sidecar: Sidecar, aws: StubAws
) -> None:
    roomy = [*LARGE, ("grpc.max_metadata_size", 2 * MIB), ("grpc.absolute_max_metadata_size", 2 * MIB)]
    async with connected(sidecar.target, options=roomy) as client:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await client.dynamodb.GetItem(GET, metadata=(("x-large", "x" * 200_000),), timeout=10)
        assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await client.dynamodb.GetItem(GET)
        # As large as an ID token with many groups gets.
        await client.dynamodb.GetItem(GET, metadata=(("x-large", "x" * 24_000),))
    assert aws.count("GetItem") == 2


async def test_region_is_chosen_among_the_allowed(aws: StubAws, start: Start) -> None:
    async with start(AWSIDECAR_AWS_ALLOWED_REGIONS="us-east-1,eu-west-1") as sidecar:
        for region in ("us-east-1", "eu-central-1"):
            await sidecar.dynamodb.GetItem(GET, metadata=(("x-awsidecar-region", region),))
        assert [request.region for request in aws.requests] == ["us-east-1", "eu-central-1"]
        for region in ("ap-south-1", "", "EU-WEST-1", "x" * 5_000):
            refusal = await refusal_of(sidecar.dynamodb.GetItem(GET, metadata=(("x-awsidecar-region", region),)))
            assert (refusal.code.name, refusal.reason) == ("PERMISSION_DENIED", "REGION_NOT_ALLOWED")
            assert refusal.metadata["region"] == region[:64]
        twice = (("x-awsidecar-region", "us-east-1"), ("x-awsidecar-region", "eu-west-1"))
        refusal = await refusal_of(sidecar.dynamodb.GetItem(GET, metadata=twice))
        assert (refusal.code.name, refusal.metadata["field"]) == ("INVALID_ARGUMENT", "x-awsidecar-region")
    assert aws.count("GetItem") == 2


async def test_announced_room_for_details_that_makes_no_sense_counts_as_not_announced(
    sidecar: Sidecar, aws: StubAws
) -> None:
    for announced in ("", "-1", "lots", "9" * 100, "0", "1.5"):
        metadata = (("x-awsidecar-max-details-bytes", announced),)
        await sidecar.dynamodb.GetItem(GET, metadata=metadata)
        refusal = await refusal_of(sidecar.dynamodb.GetItem(items_pb2.GetItemRequest(), metadata=metadata))
        assert (refusal.code.name, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
