from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

import awsidecar_server
from awsidecar.errors.v1 import errors_pb2
from awsidecar_server import errors
from awsidecar_server.api import status
from awsidecar_server.api.status import AWS_CODES, Verdict, upper_snake, verdict
from awsidecar_server.aws.lane import EXPIRED
from awsidecar_server.aws.retries import THROTTLING

REASONS = {name.removeprefix("ERROR_REASON_") for name, _ in errors_pb2.ErrorReason.items()} - {"UNSPECIFIED"}
# What `ErrorInfo.reason` must match (google/rpc/error_details.proto).
REASON = re.compile(r"[A-Z][A-Z0-9_]+[A-Z0-9]")


def modelled_codes() -> Iterator[tuple[str, str]]:
    """Every error of the services that the sidecar calls, as it stands on the wire."""
    session = botocore.session.Session()
    loader: Any = session.get_component("data_loader")
    loader.search_paths.insert(0, str(files("awsidecar_server.aws") / "models"))
    for service in ("dynamodb", "dynamodbstreams", "cognito-identity", "sts"):
        for shape in session.get_service_model(service).error_shapes:
            yield service, shape.metadata.get("error", {}).get("code", shape.name)


def own_errors(root: type[errors.SidecarError] = errors.SidecarError) -> Iterator[type[errors.SidecarError]]:
    for kind in root.__subclasses__():
        yield kind
        yield from own_errors(kind)


def rejected(code: str, http_status: int = 400, service: str = "dynamodb") -> errors.AwsRejected:
    return errors.AwsRejected(service, "GetItem", code, "no", http_status=http_status)


def bare(kind: type[errors.SidecarError]) -> errors.SidecarError:
    """An instance, whatever its constructor takes: the verdict reads nothing but the reason."""
    failure = kind.__new__(kind)
    failure.reason = "INVALID_REQUEST"
    return failure


@pytest.mark.parametrize(("service", "code"), sorted(modelled_codes()))
def test_every_error_of_the_service_models_has_a_row(service: str, code: str) -> None:
    assert code in AWS_CODES


@pytest.mark.parametrize("code", sorted(THROTTLING | EXPIRED))
def test_every_code_that_the_sidecar_acts_on_has_a_row(code: str) -> None:
    assert code in AWS_CODES


def test_no_code_has_two_rows() -> None:
    listed = [code for codes in status._CODES_BY_MEANING.values() for code in codes.split()]
    assert len(listed) == len(set(listed)) == len(AWS_CODES)


def test_throttling_asks_to_slow_down_and_expiry_for_credentials() -> None:
    assert {AWS_CODES[code] for code in EXPIRED} == {StatusCode.UNAUTHENTICATED}
    assert {AWS_CODES[code] for code in THROTTLING} == {StatusCode.RESOURCE_EXHAUSTED, StatusCode.ABORTED}
    assert AWS_CODES["TransactionInProgressException"] is StatusCode.ABORTED


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("ResourceNotFoundException", StatusCode.NOT_FOUND),
        ("ConditionalCheckFailedException", StatusCode.FAILED_PRECONDITION),
        ("TransactionCanceledException", StatusCode.ABORTED),
        ("TransactionConflictException", StatusCode.ABORTED),
        ("ReplicatedWriteConflictException", StatusCode.ABORTED),
        ("ValidationException", StatusCode.INVALID_ARGUMENT),
        ("SerializationException", StatusCode.INVALID_ARGUMENT),
        ("IdempotentParameterMismatchException", StatusCode.INVALID_ARGUMENT),
        ("ItemCollectionSizeLimitExceededException", StatusCode.RESOURCE_EXHAUSTED),
        ("ProvisionedThroughputExceededException", StatusCode.RESOURCE_EXHAUSTED),
        ("ThrottlingException", StatusCode.RESOURCE_EXHAUSTED),
        ("LimitExceededException", StatusCode.RESOURCE_EXHAUSTED),
        ("AccessDeniedException", StatusCode.PERMISSION_DENIED),
        ("UnrecognizedClientException", StatusCode.UNAUTHENTICATED),
        ("ExpiredTokenException", StatusCode.UNAUTHENTICATED),
        ("InvalidSignatureException", StatusCode.UNAUTHENTICATED),
        ("MissingAuthenticationTokenException", StatusCode.UNAUTHENTICATED),
        ("NotAuthorizedException", StatusCode.UNAUTHENTICATED),
        ("InternalServerError", StatusCode.UNAVAILABLE),
        ("ServiceUnavailable", StatusCode.UNAVAILABLE),
        ("TableAlreadyExistsException", StatusCode.ALREADY_EXISTS),
        ("ResourceInUseException", StatusCode.FAILED_PRECONDITION),
    ],
)
def test_code_means_what_the_protocol_says(code: str, expected: StatusCode) -> None:
    assert verdict(rejected(code)).code is expected
    assert verdict(rejected(code, http_status=500)).code is expected, "a known code outweighs the HTTP status"


@pytest.mark.parametrize(
    ("http_status", "expected"),
    [
        (400, StatusCode.INVALID_ARGUMENT),
        (401, StatusCode.UNAUTHENTICATED),
        (403, StatusCode.PERMISSION_DENIED),
        (404, StatusCode.NOT_FOUND),
        (409, StatusCode.ABORTED),
        (413, StatusCode.RESOURCE_EXHAUSTED),
        (429, StatusCode.RESOURCE_EXHAUSTED),
        (500, StatusCode.UNAVAILABLE),
        (599, StatusCode.UNAVAILABLE),
        (418, StatusCode.FAILED_PRECONDITION),
        (0, StatusCode.FAILED_PRECONDITION),
    ],
)
def test_code_that_nobody_knows_is_judged_by_its_http_status(http_status: int, expected: StatusCode) -> None:
    assert verdict(rejected("BornTomorrowException", http_status)).code is expected


@given(st.text(max_size=80) | st.sampled_from(sorted(AWS_CODES)), st.integers(0, 999))
def test_no_answer_of_aws_becomes_ok_or_unknown(code: str, http_status: int) -> None:
    found = verdict(rejected(code, http_status))
    assert found.code not in (StatusCode.OK, StatusCode.UNKNOWN, StatusCode.INTERNAL)
    assert len(found.reason) <= 63


@given(st.text(max_size=120))
def test_reason_is_as_error_info_wants_it(code: str) -> None:
    reason = upper_snake(code)
    assert REASON.fullmatch(reason) or len(reason) < 3
    assert len(reason) <= 63


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("ResourceNotFoundException", "RESOURCE_NOT_FOUND_EXCEPTION"),
        ("ProvisionedThroughputExceededException", "PROVISIONED_THROUGHPUT_EXCEEDED_EXCEPTION"),
        ("IDPRejectedClaimException", "IDP_REJECTED_CLAIM_EXCEPTION"),
        ("IDPCommunicationError", "IDP_COMMUNICATION_ERROR"),
        ("EC2ThrottledException", "EC2_THROTTLED_EXCEPTION"),
        ("ExpiredToken", "EXPIRED_TOKEN"),
        ("Throttling", "THROTTLING"),
        ("AWS.SimpleQueueService.NonExistentQueue", "AWS_SIMPLE_QUEUE_SERVICE_NON_EXISTENT_QUEUE"),
        ("503", "HTTP_503"),
        ("", "UNKNOWN"),
        ("…", "UNKNOWN"),
        ("Word" * 40, "_".join(["WORD"] * 12) + "_WOR"),
    ],
)
def test_upper_snake(code: str, reason: str) -> None:
    assert upper_snake(code) == reason


@pytest.mark.parametrize(
    ("service", "domain"),
    [
        ("dynamodb", "dynamodb.amazonaws.com"),
        ("dynamodbstreams", "streams.dynamodb.amazonaws.com"),
        ("cognito-identity", "cognito-identity.amazonaws.com"),
        ("sts", "sts.amazonaws.com"),
        ("s3", "s3.amazonaws.com"),
    ],
)
def test_domain_is_the_services(service: str, domain: str) -> None:
    assert verdict(rejected("ValidationException", service=service)).domain == domain


@pytest.mark.parametrize("kind", [*own_errors()])
def test_every_refusal_of_our_own_has_a_code(kind: type[errors.SidecarError]) -> None:
    code, domain, reason = verdict(bare(kind))
    assert code not in (StatusCode.OK, StatusCode.UNKNOWN, StatusCode.INTERNAL)
    assert (domain, reason) == ("awsidecar", "INVALID_REQUEST")


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (errors.InvalidRequest("no"), StatusCode.INVALID_ARGUMENT),
        (errors.Unauthenticated("no", reason="SESSION_NOT_FOUND"), StatusCode.UNAUTHENTICATED),
        (errors.Forbidden("no", reason="VENDING_DISABLED"), StatusCode.PERMISSION_DENIED),
        (errors.LimitReached("no", reason="OVERLOADED"), StatusCode.RESOURCE_EXHAUSTED),
        (errors.CredentialsUnavailable("no", tier="cognito"), StatusCode.UNAVAILABLE),
        (errors.AwsUnreachable("no", cause="connect"), StatusCode.UNAVAILABLE),
        (errors.Draining(), StatusCode.UNAVAILABLE),
        (errors.DeadlineSpent(), StatusCode.DEADLINE_EXCEEDED),
        (errors.HistoryLost("shardId-1"), StatusCode.OUT_OF_RANGE),
        (errors.NothingToWatch("no", reason="STREAM_ENDED"), StatusCode.FAILED_PRECONDITION),
        (errors.SidecarError("no", reason="INTERNAL_ERROR"), StatusCode.INTERNAL),
    ],
)
def test_our_own_refusal_says_who_must_act(failure: errors.SidecarError, code: StatusCode) -> None:
    assert verdict(failure) == Verdict(code, "awsidecar", failure.reason)
    assert failure.reason in REASONS


def stated_reasons() -> Iterator[tuple[str, str]]:
    """Every `reason="…"` of the server's code."""
    root = Path(awsidecar_server.__path__[0])
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword | ast.arg) and node.arg == "reason":
                value = node.value if isinstance(node, ast.keyword) else None
                if isinstance(value, ast.Constant) and str(value.value).isupper():
                    yield str(path.relative_to(root)), str(value.value)


def test_every_reason_in_the_code_is_in_the_contract() -> None:
    stated = set(stated_reasons())
    assert {reason for _, reason in stated} - REASONS == set()
    assert len(stated) > 10, "the reasons were not found"


def test_every_reason_of_the_contract_is_given_somewhere() -> None:
    stated = {reason for _, reason in stated_reasons()}
    assert REASONS - stated - {"INVALID_REQUEST"} == set()  # the default of InvalidRequest
