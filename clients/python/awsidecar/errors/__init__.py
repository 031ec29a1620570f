"""What the client raises. Loaded on first use: the wire types beneath this package need none of it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from awsidecar.exceptions import (
        Aborted,
        AccessDeniedException,
        AlreadyExists,
        BackupNotFoundException,
        BatchFailed,
        ConditionalCheckFailedException,
        DeadlineExceeded,
        DuplicateItemException,
        ExpiredIteratorException,
        ExpiredTokenException,
        FailedPrecondition,
        HistoryLost,
        IdempotentParameterMismatchException,
        InternalServerError,
        InvalidRequest,
        ItemCollectionSizeLimitExceededException,
        LimitExceededException,
        NotFound,
        OutOfRange,
        Overloaded,
        PermissionDenied,
        ProvisionedThroughputExceededException,
        ReplicatedWriteConflictException,
        RequestLimitExceeded,
        ResourceExhausted,
        ResourceInUseException,
        ResourceNotFoundException,
        SessionExpired,
        SessionNotFound,
        SidecarError,
        TableAlreadyExistsException,
        TableInUseException,
        TableNotFoundException,
        Throttled,
        ThrottlingException,
        TokenRejected,
        TransactionCanceledException,
        TransactionConflictException,
        TransactionInProgressException,
        TrimmedDataAccessException,
        Unauthenticated,
        Unavailable,
        UnrecognizedClientException,
        ValidationException,
    )
    from awsidecar.refusal import CancellationReason, FieldViolation, Refusal, ThrottlingReason

__all__ = [
    "Aborted",
    "AccessDeniedException",
    "AlreadyExists",
    "BackupNotFoundException",
    "BatchFailed",
    "CancellationReason",
    "ConditionalCheckFailedException",
    "DeadlineExceeded",
    "DuplicateItemException",
    "ExpiredIteratorException",
    "ExpiredTokenException",
    "FailedPrecondition",
    "FieldViolation",
    "HistoryLost",
    "IdempotentParameterMismatchException",
    "InternalServerError",
    "InvalidRequest",
    "ItemCollectionSizeLimitExceededException",
    "LimitExceededException",
    "NotFound",
    "OutOfRange",
    "Overloaded",
    "PermissionDenied",
    "ProvisionedThroughputExceededException",
    "Refusal",
    "ReplicatedWriteConflictException",
    "RequestLimitExceeded",
    "ResourceExhausted",
    "ResourceInUseException",
    "ResourceNotFoundException",
    "SessionExpired",
    "SessionNotFound",
    "SidecarError",
    "TableAlreadyExistsException",
    "TableInUseException",
    "TableNotFoundException",
    "Throttled",
    "ThrottlingException",
    "ThrottlingReason",
    "TokenRejected",
    "TransactionCanceledException",
    "TransactionConflictException",
    "TransactionInProgressException",
    "TrimmedDataAccessException",
    "Unauthenticated",
    "Unavailable",
    "UnrecognizedClientException",
    "ValidationException",
]

_OF_REFUSAL = {"CancellationReason", "FieldViolation", "Refusal", "ThrottlingReason"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("awsidecar.refusal" if name in _OF_REFUSAL else "awsidecar.exceptions"), name)


def __dir__() -> list[str]:
    return __all__
