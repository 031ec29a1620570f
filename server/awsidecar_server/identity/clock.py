"""The clock that identity is given, so that time can be told to pass in tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

# Gives the time now, timezone-aware, in UTC.
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)
