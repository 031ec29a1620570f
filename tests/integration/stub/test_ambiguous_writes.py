"""A write that AWS may have carried out is sent once more only where that changes nothing, and its caller is told."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message
from tests.integration.stub.conftest import Start
from tests.integration.stub.sidecar import LANE, Sidecar, refusal_of
from tests.integration.stub_aws import Answer, StubAws, refused

from awsidecar.dynamodb.v1 import items_pb2, transactions_pb2
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = {"id": AttributeValue(s="ann")}
PUT = items_pb2.PutItemRequest(table_name="users", item=KEY)
GET = items_pb2.GetItemRequest(table_name="users", key=KEY)
ADD = items_pb2.UpdateItemRequest(
    table_name="users",
    key=KEY,
    update_expression="ADD visits :one",
    expression_attribute_values={":one": AttributeValue(n="1")},
)
PUT_NEW = items_pb2.PutItemRequest(table_name="users", item=KEY, condition_expression="attribute_not_exists(id)")
TAKE = items_pb2.DeleteItemRequest(table_name="users", key=KEY, return_values="ALL_OLD")
TRANSACT = transactions_pb2.TransactWriteItemsRequest(
    transact_items=[transactions_pb2.TransactWriteItem(put=transactions_pb2.Put(table_name="users", item=KEY))]
)
LOST = Answer(cut_after=0)
FAILED = refused("InternalServerError", "sorry", 500)

own_lane_only = pytest.mark.skipif(LANE == "sdk", reason="the SDK repeats writes that may have been carried out")


def operation_of(request: Message) -> str:
    return str(request.DESCRIPTOR.name).removesuffix("Request")


@own_lane_only
@pytest.mark.parametrize("request_", [ADD, PUT_NEW, TAKE], ids=operation_of)
async def test_write_whose_connection_was_lost_is_not_sent_again(
    aws: StubAws, start: Start, request_: Message
) -> None:
    operation = operation_of(request_)
    aws.on(operation, LOST, Answer())
    async with start(AWSIDECAR_AWS_MAX_ATTEMPTS="3") as sidecar:
        refusal = await refusal_of(getattr(sidecar.dynamodb, operation)(request_))
    assert (refusal.code.name, refusal.reason) == ("UNAVAILABLE", "AWS_UNREACHABLE")
    assert refusal.metadata == {
        "operation": operation,
        "cause": "connection_lost",
        "attempts": "1",
        "ambiguous": "true",
    }
    assert aws.count(operation) == 1


@own_lane_only
async def test_write_that_failed_within_aws_is_not_sent_again(aws: StubAws, start: Start) -> None:
    aws.on("UpdateItem", FAILED, Answer())
    async with start(AWSIDECAR_AWS_MAX_ATTEMPTS="3") as sidecar:
        refusal = await refusal_of(sidecar.dynamodb.UpdateItem(ADD))
    assert (refusal.code.name, refusal.reason) == ("UNAVAILABLE", "INTERNAL_SERVER_ERROR")
    assert (refusal.metadata["attempts"], refusal.metadata["ambiguous"]) == ("1", "true")
    assert aws.count("UpdateItem") == 1


@own_lane_only
async def test_write_that_may_have_happened_says_so_after_the_last_attempt(aws: StubAws, start: Start) -> None:
    aws.on("PutItem", FAILED)
    async with start(AWSIDECAR_AWS_MAX_ATTEMPTS="2") as sidecar:
        refusal = await refusal_of(sidecar.dynamodb.PutItem(PUT))
    assert (refusal.metadata["attempts"], refusal.metadata["ambiguous"]) == ("2", "true")


@own_lane_only
@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (Answer({"Attributes": {}}, cut_after=5), "connection_lost"),
        (Answer(b"<html>"), "bad_response"),
        (Answer({"Attributes": "text"}), "bad_response"),
    ],
    ids=["cut", "not json", "wrong members"],
)
async def test_write_whose_answer_cannot_be_read_may_have_happened(
    sidecar: Sidecar, aws: StubAws, answer: Answer, cause: str
) -> None:
    aws.on("UpdateItem", answer)
    refusal = await refusal_of(sidecar.dynamodb.UpdateItem(ADD))
    assert (refusal.metadata["cause"], refusal.metadata["attempts"]) == (cause, "1")
    assert refusal.metadata["ambiguous"] == "true"


@pytest.mark.parametrize("lost", [LOST, FAILED], ids=["lost", "failed"])
async def test_write_that_leaves_the_item_as_it_says_is_sent_again(
    aws: StubAws, start: Start, lost: Answer
) -> None:
    aws.on("PutItem", lost, Answer())
    async with start(AWSIDECAR_AWS_MAX_ATTEMPTS="2") as sidecar:
        await sidecar.dynamodb.PutItem(PUT)
    assert aws.count("PutItem") == 2


async def test_write_that_aws_turned_down_is_sent_again(aws: StubAws, start: Start) -> None:
    aws.on("UpdateItem", refused("ThrottlingException"), Answer())
    async with start(AWSIDECAR_AWS_MAX_ATTEMPTS="2") as sidecar:
        await sidecar.dynamodb.UpdateItem(ADD)
    assert aws.count("UpdateItem") == 2


async def test_failed_read_is_nothing_to_wonder_about(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("GetItem", LOST)
    refusal = await refusal_of(sidecar.dynamodb.GetItem(GET))
    assert "ambiguous" not in refusal.metadata


@pytest.mark.parametrize("lost", [LOST, FAILED], ids=["lost", "failed"])
async def test_token_of_a_transaction_is_made_and_kept_over_its_attempts(
    aws: StubAws, start: Start, lost: Answer
) -> None:
    aws.on("TransactWriteItems", lost, Answer())
    async with start(AWSIDECAR_AWS_MAX_ATTEMPTS="2") as sidecar:
        await sidecar.dynamodb.TransactWriteItems(TRANSACT)
        await sidecar.dynamodb.TransactWriteItems(TRANSACT)
    first, again, other = (request.parameters["ClientRequestToken"] for request in aws.requests)
    assert first == again
    assert len(first) == 36
    assert other != first


async def test_token_that_the_caller_chose_is_sent_as_it_is(sidecar: Sidecar, aws: StubAws) -> None:
    request = transactions_pb2.TransactWriteItemsRequest(client_request_token="mine")
    request.MergeFrom(TRANSACT)
    await sidecar.dynamodb.TransactWriteItems(request)
    assert [one.parameters["ClientRequestToken"] for one in aws.requests] == ["mine"]
