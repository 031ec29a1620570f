"""When a worker that died is started again, and when it has died too often for that."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

# Deaths longer ago are forgotten.
_WINDOW_SECONDS = 60.0
_MOST_IN_WINDOW = 5
_FIRST_PAUSE_SECONDS = 0.25  # 0.25, 0.5, 1, 2 s


class Deaths:
    """The deaths of one worker within a minute. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._recent: deque[float] = deque(maxlen=_MOST_IN_WINDOW)

    def another(self) -> float | None:
        """Counts a death; returns the seconds to wait before the next start, or None to give up."""
        now = self._clock()
        self._recent.append(now)
        recent = sum(now - died < _WINDOW_SECONDS for died in self._recent)
        if recent == _MOST_IN_WINDOW:
            return None
        return _FIRST_PAUSE_SECONDS * 2.0 ** (recent - 1)
