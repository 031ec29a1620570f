"""Whether, and when, a call is tried again: the one owner of retries.

The constants are those of the "standard" retry mode that all AWS SDKs have since 2026
(https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html), with those for DynamoDB. Two things
differ. The quota is kept per resource and reason, so that one hot table leaves the others theirs. And a write that an
attempt may have carried out is repeated only where `idempotency` says that this changes nothing.

Two failures have rules of their own, because of transactions:

- A conflict with another transaction is tried again when the caller asks for it, and as often. AWS's SDKs never do; a
  transaction that was cancelled has done nothing, so that it may be sent again as it is, with the token that it has.
- While a transaction with the call's token is in progress, from an attempt before whose answer was lost, it is asked
  for until the deadline. AWS takes it up again, and completes it, when it is asked for after 5 seconds.
  https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum
from math import inf

from awsidecar_server.aws.idempotency import Nature

# AWS asks to slow down.
THROTTLING = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
_TRANSIENT_CODES = frozenset(
    {
        "PriorRequestNotComplete",
        "ReplicatedWriteConflictException",
        "RequestTimeout",
        "RequestTimeoutException",
    }
)
_TRANSIENT_STATUSES = frozenset({500, 502, 503, 504})
_TOO_MANY_REQUESTS = 429
_IN_PROGRESS = "TransactionInProgressException"

# The reasons of a cancelled transaction that another try may not meet again; `None` is that of an action not at fault.
_THROTTLED_ACTIONS = frozenset({"ProvisionedThroughputExceeded", "ThrottlingError"})
_PASSING_ACTIONS = frozenset({"None", "TransactionConflict", *_THROTTLED_ACTIONS})

# Small beside the 5 seconds after which AWS completes a transaction, so that little of a deadline goes by unused.
_LONGEST_IN_PROGRESS_DELAY_SECONDS = 2.0
# How often a transaction in progress is asked for when there is no deadline: for about 15 seconds.
_IN_PROGRESS_ATTEMPTS = 16
# How much more than our own delay AWS may ask for.
_MOST_ADDED_SECONDS = 5.0
_QUOTA_CAPACITY = 500
_REFUND_OF_PLAIN_SUCCESS = 1
# Only buckets that something has been taken from are kept. One that is pushed out is full again.
_MAX_BUCKETS = 4096


class Reason(Enum):
    """Why a call is worth another try."""

    TRANSIENT = "transient"
    THROTTLING = "throttling"
    CONFLICT = "conflict"


_BASE_SECONDS = {Reason.TRANSIENT: 0.025, Reason.THROTTLING: 1.0, Reason.CONFLICT: 0.05}
# A transaction takes some tens of milliseconds, and is in nobody's way afterwards.
_LONGEST_DELAY_SECONDS = {Reason.TRANSIENT: 20.0, Reason.THROTTLING: 20.0, Reason.CONFLICT: 1.0}
# Of the base, past every longest delay; keeps the power within what a float holds.
_MOST_DOUBLINGS = 16
# A conflict is no sign of AWS's distress, and its caller has said how often to try.
_COST = {Reason.TRANSIENT: 14, Reason.THROTTLING: 5, Reason.CONFLICT: 0}


class Stage(Enum):
    """How far a failed attempt came."""

    # No byte of the request left us: no connection, no TLS, no proxy.
    UNSENT = "unsent"
    # It was sent, perhaps in part, and no answer came: a timeout, or a connection that was lost.
    UNANSWERED = "unanswered"
    # AWS answered, and the answer was damaged on its way or is none of AWS's.
    UNREADABLE = "unreadable"
    # AWS answered with an error.
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Failure:
    """How one attempt failed. Code and status are set when AWS refused, and `retry_after` is `x-amz-retry-after`.

    `actions` has the codes of a cancelled transaction's reasons.
    """

    stage: Stage
    code: str = ""
    http_status: int = 0
    retry_after: str | None = None
    actions: frozenset[str] = frozenset()

    @property
    def is_surely_without_effect(self) -> bool:
        """True when AWS cannot have carried out the request: it never came there, or was turned down."""
        if self.is_in_progress:  # and may be carried out yet
            return False
        if self.stage is Stage.REFUSED:
            return self.code in THROTTLING or 400 <= self.http_status < 500
        return self.stage is Stage.UNSENT

    @property
    def is_in_progress(self) -> bool:
        """True when AWS is still at work on a request with the same token."""
        return self.code == _IN_PROGRESS

    @property
    def conflict(self) -> Reason | None:
        """Why what was in another's way may go through later; None when that is not all that was wrong."""
        if self.code == "TransactionConflictException":
            return Reason.CONFLICT
        if self.code != "TransactionCanceledException" or not self.actions <= _PASSING_ACTIONS:
            return None
        if self.actions & _THROTTLED_ACTIONS:
            return Reason.THROTTLING
        return Reason.CONFLICT if "TransactionConflict" in self.actions else None

    @property
    def reason(self) -> Reason | None:
        """Why another try may succeed, conflicts aside; None when it will not."""
        if self.stage is not Stage.REFUSED:
            return Reason.TRANSIENT
        if self.code in THROTTLING:
            return Reason.THROTTLING
        if self.code in _TRANSIENT_CODES or self.http_status in _TRANSIENT_STATUSES:
            return Reason.TRANSIENT
        return Reason.THROTTLING if self.http_status == _TOO_MANY_REQUESTS else None


class Tries:
    """Counts the failed attempts of one call, those of each kind apart: each kind has a limit of its own."""

    __slots__ = ("_conflicts", "_in_progress", "_others")

    def __init__(self) -> None:
        self._conflicts = self._in_progress = self._others = 0

    def count(self, failure: Failure) -> int:
        """How many attempts have failed in this way, this one included."""
        if failure.conflict is not None:
            self._conflicts += 1
            return self._conflicts
        if failure.is_in_progress:
            self._in_progress += 1
            return self._in_progress
        self._others += 1
        return self._others


def is_safe_to_repeat(nature: Callable[[], Nature], failure: Failure) -> bool:
    """True when there was no execution, or when another one does no harm.

    The nature of the call is asked for only when the failure leaves open whether AWS has carried it out.
    """
    return failure.is_surely_without_effect or nature() is not Nature.ONCE


def is_ambiguous(nature: Callable[[], Nature], failure: Failure) -> bool:
    """True when the attempt may have changed something. A call is ambiguous when one of its attempts was."""
    return not failure.is_surely_without_effect and nature() is not Nature.READ


class GiveUp(Enum):
    """Why a call is not tried again."""

    NOT_RETRYABLE = "not_retryable"
    UNSAFE = "unsafe"
    ATTEMPTS = "attempts"
    DEADLINE = "deadline"
    QUOTA = "quota"


@dataclass(frozen=True, slots=True)
class Retry:
    """Another try: after so many seconds, paid from the bucket of its resource and reason."""

    delay_seconds: float
    resource: Hashable
    reason: Reason


class RetryQuota:
    """What retries are paid with, in a bucket for each resource and reason; full when it is not kept."""

    def __init__(self, capacity: int = _QUOTA_CAPACITY, max_buckets: int = _MAX_BUCKETS) -> None:
        self._capacity = capacity
        self._max_buckets = max_buckets
        # What is missing from each bucket, the one that was used longest ago first.
        self._missing: OrderedDict[tuple[Hashable, Reason], int] = OrderedDict()

    def __repr__(self) -> str:
        return f"<RetryQuota {len(self._missing)} buckets below {self._capacity}>"

    def available(self, resource: Hashable, reason: Reason) -> int:
        return self._capacity - self._missing.get((resource, reason), 0)

    def acquire(self, resource: Hashable, reason: Reason) -> bool:
        """Pays for one retry; False when there is not enough left."""
        key, missing = (resource, reason), self._capacity - self.available(resource, reason) + _COST[reason]
        if missing > self._capacity:
            return False
        self._missing[key] = missing
        self._missing.move_to_end(key)
        if len(self._missing) > self._max_buckets:
            self._missing.popitem(last=False)
        return True

    def succeeded(self, resource: Hashable, retry: Retry | None) -> None:
        """Gives back what the last retry cost, or a little where none was needed."""
        if not self._missing:  # the usual case
            return
        if retry is not None:
            self._release(retry.resource, retry.reason, _COST[retry.reason])
            return
        for reason in Reason:
            self._release(resource, reason, _REFUND_OF_PLAIN_SUCCESS)

    def _release(self, resource: Hashable, reason: Reason, amount: int) -> None:
        key = (resource, reason)
        missing = self._missing.pop(key, 0) - amount
        if missing > 0:
            self._missing[key] = missing


class RetryPolicy:
    """Decides after each attempt; the caller sleeps, and sends.

    A resource is what AWS throttles as one and what has a bucket: a table of an account and region, for example.
    """

    def __init__(
        self,
        max_attempts: int,
        *,
        quota: RetryQuota | None = None,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is the one of the callers' deadlines."""
        self._max_attempts = max_attempts
        self._quota = quota or RetryQuota()
        self._jitter = jitter
        self._clock = clock

    def __repr__(self) -> str:
        return f"<RetryPolicy {self._max_attempts} attempts, {self._quota!r}>"

    def failed(
        self,
        failure: Failure,
        *,
        attempt: int,
        nature: Callable[[], Nature],
        resource: Hashable,
        deadline: float | None,
        conflict_attempts: int = 0,
    ) -> Retry | GiveUp:
        """What to do after a failed attempt, counted from 1 among those of its kind (`Tries`).

        `conflict_attempts` says how often the caller would have a conflict tried; 0 leaves conflicts to the caller.
        """
        reason, most_attempts = failure.reason, float(self._max_attempts)
        if conflict_attempts and failure.conflict is not None:
            reason, most_attempts = failure.conflict, conflict_attempts
        elif failure.is_in_progress and most_attempts > 1:
            most_attempts = _IN_PROGRESS_ATTEMPTS if deadline is None else inf
        if reason is None:
            return GiveUp.NOT_RETRYABLE
        if not is_safe_to_repeat(nature, failure):
            return GiveUp.UNSAFE
        if attempt >= most_attempts:
            return GiveUp.ATTEMPTS
        delay = self._delay_seconds(reason, attempt, failure)
        if deadline is not None and self._clock() + delay >= deadline:
            return GiveUp.DEADLINE
        if not self._quota.acquire(resource, reason):
            return GiveUp.QUOTA
        return Retry(delay, resource, reason)

    def succeeded(self, resource: Hashable, retry: Retry | None = None) -> None:
        """To be told of each call that succeeded, with its last retry when it took any."""
        self._quota.succeeded(resource, retry)

    def _delay_seconds(self, reason: Reason, attempt: int, failure: Failure) -> float:
        longest = _LONGEST_IN_PROGRESS_DELAY_SECONDS if failure.is_in_progress else _LONGEST_DELAY_SECONDS[reason]
        delay = self._jitter() * min(_BASE_SECONDS[reason] * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS), longest)
        return max(delay, min(_seconds(failure.retry_after), delay + _MOST_ADDED_SECONDS))


def _seconds(milliseconds: str | None) -> float:
    """What AWS asks for; 0 when it does not, or not in a way that can be read."""
    try:
        return int(milliseconds or "0") / 1000
    except (ValueError, OverflowError):
        return 0.0
