"""The exceptions of the client: one for each gRPC code, and one for each refusal where callers branch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc

from awsidecar.refusal import CancellationReason, FieldViolation, Refusal, ThrottlingReason

if TYPE_CHECKING:
    from awsidecar.batch_progress import FailedWrite


# The codes with which gRPC itself ends a call that the sidecar may have been at work on.
_LEAVING_OPEN = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
    }
)


class SidecarError(Exception):
    """Root of every failed call. Subclasses exist where callers branch; `code` and `reason` tell the rest."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal

    @property
    def code(self) -> grpc.StatusCode:
        """The gRPC status code."""
        return self.refusal.code

    @property
    def message(self) -> str:
        """What AWS or the sidecar says, for people."""
        return self.refusal.message

    @property
    def reason(self) -> str:
        """The refusal's name in upper snake case, such as `RESOURCE_NOT_FOUND_EXCEPTION`; may be empty."""
        return self.refusal.reason

    @property
    def domain(self) -> str:
        """Who refused: `awsidecar`, or AWS's own domain such as `dynamodb.amazonaws.com`."""
        return self.refusal.domain

    @property
    def aws_error_code(self) -> str:
        """AWS's error code verbatim, empty when AWS did not refuse."""
        return self.refusal.metadata.get("aws_error_code", "")

    @property
    def request_id(self) -> str:
        """AWS's request id; may be empty."""
        return self.refusal.request_id

    @property
    def metadata(self) -> Mapping[str, str]:
        """Further facts of the refusal, by name."""
        return self.refusal.metadata

    @property
    def ambiguous(self) -> bool:
        """Whether a write may have been carried out all the same.

        The sidecar says so; where gRPC itself ended the call, nobody knows, and it is true.
        """
        if self.reason or "ambiguous" in self.metadata:
            return self.metadata.get("ambiguous") == "true"
        # The latter is an answer that is larger than gRPC takes.
        return self.code in _LEAVING_OPEN or self.code is grpc.StatusCode.RESOURCE_EXHAUSTED

    def leave_open(self) -> None:
        """Says so: an attempt before the one that failed may have been carried out."""
        self.refusal = replace(self.refusal, metadata={**self.metadata, "ambiguous": "true"})
        self.args = (self.refusal,)

    @property
    def operation(self) -> str:
        """The operation that failed."""
        return self.refusal.operation

    def __str__(self) -> str:
        facts = [self.refusal.reason or self.refusal.code.name]
        if self.refusal.operation:
            facts.append(self.refusal.operation)
        if self.refusal.request_id:
            facts.append(f"request id {self.refusal.request_id}")
        return f"{self.refusal.message or 'the call failed'} [{', '.join(facts)}]"


class InvalidRequest(SidecarError):
    """The request must change."""

    @property
    def fields(self) -> tuple[FieldViolation, ...]:
        """The fields at fault, where known."""
        return self.refusal.fields


class NotFound(SidecarError):
    """What the request names does not exist."""


class AlreadyExists(SidecarError):
    """What the request would create exists."""


class FailedPrecondition(SidecarError):
    """The state of things does not allow it."""


class Aborted(SidecarError):
    """It collided with another operation."""


class ResourceExhausted(SidecarError):
    """A limit is reached."""


class PermissionDenied(SidecarError):
    """The caller is known, and may not."""


class Unauthenticated(SidecarError):
    """The session is missing, wrong or expired."""


class Unavailable(SidecarError):
    """The sidecar, or something it needs, is not there now. A write may or may not have happened."""


class DeadlineExceeded(SidecarError):
    """The time limit of the call passed. A write may or may not have happened."""


class OutOfRange(SidecarError):
    """The position in a stream is not there any more."""


class Throttled(ResourceExhausted):
    """Too much at once: back off, then try again."""

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait at least, where the sidecar knows."""
        return self.refusal.retry_after

    @property
    def throttling_reasons(self) -> tuple[ThrottlingReason, ...]:
        """AWS's reasons, where it names them."""
        return self.refusal.throttling_reasons


class ResourceNotFoundException(NotFound):
    """The table or index does not exist, or is not ready."""


class TableNotFoundException(NotFound):
    """The table does not exist."""


class BackupNotFoundException(NotFound):
    """The backup does not exist."""


class ResourceInUseException(FailedPrecondition):
    """The table exists already, or is changing."""


class TableAlreadyExistsException(AlreadyExists):
    """The table to restore to exists already."""


class TableInUseException(FailedPrecondition):
    """The table is changing."""


class ConditionalCheckFailedException(FailedPrecondition):
    """The condition of a write was not met."""

    @property
    def item(self) -> dict[str, Any] | None:
        """The item as it stands, when `ReturnValuesOnConditionCheckFailure` asked for it and it exists."""
        return self.refusal.item

    @property
    def item_omitted(self) -> bool:
        """Whether there was an item, too large to come with the error."""
        return self.refusal.item_omitted


class TransactionCanceledException(Aborted):
    """The transaction did not happen."""

    @property
    def reasons(self) -> tuple[CancellationReason, ...]:
        """One reason for each action, in the order of the request."""
        return self.refusal.reasons


class TransactionConflictException(Aborted):
    """Another transaction holds the item."""


class TransactionInProgressException(Aborted):
    """A transaction with the same token is still running."""


class ReplicatedWriteConflictException(Aborted):
    """Another region is writing the item."""


class IdempotentParameterMismatchException(InvalidRequest):
    """The same token came with another request."""


class DuplicateItemException(AlreadyExists):
    """A PartiQL INSERT names an item that exists."""


class ItemCollectionSizeLimitExceededException(ResourceExhausted):
    """An item collection would outgrow 10 GB."""


class LimitExceededException(ResourceExhausted):
    """Too many control-plane operations at once, or too many resources."""


class ProvisionedThroughputExceededException(Throttled):
    """The table, an index or a partition has no capacity left."""


class ThrottlingException(Throttled):
    """AWS throttled the request."""


class RequestLimitExceeded(Throttled):
    """The account's limit of throughput is reached."""


class ValidationException(InvalidRequest):
    """AWS found the request invalid."""


class AccessDeniedException(PermissionDenied):
    """AWS's policies do not allow it to this identity."""


class ExpiredTokenException(Unauthenticated):
    """AWS credentials of the session have expired."""


class UnrecognizedClientException(Unauthenticated):
    """AWS does not know the credentials."""


class TrimmedDataAccessException(OutOfRange):
    """The stream no longer holds these records: more than 24 hours old."""


class ExpiredIteratorException(OutOfRange):
    """The shard iterator is more than 15 minutes old."""


class InternalServerError(Unavailable):
    """AWS failed. A write may or may not have happened."""


class Overloaded(Throttled):
    """The sidecar has as many calls in flight as it is configured for."""


class SessionNotFound(Unauthenticated):
    """The session handle names no open session."""


class SessionExpired(Unauthenticated):
    """The session's own credentials have expired; open a new session."""


class HistoryLost(OutOfRange):
    """Changes that a watch has not given are no longer in the stream: read the table again."""

    @property
    def shard_id(self) -> str:
        """Where they were."""
        return self.refusal.metadata.get("shard_id", "")


class TokenRejected(Unauthenticated):
    """The ID token was rejected."""

    @property
    def cause(self) -> str:
        """Why: `expired`, `wrong_audience`, `bad_signature` and others."""
        return self.refusal.metadata.get("cause", "")


class BatchFailed(SidecarError):
    """Some writes of a batch were not done, or it is not known whether they were; all others were.

    `failures` are the first of them that were heard of, up to 4,000 and 16 MiB, in the order of the batch; `failed` says
    how many there are. `batch_writer(on_failure=...)` is told of each.
    """

    def __init__(
        self,
        first: SidecarError | None,
        failures: tuple[FailedWrite, ...],
        done: int,
        *,
        failed: int,
        ambiguous: bool,
    ) -> None:
        """`ambiguous` says whether any of all that failed is."""
        told = first.refusal if first else Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "time was up")
        what = "are not known to be done" if ambiguous else "were not done"
        message = f"{failed} of {failed + done} writes {what}; the first: {told.message}"
        super().__init__(replace(told, message=message, operation="BatchWriteStream"))
        self.failures = failures
        self.done = done
        self.failed = failed
        self._ambiguous = ambiguous

    @property
    def ambiguous(self) -> bool:
        """Whether any of the writes that failed may have been done."""
        return self._ambiguous
