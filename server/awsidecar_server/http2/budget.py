"""How many bytes may wait, over all connections: of requests that are not whole, and of responses without room."""

from __future__ import annotations

import asyncio


class Budget:
    """Counts what waits, and takes no more than the limit."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0

    def share(self) -> Share:
        """That of one more connection."""
        return Share(self)


class Share:
    """What one connection lets wait: no more than it leaves to others, so that one that is stuck starves nobody.

    One alone may have half of the limit. Of several that take all that they can get, n have 1/(n+1) of it each, and as
    much is left for whoever comes next (the dynamic thresholds of Choudhury and Hahne, with a factor of 1).
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.held_bytes = 0
        # Of the connection's compressed messages, one becomes large at a time.
        self.decompressing = asyncio.Lock()

    def take(self, size: int) -> bool:
        """Whether so many more may wait; if so, they are counted until they are given back."""
        budget = self._budget
        if self.held_bytes + size > budget.limit_bytes - budget.held_bytes - size:
            return False
        self.held_bytes += size
        budget.held_bytes += size
        return True

    def give_back(self, size: int) -> None:
        self.held_bytes -= size
        self._budget.held_bytes -= size
