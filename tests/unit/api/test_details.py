from __future__ import annotations

from typing import Any, TypeVar

import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from awsidecar.errors.v1 import errors_pb2
from awsidecar_server.api.details import DEFAULT_BUDGET_BYTES, LARGEST_BUDGET_BYTES, status_of
from awsidecar_server.api.status import verdict
from awsidecar_server.errors import (
    AwsRejected,
    AwsUnreachable,
    DeadlineSpent,
    Draining,
    FieldViolation,
    InvalidRequest,
    LimitReached,
    SidecarError,
    Unauthenticated,
)

M = TypeVar("M", bound=Message)
Failure = SidecarError | AwsRejected

CODES = st.sampled_from(["None", "ConditionalCheckFailed", "TransactionConflict", "ValidationError"])
TEXTS = st.text(max_size=30) | st.builds(str.__mul__, st.sampled_from("aß…😀"), st.integers(0, 3000))
ITEMS = st.builds(lambda size: {"id": {"S": "x" * size}}, st.integers(0, 8000))
REASONS = st.lists(
    st.fixed_dictionaries({"Code": CODES}, optional={"Message": TEXTS, "Item": ITEMS}), min_size=1, max_size=100
)
BUDGETS = st.integers(DEFAULT_BUDGET_BYTES, 40_000)


def aws(code: str, message: str = "no", /, *, http_status: int = 400, **members: Any) -> AwsRejected:
    return AwsRejected(
        "dynamodb",
        "GetItem",
        code,
        message,
        request_id="REQ1",
        http_status=http_status,
        attempts=2,
        members=members,
    )


def status(failure: Failure, budget: int = DEFAULT_BUDGET_BYTES) -> status_pb2.Status:
    return status_of(failure, verdict(failure), "GetItem", budget)


def details(found: status_pb2.Status, kind: type[M]) -> list[M]:
    unpacked = []
    for packed in found.details:
        if packed.Is(kind.DESCRIPTOR):
            one = kind()
            packed.Unpack(one)
            unpacked.append(one)
    return unpacked


def info(failure: Failure) -> Any:
    (found,) = details(status(failure), error_details_pb2.ErrorInfo)
    return found


def test_refusal_of_aws_is_complete() -> None:
    failure = aws("ResourceNotFoundException", "Requested resource not found")
    found = status(failure)
    assert (found.code, found.message) == (StatusCode.NOT_FOUND.value[0], "Requested resource not found")
    assert info(failure) == error_details_pb2.ErrorInfo(
        reason="RESOURCE_NOT_FOUND_EXCEPTION",
        domain="dynamodb.amazonaws.com",
        metadata={
            "operation": "GetItem",
            "aws_error_code": "ResourceNotFoundException",
            "request_id": "REQ1",
            "http_status": "400",
            "attempts": "2",
        },
    )
    assert details(found, error_details_pb2.RequestInfo) == [error_details_pb2.RequestInfo(request_id="REQ1")]


def test_request_id_that_aws_did_not_give_is_absent() -> None:
    failure = AwsRejected("dynamodb", "GetItem", "AccessDeniedException", "no", http_status=403)
    assert "request_id" not in info(failure).metadata


def test_refusal_of_our_own_says_what_its_reason_documents() -> None:
    assert info(AwsUnreachable("no", cause="connect")) == error_details_pb2.ErrorInfo(
        reason="AWS_UNREACHABLE", domain="awsidecar", metadata={"operation": "GetItem", "cause": "connect"}
    )


@pytest.mark.parametrize(
    "failure",
    [
        aws("ValidationException", "The provided key element does not match the schema"),
        aws("ThrottlingException", ThrottlingReasons=[{"reason": "X", "resource": "Y"}]),
        aws("ConditionalCheckFailedException", Item={"id": {"S": "1"}}),
        aws("", "", http_status=503),
        InvalidRequest("no", FieldViolation("Key", "is required"), field="Key"),
        Unauthenticated("no", reason="SESSION_NOT_FOUND"),
        Draining(),
        DeadlineSpent(),
    ],
)
def test_there_is_exactly_one_error_info(failure: Failure) -> None:
    found = status(failure)
    (one,) = details(found, error_details_pb2.ErrorInfo)
    assert one.domain
    assert one.reason
    assert found.message, "a status without a message says nothing to a person"


@pytest.mark.parametrize("code", ["ThrottlingException", "ProvisionedThroughputExceededException", "SlowDown"])
def test_throttled_caller_is_told_when_to_try_again(code: str) -> None:
    (retry,) = details(status(aws(code)), error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToTimedelta().total_seconds() == 1
    assert details(status(aws("ValidationException")), error_details_pb2.RetryInfo) == []


def test_overload_of_the_sidecar_tells_when_to_try_again_too() -> None:
    overloaded = LimitReached("too many calls are in flight", reason="OVERLOADED", limit="2")
    assert len(details(status(overloaded), error_details_pb2.RetryInfo)) == 1
    too_large = LimitReached("the request is too large", reason="MESSAGE_TOO_LARGE")
    assert details(status(too_large), error_details_pb2.RetryInfo) == []


@pytest.mark.parametrize("member", ["ThrottlingReasons", "throttlingReasons"])
def test_reasons_for_throttling_come_along_without_the_account(member: str) -> None:
    reasons = [
        {"reason": "TableReadProvisionedThroughputExceeded", "resource": "arn:aws:dynamodb:r:123456789012:table/t"}
    ]
    throttled = aws("ThrottlingException")
    throttled.members = {member: reasons}
    (found,) = details(status(throttled), errors_pb2.Throttled)
    assert [(one.reason, one.resource) for one in found.reasons] == [
        ("TableReadProvisionedThroughputExceeded", "arn:aws:dynamodb:r:************:table/t")
    ]


def test_field_at_fault_is_named() -> None:
    (found,) = details(
        status(aws("ValidationException", "The provided key element does not match the schema")),
        error_details_pb2.BadRequest,
    )
    assert [(one.field, one.description) for one in found.field_violations] == [
        ("Key", "The provided key element does not match the schema")
    ]
    ours = InvalidRequest("Key: is required", FieldViolation("Key", "is required"), field="Key")
    (own,) = details(status(ours), error_details_pb2.BadRequest)
    assert [(one.field, one.description) for one in own.field_violations] == [("Key", "is required")]


def test_message_that_only_looks_like_validation_names_no_field() -> None:
    failure = aws("AccessDeniedException", "The provided key element does not match the schema")
    assert details(status(failure), error_details_pb2.BadRequest) == []


def test_item_of_a_failed_condition_comes_along() -> None:
    (found,) = details(
        status(aws("ConditionalCheckFailedException", Item={"id": {"S": "1"}, "n": {"N": "1.0"}})),
        errors_pb2.ConditionalCheckFailed,
    )
    assert found.item.attributes["n"].n == "1.0"
    assert not found.item_omitted


def test_item_that_was_not_asked_for_is_absent() -> None:
    (found,) = details(status(aws("ConditionalCheckFailedException")), errors_pb2.ConditionalCheckFailed)
    assert not found.HasField("item")
    assert not found.item_omitted


def test_item_that_does_not_fit_is_left_out_and_said_so() -> None:
    failure = aws("ConditionalCheckFailedException", Item={"id": {"B": bytes(300_000)}})
    (left_out,) = details(status(failure), errors_pb2.ConditionalCheckFailed)
    assert left_out.item_omitted
    assert not left_out.HasField("item")
    (whole,) = details(status(failure, LARGEST_BUDGET_BYTES), errors_pb2.ConditionalCheckFailed)
    assert not whole.item_omitted
    assert len(whole.item.attributes["id"].b) == 300_000


def test_cancelled_transaction_has_a_reason_for_each_action() -> None:
    reasons = [
        {"Code": "None"},
        {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed", "Item": {"id": {"S": "1"}}},
    ]
    (found,) = details(
        status(aws("TransactionCanceledException", CancellationReasons=reasons)), errors_pb2.TransactionCanceled
    )
    assert [(one.code, one.message, one.HasField("item")) for one in found.reasons] == [
        ("None", "", False),
        ("ConditionalCheckFailed", "The conditional request failed", True),
    ]


@given(REASONS, TEXTS, BUDGETS)
def test_cancelled_transaction_keeps_to_the_budget_and_loses_no_code(
    reasons: list[dict[str, Any]], message: str, budget: int
) -> None:
    found = status(aws("TransactionCanceledException", message, CancellationReasons=reasons), budget)
    codes = [{"Code": one["Code"]} for one in reasons]
    least = status(aws("TransactionCanceledException", message, CancellationReasons=codes), budget)
    (canceled,) = details(found, errors_pb2.TransactionCanceled)
    assert [one.code for one in canceled.reasons] == [one["Code"] for one in reasons]
    for told, given_ in zip(canceled.reasons, reasons, strict=True):
        assert bool(given_.get("Item")) == (told.HasField("item") or told.item_omitted)
        assert not (told.HasField("item") and told.item_omitted)
    omitted = 4 * sum(1 for one in reasons if one.get("Item"))
    assert found.ByteSize() <= max(budget, least.ByteSize() + omitted)


@given(TEXTS, ITEMS, BUDGETS)
def test_failed_condition_keeps_to_the_budget(message: str, item: dict[str, Any], budget: int) -> None:
    failure = aws("ConditionalCheckFailedException", message, Item=item)
    assert status(failure, budget).ByteSize() <= budget


@given(
    st.sampled_from(["ValidationException", "ThrottlingException", "NoneSuch"]),
    st.lists(st.sampled_from(["Value 'x' at 'a.b' failed to satisfy constraint: ", "y" * 900, "😀" * 300, "; "])),
    st.lists(st.fixed_dictionaries({"reason": TEXTS, "resource": TEXTS}), max_size=20),
)
def test_texts_of_aws_keep_to_the_smallest_budget(
    code: str, texts: list[str], reasons: list[dict[str, Any]]
) -> None:
    found = status(aws(code, "".join(texts), ThrottlingReasons=reasons))
    assert found.ByteSize() <= DEFAULT_BUDGET_BYTES
    assert len(found.message.encode()) <= 1024


@given(st.lists(TEXTS, min_size=1, max_size=20))
def test_paths_of_the_caller_keep_to_the_smallest_budget(names: list[str]) -> None:
    failure = InvalidRequest(names[0], *(FieldViolation(name, name) for name in names), field=names[0])
    assert status(failure).ByteSize() <= DEFAULT_BUDGET_BYTES


ARN = "arn:aws:dynamodb:eu-central-1:123456789012:table/films"
KEY_ID = "ASIAIOSFODNN7EXAMPLE"


@pytest.mark.parametrize(
    "failure",
    [
        aws("AccessDeniedException", f"User {ARN} with {KEY_ID} may not"),
        aws(
            "ValidationException",
            f"Value '{KEY_ID}' at 'requestItems.{ARN}.member' failed to satisfy constraint: {ARN}",
        ),
        aws("ValidationException", f"Type mismatch for key {KEY_ID} {ARN}"),
        aws("ThrottlingException", ThrottlingReasons=[{"reason": "X", "resource": ARN}]),
        aws(
            "TransactionCanceledException",
            ARN,
            CancellationReasons=[{"Code": "ValidationError", "Message": f"{ARN} {KEY_ID}"}],
        ),
        InvalidRequest(f"RequestItems.{ARN}: {KEY_ID}", FieldViolation(ARN, KEY_ID), field=f"RequestItems.{ARN}"),
    ],
)
def test_no_part_of_a_status_tells_an_account_or_a_key_id(failure: Failure) -> None:
    raw = status(failure).SerializeToString()
    assert b"123456789012" not in raw
    assert KEY_ID.encode() not in raw


def test_text_that_has_no_utf_8_does_not_stop_the_answer() -> None:
    found = status(aws("ValidationException", "cut \ud83d here"))
    assert found.message == "cut ? here"
