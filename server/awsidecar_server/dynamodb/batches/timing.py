"""Time as a stream sees it: now, waiting, pauses after throttling, and how long before the deadline it reports."""

from __future__ import annotations

import asyncio
import random
from typing import Protocol

# AWS asks for exponential pauses before unprocessed items are sent again
# (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html#Programming.Errors.BatchOperations).
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 20.0
# 2 ** 10 of the first pause is past the longest.
_MOST_DOUBLINGS = 10
# For the report to arrive: a tenth of the time that there is, and no more than this.
_LONGEST_MARGIN_SECONDS = 0.5
_SHARE_OF_MARGIN = 0.1


class Timing(Protocol):
    """The clock of a stream, and its chance."""

    def now(self) -> float:
        """On the clock of the callers' deadlines."""

    def chance(self) -> float:
        """From 0 to 1."""

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        """Returns when the event is set, or the time has come."""


class LoopTiming:
    """The event loop's clock."""

    chance = staticmethod(random.random)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        limit = asyncio.timeout_at(until)
        try:
            async with limit:
                await event.wait()
        except TimeoutError:
            if not limit.expired():
                raise


def pause_seconds(fruitless: int, chance: float) -> float:
    """Full jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), after so many batches in
    a row of which nothing was processed.
    """
    longest: float = _FIRST_PAUSE_SECONDS * 2 ** min(fruitless, _MOST_DOUBLINGS)
    return chance * min(longest, _LONGEST_PAUSE_SECONDS)


def reports_at(now: float, deadline: float | None) -> float | None:
    """When a stream stops its work to tell what became of it."""
    if deadline is None:
        return None
    return deadline - min(max(deadline - now, 0.0) * _SHARE_OF_MARGIN, _LONGEST_MARGIN_SECONDS)
