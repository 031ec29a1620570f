"""What a failed call becomes."""

from __future__ import annotations

import pickle

import grpc
import pytest

import awsidecar
from awsidecar import errors
from awsidecar.details import RequestInfo
from awsidecar.errors.v1 import errors_pb2
from awsidecar.failures import exception_of

from .fake_sidecar import FakeSidecar, Refused, bad_request, details_of, retry_info

AWS = "dynamodb.amazonaws.com"
SIDECAR = "awsidecar"


def refused(sidecar: FakeSidecar, client: awsidecar.Client, refusal: Refused) -> errors.SidecarError:
    sidecar.answer("PutItem", refusal)
    with pytest.raises(errors.SidecarError) as caught:
        client.dynamodb.put_item(TableName="users", Item={"id": "1"})
    return caught.value


def test_a_refusal_says_everything(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    details = details_of(
        "RESOURCE_NOT_FOUND_EXCEPTION",
        AWS,
        aws_error_code="ResourceNotFoundException",
        request_id="R-1",
        operation="PutItem",
    )
    error = refused(sidecar, client, Refused(grpc.StatusCode.NOT_FOUND, "Requested resource not found", details))
    assert isinstance(error, errors.ResourceNotFoundException)
    assert isinstance(error, errors.NotFound)
    assert error.code is grpc.StatusCode.NOT_FOUND
    assert (error.reason, error.domain) == ("RESOURCE_NOT_FOUND_EXCEPTION", AWS)
    assert (error.request_id, error.operation) == ("R-1", "PutItem")
    assert error.aws_error_code == "ResourceNotFoundException"
    assert error.metadata["operation"] == "PutItem"
    assert str(error) == "Requested resource not found [RESOURCE_NOT_FOUND_EXCEPTION, PutItem, request id R-1]"
    assert isinstance(error.__cause__, grpc.RpcError)


def test_the_old_item_of_a_failed_condition_is_there(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    failed = errors_pb2.ConditionalCheckFailed()
    failed.item.attributes["age"].n = "41"
    details = details_of("CONDITIONAL_CHECK_FAILED_EXCEPTION", AWS, failed)
    error = refused(sidecar, client, Refused(grpc.StatusCode.FAILED_PRECONDITION, "no", details))
    assert isinstance(error, errors.ConditionalCheckFailedException)
    assert error.item == {"age": 41}
    assert not error.item_omitted
    assert "41" not in repr(error)


def test_a_missing_item_of_a_failed_condition_is_none(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    failed = errors_pb2.ConditionalCheckFailed(item_omitted=True)
    details = details_of("CONDITIONAL_CHECK_FAILED_EXCEPTION", AWS, failed)
    error = refused(sidecar, client, Refused(grpc.StatusCode.FAILED_PRECONDITION, "no", details))
    assert isinstance(error, errors.ConditionalCheckFailedException)
    assert error.item is None
    assert error.item_omitted


def test_details_of_a_megabyte_arrive(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    failed = errors_pb2.ConditionalCheckFailed()
    failed.item.attributes["text"].s = "x" * 1_000_000
    details = details_of("CONDITIONAL_CHECK_FAILED_EXCEPTION", AWS, failed)
    error = refused(sidecar, client, Refused(grpc.StatusCode.FAILED_PRECONDITION, "no", details))
    assert isinstance(error, errors.ConditionalCheckFailedException)
    assert error.item is not None
    assert len(error.item["text"]) == 1_000_000


def test_each_action_of_a_cancelled_transaction_has_its_reason(
    sidecar: FakeSidecar, client: awsidecar.Client
) -> None:
    canceled = errors_pb2.TransactionCanceled()
    canceled.reasons.add(code="None")
    canceled.reasons.add(code="ConditionalCheckFailed", message="no").item.attributes["id"].s = "1"
    details = details_of("TRANSACTION_CANCELED_EXCEPTION", AWS, canceled)
    sidecar.answer("TransactWriteItems", Refused(grpc.StatusCode.ABORTED, "cancelled", details))
    with pytest.raises(errors.TransactionCanceledException) as caught:
        client.dynamodb.transact_write_items(TransactItems=[])
    first, second = caught.value.reasons
    assert (first.code, first.item) == ("None", None)
    assert (second.code, second.message, second.item) == ("ConditionalCheckFailed", "no", {"id": "1"})


def test_throttling_says_how_long_to_wait_and_why(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    throttled = errors_pb2.Throttled()
    throttled.reasons.add(reason="TableWriteProvisionedThroughputExceeded", resource="table/users")
    details = details_of("PROVISIONED_THROUGHPUT_EXCEEDED_EXCEPTION", AWS, retry_info(1, 500_000_000), throttled)
    error = refused(sidecar, client, Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", details))
    assert isinstance(error, errors.ProvisionedThroughputExceededException)
    assert isinstance(error, errors.Throttled)
    assert error.retry_after == 1.5
    assert error.throttling_reasons == (
        errors.ThrottlingReason("TableWriteProvisionedThroughputExceeded", "table/users"),
    )


def test_a_throttling_code_without_a_class_is_throttled_all_the_same(
    sidecar: FakeSidecar, client: awsidecar.Client
) -> None:
    details = details_of("SLOW_DOWN", AWS, retry_info(2))
    error = refused(sidecar, client, Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", details))
    assert type(error) is errors.Throttled
    assert error.retry_after == 2


def test_the_fields_at_fault_are_named(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    details = details_of("INVALID_REQUEST", "awsidecar", bad_request(Key="is required"))
    error = refused(sidecar, client, Refused(grpc.StatusCode.INVALID_ARGUMENT, "Key is required", details))
    assert type(error) is errors.InvalidRequest
    assert error.fields == (errors.FieldViolation("Key", "is required"),)


def test_the_request_id_may_come_from_elsewhere(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    details = details_of("X", AWS, RequestInfo(request_id="INFO"))
    assert refused(sidecar, client, Refused(grpc.StatusCode.INTERNAL, "", details, "T")).request_id == "INFO"
    assert refused(sidecar, client, Refused(grpc.StatusCode.INTERNAL, "", None, "TRAILER")).request_id == "TRAILER"


@pytest.mark.parametrize("details", [None, b"", b"\xff\xff\xff", details_of("NEW_REASON", "new.amazonaws.com")])
def test_what_is_unknown_or_unreadable_falls_back_to_the_code(
    sidecar: FakeSidecar, client: awsidecar.Client, details: bytes | None
) -> None:
    error = refused(sidecar, client, Refused(grpc.StatusCode.PERMISSION_DENIED, "no", details))
    assert type(error) is errors.PermissionDenied
    assert error.message == "no"


def test_an_item_of_an_unknown_type_leaves_the_rest_readable(
    sidecar: FakeSidecar, client: awsidecar.Client
) -> None:
    failed = errors_pb2.ConditionalCheckFailed()
    failed.item.attributes["new"].SetInParent()
    details = details_of("CONDITIONAL_CHECK_FAILED_EXCEPTION", AWS, failed)
    error = refused(sidecar, client, Refused(grpc.StatusCode.FAILED_PRECONDITION, "no", details))
    assert isinstance(error, errors.ConditionalCheckFailedException)
    assert error.item is None


@pytest.mark.parametrize(
    ("domain", "reason", "kind"),
    [
        ("awsidecar", "SESSION_NOT_FOUND", errors.SessionNotFound),
        ("awsidecar", "SESSION_EXPIRED", errors.SessionExpired),
        ("awsidecar", "TOKEN_REJECTED", errors.TokenRejected),
        ("awsidecar", "OVERLOADED", errors.Overloaded),
        ("awsidecar", "VALIDATION_EXCEPTION", errors.Unauthenticated),
        ("sts.amazonaws.com", "EXPIRED_TOKEN", errors.ExpiredTokenException),
        ("dynamodb.amazonaws.com", "DUPLICATE_ITEM", errors.DuplicateItemException),
        (AWS, "VALIDATION_EXCEPTION", errors.ValidationException),
        (AWS, "REQUEST_LIMIT_EXCEEDED", errors.RequestLimitExceeded),
        (AWS, "TRANSACTION_IN_PROGRESS_EXCEPTION", errors.TransactionInProgressException),
        ("streams.dynamodb.amazonaws.com", "TRIMMED_DATA_ACCESS_EXCEPTION", errors.TrimmedDataAccessException),
        (AWS, "SESSION_NOT_FOUND", errors.Unauthenticated),
        ("", "VALIDATION_EXCEPTION", errors.Unauthenticated),
    ],
)
def test_the_class_follows_from_domain_and_reason(domain: str, reason: str, kind: type[Exception]) -> None:
    refusal = errors.Refusal(code=grpc.StatusCode.UNAUTHENTICATED, message="no", domain=domain, reason=reason)
    assert type(exception_of(refusal)) is kind


def test_the_cause_of_a_rejected_token_is_told() -> None:
    refusal = errors.Refusal(
        code=grpc.StatusCode.UNAUTHENTICATED,
        message="no",
        domain="awsidecar",
        reason="TOKEN_REJECTED",
        metadata={"cause": "expired"},
    )
    error = exception_of(refusal)
    assert isinstance(error, errors.TokenRejected)
    assert error.cause == "expired"


def test_every_code_has_an_exception() -> None:
    for code in grpc.StatusCode:
        assert exception_of(errors.Refusal(code=code, message="")).code is code


def test_an_exception_survives_pickling() -> None:
    error = exception_of(errors.Refusal(code=grpc.StatusCode.NOT_FOUND, message="no", operation="GetItem"))
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert again.refusal == error.refusal


@pytest.mark.parametrize(
    ("refusal", "is_ambiguous"),
    [
        (
            Refused(grpc.StatusCode.UNAVAILABLE, "no", details_of("AWS_UNREACHABLE", SIDECAR, ambiguous="true")),
            True,
        ),
        (Refused(grpc.StatusCode.UNAVAILABLE, "no", details_of("AWS_UNREACHABLE", SIDECAR)), False),
        (Refused(grpc.StatusCode.UNAVAILABLE, "Socket closed"), True),
        (Refused(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"), True),
        (Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "the answer is too large"), True),
        (Refused(grpc.StatusCode.UNIMPLEMENTED, "no such method"), False),
    ],
    ids=["told", "told of none", "connection lost", "time limit", "large answer", "no such method"],
)
def test_an_error_says_whether_a_write_may_have_happened(
    sidecar: FakeSidecar, client: awsidecar.Client, refusal: Refused, is_ambiguous: bool
) -> None:
    assert refused(sidecar, client, refusal).ambiguous is is_ambiguous
