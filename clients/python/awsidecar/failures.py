"""The one place where a failed gRPC call becomes an exception of this client."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from awsidecar import details, exceptions
from awsidecar.errors.v1 import errors_pb2
from awsidecar.exceptions import SidecarError
from awsidecar.refusal import CancellationReason, FieldViolation, Refusal, ThrottlingReason
from awsidecar.values import plain_attributes

_DETAILS_KEY = "grpc-status-details-bin"
_REQUEST_ID_KEY = "x-amzn-requestid"
_SIDECAR_DOMAIN = "awsidecar"
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def failure_of(error: grpc.RpcError, operation: str) -> SidecarError:
    """Returns the exception for an error of grpc, with everything that came with it."""
    # Every RpcError of a finished call, sync or asyncio, is a grpc.Call too; the types do not say so.
    call: Any = error
    trailers = dict(call.trailing_metadata() or ())
    return exception_of(
        Refusal(
            code=call.code(),
            message=call.details() or "",
            operation=operation,
            **{"request_id": str(trailers.get(_REQUEST_ID_KEY, "")), **_facts(trailers.get(_DETAILS_KEY))},
        )
    )


def failure_of_part(part: Any, operation: str) -> SidecarError:
    """Returns the exception for a `Failure`, of one part of a call that goes on."""
    code = _CODES.get(part.code, grpc.StatusCode.UNKNOWN)
    # Its fields have the numbers of a status.
    facts = _facts(part.SerializeToString())
    if part.ambiguous:
        facts["metadata"] = {**facts.get("metadata", {}), "ambiguous": "true"}
    return exception_of(Refusal(code=code, message=part.message, operation=operation, **facts))


def out_of_time(operation: str) -> SidecarError:
    """Returns the exception for a part of a call that was not attempted, because time was up."""
    return exception_of(
        Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "time was up before it was sent to AWS", operation)
    )


def shutting_down(operation: str) -> SidecarError:
    """Returns the exception for a part of a call that was not attempted, because the sidecar drains."""
    return exception_of(
        Refusal(
            grpc.StatusCode.UNAVAILABLE,
            "the sidecar is shutting down",
            operation,
            reason="DRAINING",
            domain=_SIDECAR_DOMAIN,
        )
    )


def cut_off(operation: str) -> SidecarError:
    """Returns the exception for a call in whose middle its client was closed. What the sidecar had to say of it is lost."""
    message = "the channel was closed in the middle of the call"
    return exception_of(Refusal(grpc.StatusCode.CANCELLED, message, operation))


@contextmanager
def beginning(operation: str) -> Iterator[None]:
    """Around what begins a call. Where its client has been closed, gRPC says so in ways of its own; nothing is sent then."""
    closed = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "the client is closed", operation)
    try:
        yield
    except aio.UsageError as error:
        raise exception_of(closed) from error
    except ValueError as error:
        if "closed" not in str(error):
            raise
        raise exception_of(closed) from error


@contextmanager
def waiting(operation: str) -> Iterator[None]:
    """Around what waits for a call of gRPC for asyncio, whose errors it makes this client's."""
    try:
        yield
    except grpc.RpcError as error:
        raise failure_of(error, operation) from error
    except asyncio.CancelledError:
        raise_if_cancelled()
        raise cut_off(operation) from None


def raise_if_cancelled() -> None:
    """To be called where a cancellation has come: it may be of the call, and not of the task that waits for it."""
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise asyncio.CancelledError


def exception_of(refusal: Refusal) -> SidecarError:
    """Returns the exception that stands for a refusal."""
    by_sidecar = refusal.domain == _SIDECAR_DOMAIN
    chosen = _BY_REASON.get((by_sidecar, refusal.reason)) if refusal.domain else None
    if chosen is None and refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED and refusal.retry_after is not None:
        chosen = exceptions.Throttled
    return (chosen or _BY_CODE.get(refusal.code, SidecarError))(refusal)


def _facts(status_bytes: object) -> dict[str, Any]:
    """Reads the status details. What cannot be read is left out: the code and the message are there anyway."""
    facts: dict[str, Any] = {}
    if not isinstance(status_bytes, bytes):
        return facts
    with suppress(DecodeError):
        for packed in details.Status.FromString(status_bytes).details:
            message_class, read = _DETAIL_READERS.get(packed.type_url.rpartition("/")[2], (None, None))
            if message_class is not None:
                # ValueError: an item with a value of a type that a newer server may know.
                with suppress(DecodeError, ValueError):
                    facts.update(read(message_class.FromString(packed.value)))
    return facts


def _error_info(detail: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "reason": detail.reason,
        "domain": detail.domain,
        "metadata": dict(detail.metadata),
    }
    if detail.metadata.get("request_id"):
        facts["request_id"] = detail.metadata["request_id"]
    return facts


def _conditional_check_failed(detail: Any) -> dict[str, Any]:
    return {"item": _item(detail), "item_omitted": detail.item_omitted}


def _transaction_canceled(detail: Any) -> dict[str, Any]:
    reasons = (CancellationReason(one.code, one.message, _item(one), one.item_omitted) for one in detail.reasons)
    return {"reasons": tuple(reasons)}


def _throttled(detail: Any) -> dict[str, Any]:
    return {"throttling_reasons": tuple(ThrottlingReason(one.reason, one.resource) for one in detail.reasons)}


def _bad_request(detail: Any) -> dict[str, Any]:
    return {"fields": tuple(FieldViolation(one.field, one.description) for one in detail.field_violations)}


def _item(detail: Any) -> dict[str, Any] | None:
    return plain_attributes(detail.item.attributes) if detail.HasField("item") else None


_DETAIL_READERS: dict[str, tuple[Any, Any]] = {
    "google.rpc.ErrorInfo": (details.ErrorInfo, _error_info),
    "google.rpc.RequestInfo": (details.RequestInfo, lambda detail: {"request_id": detail.request_id}),
    "google.rpc.RetryInfo": (
        details.RetryInfo,
        lambda detail: {"retry_after": detail.retry_delay.seconds + detail.retry_delay.nanos / 1e9},
    ),
    "google.rpc.BadRequest": (details.BadRequest, _bad_request),
    "awsidecar.errors.v1.ConditionalCheckFailed": (errors_pb2.ConditionalCheckFailed, _conditional_check_failed),
    "awsidecar.errors.v1.TransactionCanceled": (errors_pb2.TransactionCanceled, _transaction_canceled),
    "awsidecar.errors.v1.Throttled": (errors_pb2.Throttled, _throttled),
}


def _upper_snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()


_AWS_CLASSES: tuple[type[SidecarError], ...] = (
    exceptions.AccessDeniedException,
    exceptions.BackupNotFoundException,
    exceptions.ConditionalCheckFailedException,
    exceptions.DuplicateItemException,
    exceptions.ExpiredIteratorException,
    exceptions.ExpiredTokenException,
    exceptions.IdempotentParameterMismatchException,
    exceptions.InternalServerError,
    exceptions.ItemCollectionSizeLimitExceededException,
    exceptions.LimitExceededException,
    exceptions.ProvisionedThroughputExceededException,
    exceptions.ReplicatedWriteConflictException,
    exceptions.RequestLimitExceeded,
    exceptions.ResourceInUseException,
    exceptions.ResourceNotFoundException,
    exceptions.TableAlreadyExistsException,
    exceptions.TableInUseException,
    exceptions.TableNotFoundException,
    exceptions.ThrottlingException,
    exceptions.TransactionCanceledException,
    exceptions.TransactionConflictException,
    exceptions.TransactionInProgressException,
    exceptions.TrimmedDataAccessException,
    exceptions.UnrecognizedClientException,
    exceptions.ValidationException,
)

# By whether the sidecar itself refused, and the reason.
_BY_REASON: dict[tuple[bool, str], type[SidecarError]] = {
    **{(False, _upper_snake(cls.__name__)): cls for cls in _AWS_CLASSES},
    # The names that STS and others have for the same refusals.
    (False, "ACCESS_DENIED"): exceptions.AccessDeniedException,
    (False, "EXPIRED_TOKEN"): exceptions.ExpiredTokenException,
    (False, "THROTTLING"): exceptions.ThrottlingException,
    # That of BatchStatementErrorCodeEnum, which DynamoDB Local gives to a whole call.
    (False, "DUPLICATE_ITEM"): exceptions.DuplicateItemException,
    (True, "INVALID_REQUEST"): exceptions.InvalidRequest,
    (True, "OVERLOADED"): exceptions.Overloaded,
    (True, "SESSION_NOT_FOUND"): exceptions.SessionNotFound,
    (True, "SESSION_EXPIRED"): exceptions.SessionExpired,
    (True, "HISTORY_LOST"): exceptions.HistoryLost,
    (True, "TOKEN_REJECTED"): exceptions.TokenRejected,
}

_BY_CODE: dict[grpc.StatusCode, type[SidecarError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: exceptions.InvalidRequest,
    grpc.StatusCode.NOT_FOUND: exceptions.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: exceptions.AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: exceptions.FailedPrecondition,
    grpc.StatusCode.ABORTED: exceptions.Aborted,
    grpc.StatusCode.RESOURCE_EXHAUSTED: exceptions.ResourceExhausted,
    grpc.StatusCode.OUT_OF_RANGE: exceptions.OutOfRange,
    grpc.StatusCode.PERMISSION_DENIED: exceptions.PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: exceptions.Unauthenticated,
    grpc.StatusCode.UNAVAILABLE: exceptions.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: exceptions.DeadlineExceeded,
}
