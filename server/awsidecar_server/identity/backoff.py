"""How long to leave alone what has just failed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

# 2 ** 16 s is past every longest pause, and keeps the power from growing with the length of an outage.
_MAX_DOUBLINGS = 16


@dataclass(slots=True, eq=False)
class Backoff:
    """A pause after each failure in a row: `first`, doubled each time up to `most`; the caller gives the jitter."""

    first: timedelta
    most: timedelta
    failures: int = 0
    _failed_at: datetime | None = None
    _pause: timedelta = timedelta(0)

    def note_failure(self, now: datetime, jitter: float) -> None:
        """`jitter` is from 0 to 1 and lengthens the pause by up to half."""
        doubled: timedelta = self.first * 2 ** min(self.failures, _MAX_DOUBLINGS)
        self._pause = min(doubled, self.most) * (1 + jitter / 2)
        self._failed_at = now
        self.failures += 1

    def note_success(self) -> None:
        self.failures = 0
        self._failed_at = None

    def is_paused(self, now: datetime, *, at_most: timedelta | None = None) -> bool:
        """`at_most` shortens the pause, for a caller who has nothing else to go on with."""
        if self._failed_at is None:
            return False
        pause = self._pause if at_most is None else min(self._pause, at_most)
        # A clock that was set back must not lengthen the pause.
        return timedelta(0) <= now - self._failed_at < pause
