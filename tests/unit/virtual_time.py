"""An event loop whose time passes at once when nothing else is to be done: hours of pauses in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")

# When the loop's time is 0.
EPOCH = datetime(2026, 3, 1, 12, tzinfo=UTC)


class _Selector(selectors.DefaultSelector):
    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("everybody waits for something that will not happen")
            self.skipped += max(timeout, 0)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Starts at 0."""

    def __init__(self) -> None:
        self._skipping = _Selector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.skipped


def run(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Runs to the end, in a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


def now() -> datetime:
    """The time of day in the running loop."""
    return EPOCH + timedelta(seconds=asyncio.get_running_loop().time())
