"""The error family of the sidecar, split by who must act. Statuses are made of it in one place: `api/status.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeAlias

# The caller's path of a field, from that in AWS's request.
Naming: TypeAlias = Callable[[str], str]


class SidecarError(Exception):
    """Root of every refusal that a caller may see.

    `reason` is a name of `awsidecar.errors.v1.ErrorReason` without its prefix. `message` and `metadata` go to the
    caller as they are, so neither may hold a secret.
    """

    def __init__(self, message: str, /, *, reason: str, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        # The tier that would have signed, once it is known.
        self.tier = ""
        self.metadata: Mapping[str, str] = metadata


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field at fault: its path in the caller's request (`Item.tags.L[2]`), and what is wrong with it."""

    field: str
    description: str


class InvalidRequest(SidecarError):
    """The caller must change the request."""

    def __init__(
        self, message: str, /, *violations: FieldViolation, reason: str = "INVALID_REQUEST", **metadata: str
    ):
        super().__init__(message, reason=reason, **metadata)
        self.violations: Sequence[FieldViolation] = violations

    @classmethod
    def of(cls, path: str, problem: str) -> Self:
        """For one field at fault, by its path: told in the message, as `field` and as a violation."""
        return cls(f"{path}: {problem}", FieldViolation(path, problem), field=path)

    def named(self, naming: Naming) -> InvalidRequest:
        """The same, with the field at fault as the caller knows it."""
        if len(self.violations) != 1:
            return self
        (one,) = self.violations
        return InvalidRequest.of(naming(one.field), one.description)


class NumberNotExact(SidecarError):
    """AWS answered with a number that the form which the caller asked for cannot hold; another form can."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path}: a double does not hold this number exactly; LargeNumbers STRING gives its text",
            reason="NUMBER_NOT_EXACT",
            field=path,
        )


class Unauthenticated(SidecarError):
    """The caller must state another session."""


class Forbidden(SidecarError):
    """The operator would have to allow it."""


class LimitReached(SidecarError):
    """A bound of the sidecar is reached; the caller may try again with less, or later."""


class Unavailable(SidecarError):
    """Something the call needs is not there now; the caller may try again."""


class CredentialsUnavailable(Unavailable):
    """The tier that must sign exists but gives no credentials now."""

    def __init__(self, message: str, *, tier: str) -> None:
        super().__init__(message, reason="CREDENTIALS_UNAVAILABLE", tier=tier)


class AwsUnreachable(Unavailable):
    """AWS gave no answer that could be read. `cause` is `connect`, `timeout`, `connection_lost` or `bad_response`.

    It is `ambiguous` when AWS may have carried out the write all the same.
    """

    def __init__(self, message: str, *, cause: str, attempts: int = 0, ambiguous: bool = False) -> None:
        known = {"attempts": str(attempts)} if attempts else {}
        if ambiguous:
            known["ambiguous"] = "true"
        super().__init__(message, reason="AWS_UNREACHABLE", cause=cause, **known)
        # 0: not counted.
        self.attempts = attempts
        self.ambiguous = ambiguous


class Draining(Unavailable):
    """The sidecar is shutting down."""

    def __init__(self) -> None:
        super().__init__("the sidecar is shutting down", reason="DRAINING")


class DeadlineSpent(SidecarError):
    """The caller's deadline passed during the work.

    `awaited` is the state that the call was waiting for, if it is a wait, and `status` the last one that AWS told.
    `endless`: it was in the middle of an answer without an end of its own.
    """

    def __init__(self, awaited: str = "", status: str = "", *, endless: bool = False) -> None:
        message = "the deadline passed before AWS answered"
        if endless:
            message = "the deadline passed, and nothing else ended the call; go on with the last checkpoint"
        if awaited:
            last = f"the last one was {status}" if status else "AWS has told none"
            message = f"the deadline passed while the call waited for the state {awaited}; {last}"
        super().__init__(message, reason="DEADLINE_SPENT", **({"status": status} if status else {}))


class StateUnreachable(SidecarError):
    """What the caller waits for cannot come about any more; whoever brought it about must look at why.

    `status` is the state instead. `code` and `message` are AWS's reasons, where it gives any.
    """

    def __init__(self, status: str, *, code: str = "", message: str = "") -> None:
        reasons = {"failure_code": code, "failure_message": message}
        given = {name: text for name, text in reasons.items() if text}
        super().__init__(
            f"the state is {status}, from where the wanted one cannot be reached",
            reason="STATE_UNREACHABLE",
            status=status,
            **given,
        )


class HistoryLost(SidecarError):
    """Changes that the caller has not got are no longer kept; it must read the table itself again."""

    def __init__(self, shard_id: str) -> None:
        super().__init__(
            "changes that were not delivered are no longer in the stream", reason="HISTORY_LOST", shard_id=shard_id
        )


class NothingToWatch(SidecarError):
    """The table has no stream of its changes, or has it no longer; the caller or the table's owner must act."""


def _as_aws_does(path: str) -> str:
    return path


_DENIALS = frozenset({"AccessDenied", "AccessDeniedException"})


@dataclass(eq=False)  # compared and hashed as any exception is
class AwsRejected(Exception):
    """AWS answered with an error: the caller, the account's owner or AWS must act.

    `code` and `message` are AWS's own words. `members` holds what else the error carried (`Item`,
    `CancellationReasons`, `ThrottlingReasons`), parsed as the service model says.
    """

    service: str
    operation: str
    code: str
    message: str
    request_id: str = ""
    http_status: int = 0
    attempts: int = 1
    # True: AWS may have carried out the write, in this attempt or in an earlier one.
    ambiguous: bool = False
    # The tier that signed; empty when the call was unsigned.
    tier: str = ""
    members: Mapping[str, Any] = field(default_factory=dict, repr=False)
    # What the caller calls the fields that AWS's message names.
    naming: Naming = field(default=_as_aws_does, repr=False)

    def __str__(self) -> str:
        return f"{self.service} {self.operation}: {self.code}"

    @property
    def is_denial(self) -> bool:
        """Whether the policies do not allow it to whoever signed."""
        return self.code in _DENIALS

    def named(self, naming: Naming) -> AwsRejected:
        """The same, for a caller with other names for the fields; callers may share the one that this is made of."""
        return replace(self, naming=naming)


@contextmanager
def naming_fields(naming: Naming) -> Iterator[None]:
    """What is refused within names fields as the caller does, whose request is not AWS's."""
    try:
        yield
    except (AwsRejected, InvalidRequest) as failure:
        raise failure.named(naming) from failure
