"""Transactions in each other's way, over a real connection: tried again for the caller who asks, and told how often."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message
from tests.integration.stub.conftest import Start
from tests.integration.stub.sidecar import LANE, Sidecar, refusal_of
from tests.integration.stub_aws import Answer, StubAws, refused

from awsidecar.dynamodb.v1 import items_pb2, partiql_pb2, transactions_pb2
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue
from awsidecar.errors.v1 import errors_pb2

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(LANE == "sdk", reason="the SDK leaves conflicts to the application"),
]

KEY = {"id": AttributeValue(s="ann")}
PUT = transactions_pb2.TransactWriteItem(put=transactions_pb2.Put(table_name="users", item=KEY))
GET = transactions_pb2.TransactGetItem(get=transactions_pb2.Get(table_name="users", key=KEY))
WRITE = transactions_pb2.TransactWriteItemsRequest(transact_items=[PUT, PUT])
ADD = items_pb2.UpdateItemRequest(
    table_name="users",
    key=KEY,
    update_expression="ADD visits :one",
    expression_attribute_values={":one": AttributeValue(n="1")},
)
ASKED = (("x-awsidecar-retry-conflicts", "true"),)


def canceled(*codes: str) -> Answer:
    reasons = [{"Code": code} for code in codes]
    return refused("TransactionCanceledException", "Transaction cancelled", 400, CancellationReasons=reasons)


CONFLICT = refused("TransactionConflictException", "Transaction is ongoing for the item")


@pytest.mark.parametrize(
    ("operation", "request_", "conflict"),
    [
        ("TransactWriteItems", WRITE, canceled("None", "TransactionConflict")),
        (
            "TransactGetItems",
            transactions_pb2.TransactGetItemsRequest(transact_items=[GET]),
            canceled("TransactionConflict"),
        ),
        (
            "ExecuteTransaction",
            partiql_pb2.ExecuteTransactionRequest(
                transact_statements=[
                    partiql_pb2.ParameterizedStatement(statement="UPDATE users SET n = 1 WHERE id = 'ann'")
                ]
            ),
            canceled("TransactionConflict"),
        ),
        ("UpdateItem", ADD, CONFLICT),
    ],
)
async def test_conflict_is_tried_again_until_it_is_over(
    sidecar: Sidecar, aws: StubAws, operation: str, request_: Message, conflict: Answer
) -> None:
    aws.on(operation, conflict, conflict, Answer())
    call = getattr(sidecar.dynamodb, operation)(request_, metadata=ASKED, timeout=20)
    await call
    assert dict(await call.trailing_metadata())["x-awsidecar-attempts"] == "3"
    assert aws.count(operation) == 3
    first, *others = (request.parameters for request in aws.requests)
    assert all(other == first for other in others)


async def test_conflict_is_told_at_once_to_who_does_not_ask(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("TransactWriteItems", canceled("None", "TransactionConflict"), Answer())
    refusal = await refusal_of(sidecar.dynamodb.TransactWriteItems(WRITE))
    assert (refusal.code.name, refusal.metadata["attempts"]) == ("ABORTED", "1")
    codes = [reason.code for reason in refusal.detail(errors_pb2.TransactionCanceled).reasons]
    assert codes == ["None", "TransactionConflict"]


async def test_failed_condition_is_told_at_once(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("TransactWriteItems", canceled("ConditionalCheckFailed", "TransactionConflict"), Answer())
    refusal = await refusal_of(sidecar.dynamodb.TransactWriteItems(WRITE, metadata=ASKED))
    assert refusal.metadata["attempts"] == "1"


async def test_conflict_that_lasts_is_told_after_as_many_attempts_as_the_caller_says(
    sidecar: Sidecar, aws: StubAws
) -> None:
    aws.on("UpdateItem", CONFLICT)
    asked = (("x-awsidecar-retry-conflicts", "3"),)
    refusal = await refusal_of(sidecar.dynamodb.UpdateItem(ADD, metadata=asked))
    assert (refusal.code.name, refusal.metadata["attempts"]) == ("ABORTED", "3")
    assert "ambiguous" not in refusal.metadata
    assert refusal.trailers["x-awsidecar-attempts"] == "3"


async def test_transaction_in_progress_is_asked_for_and_may_have_happened_at_the_end(
    aws: StubAws, start: Start
) -> None:
    aws.on("TransactWriteItems", refused("TransactionInProgressException"))
    async with start(AWSIDECAR_AWS_MAX_ATTEMPTS="2") as sidecar:
        refusal = await refusal_of(sidecar.dynamodb.TransactWriteItems(WRITE, timeout=3))
    assert refusal.code.name in {"ABORTED", "DEADLINE_EXCEEDED"}
    assert refusal.metadata["ambiguous"] == "true"
    assert int(refusal.metadata["attempts"]) > 2
    assert len({request.parameters["ClientRequestToken"] for request in aws.requests}) == 1


async def test_number_of_attempts_that_is_none_is_refused_before_aws_is_asked(
    sidecar: Sidecar, aws: StubAws
) -> None:
    asked = (("x-awsidecar-retry-conflicts", "often"),)
    refusal = await refusal_of(sidecar.dynamodb.TransactWriteItems(WRITE, metadata=asked))
    assert (refusal.code.name, refusal.metadata["field"]) == ("INVALID_ARGUMENT", "x-awsidecar-retry-conflicts")
    assert aws.requests == []
