"""What AWS refuses, as the caller sees it."""

from __future__ import annotations

import re
from dataclasses import replace

import grpc
import pytest
from google.rpc import error_details_pb2
from tests.integration.stub.conftest import Start
from tests.integration.stub.sidecar import METADATA_LIMIT, Sidecar, connected, refusal_of
from tests.integration.stub_aws import REQUEST_ID, Answer, StubAws, refused

from awsidecar.dynamodb.v1 import items_pb2, streams_pb2, transactions_pb2
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue
from awsidecar.dynamodb.v1.streams_service_pb2_grpc import DynamoDbStreamsServiceStub
from awsidecar.errors.v1 import errors_pb2
from awsidecar_server.api.status import AWS_CODES

pytestmark = pytest.mark.asyncio(loop_scope="session")

GET = items_pb2.GetItemRequest(table_name="users", key={"id": AttributeValue(s="ann")})
PUT = items_pb2.PutItemRequest(table_name="users", item={"id": AttributeValue(s="ann")})
TRANSACT = transactions_pb2.TransactWriteItemsRequest(
    transact_items=[transactions_pb2.TransactWriteItem(put=transactions_pb2.Put(table_name="users", item=PUT.item))]
    * 2
)
ANN = Answer({"Item": {"id": {"S": "ann"}}})
# "ErrorInfo" in google/rpc/error_details.proto.
REASON = re.compile(r"[A-Z][A-Z0-9_]+[A-Z0-9]")

TABLE = [
    ("ResourceNotFoundException", "RESOURCE_NOT_FOUND_EXCEPTION", "NOT_FOUND"),
    ("TableNotFoundException", "TABLE_NOT_FOUND_EXCEPTION", "NOT_FOUND"),
    ("BackupNotFoundException", "BACKUP_NOT_FOUND_EXCEPTION", "NOT_FOUND"),
    ("ConditionalCheckFailedException", "CONDITIONAL_CHECK_FAILED_EXCEPTION", "FAILED_PRECONDITION"),
    ("TransactionCanceledException", "TRANSACTION_CANCELED_EXCEPTION", "ABORTED"),
    ("TransactionConflictException", "TRANSACTION_CONFLICT_EXCEPTION", "ABORTED"),
    ("ReplicatedWriteConflictException", "REPLICATED_WRITE_CONFLICT_EXCEPTION", "ABORTED"),
    ("ValidationException", "VALIDATION_EXCEPTION", "INVALID_ARGUMENT"),
    ("SerializationException", "SERIALIZATION_EXCEPTION", "INVALID_ARGUMENT"),
    ("IdempotentParameterMismatchException", "IDEMPOTENT_PARAMETER_MISMATCH_EXCEPTION", "INVALID_ARGUMENT"),
    (
        "ItemCollectionSizeLimitExceededException",
        "ITEM_COLLECTION_SIZE_LIMIT_EXCEEDED_EXCEPTION",
        "RESOURCE_EXHAUSTED",
    ),
    ("ResourceInUseException", "RESOURCE_IN_USE_EXCEPTION", "FAILED_PRECONDITION"),
    ("TableAlreadyExistsException", "TABLE_ALREADY_EXISTS_EXCEPTION", "ALREADY_EXISTS"),
    ("DuplicateItem", "DUPLICATE_ITEM", "ALREADY_EXISTS"),
    ("DuplicateItemException", "DUPLICATE_ITEM_EXCEPTION", "ALREADY_EXISTS"),
    ("ProvisionedThroughputExceededException", "PROVISIONED_THROUGHPUT_EXCEEDED_EXCEPTION", "RESOURCE_EXHAUSTED"),
    ("ThrottlingException", "THROTTLING_EXCEPTION", "RESOURCE_EXHAUSTED"),
    ("RequestLimitExceeded", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"),
    ("LimitExceededException", "LIMIT_EXCEEDED_EXCEPTION", "RESOURCE_EXHAUSTED"),
    ("AccessDeniedException", "ACCESS_DENIED_EXCEPTION", "PERMISSION_DENIED"),
    ("UnrecognizedClientException", "UNRECOGNIZED_CLIENT_EXCEPTION", "UNAUTHENTICATED"),
    ("InvalidSignatureException", "INVALID_SIGNATURE_EXCEPTION", "UNAUTHENTICATED"),
    ("MissingAuthenticationTokenException", "MISSING_AUTHENTICATION_TOKEN_EXCEPTION", "UNAUTHENTICATED"),
    ("InternalServerError", "INTERNAL_SERVER_ERROR", "UNAVAILABLE"),
    ("ServiceUnavailable", "SERVICE_UNAVAILABLE", "UNAVAILABLE"),
]
THROTTLES = [
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "LimitExceededException",
]


@pytest.mark.parametrize(("code", "reason", "expected"), TABLE, ids=[row[0] for row in TABLE])
async def test_refusal_keeps_the_code_of_aws_and_has_the_status_of_the_table(
    sidecar: Sidecar, aws: StubAws, code: str, reason: str, expected: str
) -> None:
    status = 500 if expected == "UNAVAILABLE" else 400
    aws.on("GetItem", refused(code, "of table arn:aws:dynamodb:eu-central-1:123456789012:table/users", status))
    refusal = await refusal_of(sidecar.dynamodb.GetItem(GET))
    assert (refusal.code.name, refusal.info.domain, refusal.reason) == (expected, "dynamodb.amazonaws.com", reason)
    assert refusal.metadata == {
        "aws_error_code": code,
        "request_id": REQUEST_ID,
        "http_status": str(status),
        "attempts": "1",
        "operation": "GetItem",
    }
    assert refusal.message == "of table arn:aws:dynamodb:eu-central-1:************:table/users"
    assert refusal.detail(error_details_pb2.RequestInfo).request_id == REQUEST_ID
    assert "123456789012" not in str(refusal.status)


async def test_every_code_of_the_table_is_a_code_of_grpc_with_a_readable_reason(
    sidecar: Sidecar, aws: StubAws
) -> None:
    for code, expected in AWS_CODES.items():
        if code.startswith("Expired") or code == "RequestExpired":
            continue  # they make the sidecar renew its credentials: tested with the sessions
        aws.on("GetItem", refused(code, "no"))
        refusal = await refusal_of(sidecar.dynamodb.GetItem(GET))
        assert (refusal.code, refusal.metadata["aws_error_code"]) == (expected, code)
        assert REASON.fullmatch(refusal.reason)


@pytest.mark.parametrize(
    ("http_status", "expected"),
    [
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (409, "ABORTED"),
        (413, "RESOURCE_EXHAUSTED"),
        (429, "RESOURCE_EXHAUSTED"),
        (418, "FAILED_PRECONDITION"),
        (500, "UNAVAILABLE"),
        (503, "UNAVAILABLE"),
    ],
)
async def test_code_that_nobody_knows_is_judged_by_its_http_status(
    sidecar: Sidecar, aws: StubAws, http_status: int, expected: str
) -> None:
    aws.on("GetItem", refused("BrandNewException", "new", http_status))
    refusal = await refusal_of(sidecar.dynamodb.GetItem(GET))
    assert (refusal.code.name, refusal.reason) == (expected, "BRAND_NEW_EXCEPTION")
    assert refusal.metadata["http_status"] == str(http_status)


@pytest.mark.parametrize("code", ["", "503", "Ünïcode!", "a" * 300, "\ud800", "With: colon", "prefix#Sub.Code"])
async def test_odd_code_still_makes_a_complete_error(sidecar: Sidecar, aws: StubAws, code: str) -> None:
    aws.on("GetItem", refused(code, "odd"))
    refusal = await refusal_of(sidecar.dynamodb.GetItem(GET))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert REASON.fullmatch(refusal.reason)
    assert len(refusal.reason) <= 63


@pytest.mark.parametrize("code", THROTTLES)
async def test_throttling_tells_when_to_try_again(sidecar: Sidecar, aws: StubAws, code: str) -> None:
    aws.on("PutItem", refused(code, "slow down"))
    refusal = await refusal_of(sidecar.dynamodb.PutItem(PUT))
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refusal.detail(error_details_pb2.RetryInfo).retry_delay.ToSeconds() >= 1


@pytest.mark.parametrize(
    ("code", "member"),
    [
        ("ProvisionedThroughputExceededException", "ThrottlingReasons"),
        ("RequestLimitExceeded", "ThrottlingReasons"),
        ("ThrottlingException", "throttlingReasons"),
    ],
)
async def test_throttling_carries_the_reasons_of_aws(
    sidecar: Sidecar, aws: StubAws, code: str, member: str
) -> None:
    resource = "arn:aws:dynamodb:eu-central-1:123456789012:table/users"
    reasons = [{"reason": "TableWriteProvisionedThroughputExceeded", "resource": resource}]
    aws.on("PutItem", refused(code, "slow down", **{member: reasons}))
    throttled = (await refusal_of(sidecar.dynamodb.PutItem(PUT))).detail(errors_pb2.Throttled)
    assert [(one.reason, one.resource) for one in throttled.reasons] == [
        ("TableWriteProvisionedThroughputExceeded", "arn:aws:dynamodb:eu-central-1:************:table/users")
    ]


async def test_canceled_transaction_tells_why_action_by_action(sidecar: Sidecar, aws: StubAws) -> None:
    reasons = [
        {"Code": "None"},
        {
            "Code": "ConditionalCheckFailed",
            "Message": "it failed",
            "Item": {"id": {"S": "ann"}, "n": {"N": "1.50"}},
        },
    ]
    aws.on("TransactWriteItems", refused("TransactionCanceledException", "cancelled", CancellationReasons=reasons))
    refusal = await refusal_of(sidecar.dynamodb.TransactWriteItems(TRANSACT))
    assert refusal.code is grpc.StatusCode.ABORTED
    first, second = refusal.detail(errors_pb2.TransactionCanceled).reasons
    assert (first.code, first.message, first.HasField("item")) == ("None", "", False)
    assert (second.code, second.message) == ("ConditionalCheckFailed", "it failed")
    assert (second.item.attributes["id"].s, second.item.attributes["n"].n) == ("ann", "1.50")
    assert not second.item_omitted


async def test_canceled_transaction_of_a_hundred_actions_fits_a_client_that_says_nothing(
    sidecar: Sidecar, aws: StubAws
) -> None:
    reason = {"Code": "ItemCollectionSizeLimitExceeded", "Message": "m" * 200, "Item": {"id": {"S": "x" * 5000}}}
    message = f"cancelled [{', '.join(['ItemCollectionSizeLimitExceeded'] * 100)}]"
    answer = refused("TransactionCanceledException", message, CancellationReasons=[reason] * 100)
    aws.on("TransactWriteItems", answer)
    async with connected(sidecar.target, options=[]) as plain:
        refusal = await refusal_of(plain.dynamodb.TransactWriteItems(TRANSACT))
    canceled = refusal.detail(errors_pb2.TransactionCanceled)
    assert [one.code for one in canceled.reasons] == ["ItemCollectionSizeLimitExceeded"] * 100
    assert all(one.item_omitted for one in canceled.reasons)
    assert refusal.metadata_bytes < METADATA_LIMIT


async def test_failed_condition_carries_the_old_item(sidecar: Sidecar, aws: StubAws) -> None:
    item = {"id": {"S": "ann"}, "tags": {"SS": ["a", "b"]}, "photo": {"B": "AAEC"}}
    aws.on("PutItem", refused("ConditionalCheckFailedException", "the condition failed", Item=item))
    failed = (await refusal_of(sidecar.dynamodb.PutItem(PUT))).detail(errors_pb2.ConditionalCheckFailed)
    assert failed.item.attributes["id"].s == "ann"
    assert list(failed.item.attributes["tags"].ss.values) == ["a", "b"]
    assert failed.item.attributes["photo"].b == b"\x00\x01\x02"
    assert not failed.item_omitted


async def test_failed_condition_without_an_item_says_so(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("PutItem", refused("ConditionalCheckFailedException", "the condition failed"))
    failed = (await refusal_of(sidecar.dynamodb.PutItem(PUT))).detail(errors_pb2.ConditionalCheckFailed)
    assert (failed.HasField("item"), failed.item_omitted) == (False, False)


async def test_big_old_item_is_left_out_for_a_client_that_says_nothing(sidecar: Sidecar, aws: StubAws) -> None:
    item = {"id": {"S": "ann"}, "text": {"S": "x" * 300_000}}
    aws.on("PutItem", refused("ConditionalCheckFailedException", "the condition failed", Item=item))
    async with connected(sidecar.target, options=[]) as plain:
        failed = (await refusal_of(plain.dynamodb.PutItem(PUT))).detail(errors_pb2.ConditionalCheckFailed)
    assert (failed.HasField("item"), failed.item_omitted) == (False, True)


async def test_big_old_item_comes_to_a_client_that_announces_room_for_it(sidecar: Sidecar, aws: StubAws) -> None:
    item = {"id": {"S": "ann"}, "text": {"S": "x" * 300_000}}
    aws.on("PutItem", refused("ConditionalCheckFailedException", "the condition failed", Item=item))
    room = [("grpc.max_metadata_size", 600_000), ("grpc.absolute_max_metadata_size", 800_000)]
    async with connected(sidecar.target, options=room) as roomy:
        announced = (("x-awsidecar-max-details-bytes", "400000"),)
        refusal = await refusal_of(roomy.dynamodb.PutItem(PUT, metadata=announced))
    failed = refusal.detail(errors_pb2.ConditionalCheckFailed)
    assert len(failed.item.attributes["text"].s) == 300_000
    assert not failed.item_omitted


@pytest.mark.parametrize(
    "message",
    ["x" * 100_000, "🦊" * 2_000, "%" * 3_000, "line\nbreak\r\0tab\t" * 300, "\ud800 half a pair"],
    ids=["long", "wide", "escaped", "control", "surrogate"],
)
async def test_whatever_aws_says_fits_a_client_that_says_nothing(
    sidecar: Sidecar, aws: StubAws, message: str
) -> None:
    aws.on("GetItem", refused("ValidationException", message))
    async with connected(sidecar.target, options=[]) as plain:
        refusal = await refusal_of(plain.dynamodb.GetItem(GET))
    assert (refusal.code.name, refusal.reason) == ("INVALID_ARGUMENT", "VALIDATION_EXCEPTION")
    assert refusal.metadata_bytes < METADATA_LIMIT


async def test_wide_message_beside_an_item_fits_a_client_that_says_nothing(sidecar: Sidecar, aws: StubAws) -> None:
    item = {"id": {"S": "x" * 2500}}
    aws.on("PutItem", refused("ConditionalCheckFailedException", "🦊" * 2_000, Item=item))
    async with connected(sidecar.target, options=[]) as plain:
        refusal = await refusal_of(plain.dynamodb.PutItem(PUT))
    assert refusal.detail(errors_pb2.ConditionalCheckFailed).item.attributes["id"].s == "x" * 2500
    assert refusal.metadata_bytes < METADATA_LIMIT


async def test_many_fields_at_fault_fit_a_client_that_says_nothing(sidecar: Sidecar, aws: StubAws) -> None:
    faults = "; ".join(
        f"Value 'v' at '{'member' * 40}{n}' failed to satisfy constraint: {'ü' * 900}" for n in range(20)
    )
    aws.on("GetItem", refused("ValidationException", f"20 validation errors detected: {faults}"))
    async with connected(sidecar.target, options=[]) as plain:
        refusal = await refusal_of(plain.dynamodb.GetItem(GET))
    assert refusal.reason == "VALIDATION_EXCEPTION"
    assert refusal.detail(error_details_pb2.BadRequest).field_violations
    assert refusal.metadata_bytes < METADATA_LIMIT


async def test_field_at_fault_is_named(sidecar: Sidecar, aws: StubAws) -> None:
    constraint = "Member must have length greater than or equal to 3"
    message = f"1 validation error detected: Value 'a' at 'tableName' failed to satisfy constraint: {constraint}"
    aws.on("GetItem", refused("ValidationException", message))
    bad = (await refusal_of(sidecar.dynamodb.GetItem(GET))).detail(error_details_pb2.BadRequest)
    assert [(one.field, one.description) for one in bad.field_violations] == [("TableName", constraint)]


async def test_odd_request_id_harms_neither_answer_nor_error(sidecar: Sidecar, aws: StubAws) -> None:
    for header in ("ü" * 10, "x" * 2_000):
        odd = {"x-amzn-RequestId": header}
        aws.on("GetItem", replace(ANN, headers=odd), replace(refused("ValidationException"), headers=odd))
        await sidecar.dynamodb.GetItem(GET)
        refusal = await refusal_of(sidecar.dynamodb.GetItem(GET))
        assert refusal.reason == "VALIDATION_EXCEPTION"


async def test_streams_have_a_domain_of_their_own(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("GetRecords", refused("TrimmedDataAccessException", "gone"))
    streams = DynamoDbStreamsServiceStub(sidecar.channel)
    refusal = await refusal_of(streams.GetRecords(streams_pb2.GetRecordsRequest(shard_iterator="it")))
    assert (refusal.code.name, refusal.info.domain) == ("OUT_OF_RANGE", "streams.dynamodb.amazonaws.com")


async def test_failures_of_aws_are_tried_again_and_the_attempts_counted(aws: StubAws, start: Start) -> None:
    aws.on("GetItem", refused("InternalServerError", "sorry", 500))
    async with start(AWSIDECAR_AWS_MAX_ATTEMPTS="3") as sidecar:
        refusal = await refusal_of(sidecar.dynamodb.GetItem(GET))
    assert (refusal.code.name, refusal.metadata["attempts"]) == ("UNAVAILABLE", "3")
    assert refusal.trailers["x-awsidecar-attempts"] == "3"
    assert aws.count("GetItem") == 3


async def test_success_after_a_failure_tells_its_attempts(aws: StubAws, start: Start) -> None:
    aws.on("GetItem", refused("InternalServerError", "sorry", 500), refused("ThrottlingException"), ANN)
    async with start(AWSIDECAR_AWS_MAX_ATTEMPTS="3") as sidecar:
        call = sidecar.dynamodb.GetItem(GET)
        assert (await call).item.attributes["id"].s == "ann"
        assert dict(await call.trailing_metadata())["x-awsidecar-attempts"] == "3"
