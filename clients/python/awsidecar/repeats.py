"""When a call that may be sent again is sent again: after its sidecar has gone, and for as long as one is replaced."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable

from awsidecar.exceptions import SidecarError, Unavailable

# With pauses of 0.1, 0.2, 0.4, 0.8 and 1.6 seconds, less the jitter: as long as it takes to replace a sidecar.
_MOST_IN_A_ROW = 6
# With pauses of 3.2, 5 and 5 seconds on top: for what takes long anyway, a sidecar may take long to come back.
PATIENT_IN_A_ROW = 9
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
# AWS knows a token again for ten minutes after its first use.
TOKEN_SECONDS = 300.0
# What the sidecar says when it goes; nothing is what gRPC says. AWS's own refusals have been tried again already.
_GONE = frozenset({"", "DRAINING"})
# With what AWS refuses a transaction only when none with its token was carried out: it would answer with that one's
# success. Who may do it, whether it is too much, and whether the token belongs to another request, it asks first; so
# these refusals say nothing of an earlier attempt. Nor does any refusal of another call that has a token: an import that
# was carried out is refused when it is sent again, because its table exists.
_TRANSACTIONS = frozenset({"TransactWriteItems", "ExecuteTransaction"})
_NONE_WAS_DONE = frozenset({"TransactionCanceledException", "ValidationException"})


class Repeats:
    """The repeats of one call, all within its time limit."""

    def __init__(
        self,
        limit_seconds: float,
        *,
        within_seconds: float = math.inf,
        most_in_a_row: int = _MOST_IN_A_ROW,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`within_seconds` says for how long the call may be sent again, if that is shorter than the time limit.

        `most_in_a_row` is with how many failures in a row it is over.
        """
        self._clock = clock
        self._jitter = jitter
        self._most_in_a_row = most_in_a_row
        begun = clock()
        self._ends = begun + limit_seconds
        self._ends_repeating = begun + min(limit_seconds, within_seconds)
        self._in_a_row = 0
        self._is_ambiguous = False

    def seconds_left(self) -> float:
        """Returns what is left of the time limit, or as good as nothing."""
        return max(self._ends - self._clock(), 0.001)

    def pause_after(self, failure: Unavailable) -> float | None:
        """Returns the seconds to wait before the call is sent again; None when it is over."""
        self._in_a_row += 1
        longest = min(_FIRST_PAUSE_SECONDS * 2 ** (self._in_a_row - 1), _LONGEST_PAUSE_SECONDS)
        pause = longest * (0.5 + self._jitter() / 2)
        if failure.reason not in _GONE or self._in_a_row >= self._most_in_a_row:
            return None
        return pause if self._clock() + pause < self._ends_repeating else None

    def pause_after_write(self, failure: SidecarError) -> float | None:
        """Returns the same for a write, whose failure is ambiguous when that of one of its attempts was.

        It is not when AWS has then refused the write itself, a transaction, under the same token.
        """
        if self._is_ambiguous and not _settles(failure):
            failure.leave_open()
        self._is_ambiguous = failure.ambiguous
        return self.pause_after(failure) if isinstance(failure, Unavailable) else None

    def came_through(self) -> None:
        """Counts from the beginning again."""
        self._in_a_row = 0


def _settles(failure: SidecarError) -> bool:
    """Whether a refusal says that no earlier attempt was carried out either."""
    return failure.operation in _TRANSACTIONS and failure.aws_error_code in _NONE_WAS_DONE
