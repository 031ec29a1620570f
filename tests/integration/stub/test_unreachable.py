"""AWS that gives no answer, or none that can be read; and defects of the sidecar itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.integration.stub.conftest import Start
from tests.integration.stub.sidecar import Sidecar, connected, refusal_of
from tests.integration.stub_aws import Answer, StubAws, held, refused

from awsidecar.dynamodb.v1 import items_pb2, transactions_pb2
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue
from awsidecar.errors.v1 import errors_pb2

pytestmark = pytest.mark.asyncio(loop_scope="session")

GET = items_pb2.GetItemRequest(table_name="users", key={"id": AttributeValue(s="ann")})
PUT = items_pb2.PutItemRequest(table_name="users", item={"id": AttributeValue(s="ann")})
GOOD = {"Item": {"id": {"S": "ann"}}}
UNREADABLE = {
    "not json": Answer(b"<html>a captive portal</html>"),
    "cut json": Answer(b'{"Item": {"id": {"S": "an'),
    "not utf-8": Answer(b'{"Item": {"id": {"S": "\xff\xfe"}}}'),
    "not an object": Answer(b"[1, 2]"),
    "null": Answer(b"null"),
    "wrong members": Answer(b'{"Item": "text"}'),
    "a value that no message holds": Answer({"Item": {"id": {"N": ["not", "text"]}}}),
    "half a surrogate pair": Answer({"Item": {"id": {"S": "\ud800"}}}),
    "deep": Answer(b'{"Item": {"a": ' + b'{"L": [' * 50_000 + b"]}" * 50_000 + b"}}"),
    "error with odd type": Answer(b'{"__type": 5, "message": "x"}', 400),
    "error not an object": Answer(b"[]", 400),
    "error not utf-8": Answer(b"\xff\xfe", 400),
}


@pytest.fixture
def refused_port() -> Iterator[int]:
    """A port that refuses connections: bound, so that nobody else gets it, and not listened to."""
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize("answer", UNREADABLE.values(), ids=UNREADABLE)
async def test_unreadable_answer_is_never_taken_for_an_empty_one(
    sidecar: Sidecar, aws: StubAws, answer: Answer
) -> None:
    """Read leniently, rubbish would say that the item does not exist."""
    aws.on("GetItem", answer)
    refusal = await refusal_of(sidecar.dynamodb.GetItem(GET))
    assert (refusal.code.name, refusal.info.domain, refusal.reason) == (
        "UNAVAILABLE",
        "awsidecar",
        "AWS_UNREACHABLE",
    )
    assert refusal.metadata["cause"] == "bad_response"


async def test_unreadable_refusal_is_judged_by_its_http_status(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("GetItem", Answer(b"<html>Bad Gateway</html>", 502))
    refusal = await refusal_of(sidecar.dynamodb.GetItem(GET))
    assert (refusal.code.name, refusal.reason, refusal.metadata["http_status"]) == (
        "UNAVAILABLE",
        "HTTP_502",
        "502",
    )


async def test_refused_connection_is_unavailable(start: Start, refused_port: int) -> None:
    async with start(AWS_ENDPOINT_URL=f"http://127.0.0.1:{refused_port}") as sidecar:
        refusal = await refusal_of(sidecar.dynamodb.GetItem(GET))
    assert (refusal.code.name, refusal.reason, refusal.metadata["cause"]) == (
        "UNAVAILABLE",
        "AWS_UNREACHABLE",
        "connect",
    )


@pytest.mark.parametrize("sent", [0, 10])
async def test_connection_lost_before_the_end_of_the_answer_is_unavailable(
    sidecar: Sidecar, aws: StubAws, sent: int
) -> None:
    aws.on("GetItem", Answer(GOOD, cut_after=sent))
    refusal = await refusal_of(sidecar.dynamodb.GetItem(GET))
    assert (refusal.code.name, refusal.reason, refusal.metadata["cause"]) == (
        "UNAVAILABLE",
        "AWS_UNREACHABLE",
        "connection_lost",
    )


async def test_lost_connection_is_made_anew_within_the_call(aws: StubAws, start: Start) -> None:
    aws.on("GetItem", Answer(GOOD, cut_after=0), Answer(GOOD))
    async with start(AWSIDECAR_AWS_MAX_ATTEMPTS="2") as sidecar:
        assert (await sidecar.dynamodb.GetItem(GET)).item.attributes["id"].s == "ann"


async def test_silence_of_aws_is_unavailable(aws: StubAws, start: Start) -> None:
    aws.on("GetItem", held())
    async with start(AWSIDECAR_AWS_READ_TIMEOUT_SECONDS="0.2") as sidecar:
        refusal = await refusal_of(sidecar.dynamodb.GetItem(GET))
    assert (refusal.code.name, refusal.reason, refusal.metadata["cause"]) == (
        "UNAVAILABLE",
        "AWS_UNREACHABLE",
        "timeout",
    )


async def test_refusal_whose_details_are_odd_keeps_its_code(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("PutItem", refused("ConditionalCheckFailedException", "no", Item={"a": {"N": ["not", "text"]}}))
    refusal = await refusal_of(sidecar.dynamodb.PutItem(PUT))
    assert (refusal.code.name, refusal.reason) == ("FAILED_PRECONDITION", "CONDITIONAL_CHECK_FAILED_EXCEPTION")
    assert not refusal.details(errors_pb2.ConditionalCheckFailed)
    aws.on(
        "TransactWriteItems", refused("TransactionCanceledException", "no", CancellationReasons=[None, {"Code": 5}])
    )
    transact = transactions_pb2.TransactWriteItemsRequest(
        transact_items=[
            transactions_pb2.TransactWriteItem(put=transactions_pb2.Put(table_name="users", item=PUT.item))
        ]
    )
    refusal = await refusal_of(sidecar.dynamodb.TransactWriteItems(transact))
    assert (refusal.code.name, refusal.reason) == ("ABORTED", "TRANSACTION_CANCELED_EXCEPTION")


async def test_long_name_of_a_field_at_fault_fits_a_client_that_says_nothing(sidecar: Sidecar) -> None:
    request = items_pb2.PutItemRequest(table_name="users", item={"ü" * 30_000: AttributeValue()})
    async with connected(sidecar.target, options=[]) as plain:
        refusal = await refusal_of(plain.dynamodb.PutItem(request))
    assert (refusal.code.name, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
