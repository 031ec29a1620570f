"""How many bytes may wait, over all connections: of requests that are not whole, and of responses without room."""

from __future__ import annotations

import asyncio

# An eighth of the limit is set apart for this many connections: those that are stuck and keep what they have would leave
# half to the next one, and nothing to the twentieth.
_SET_APART = 8
_SURE_CONNECTIONS = 256


class Budget:
    """Counts what waits, and takes no more than the limit."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        # What a connection may have whatever others have, and how much is to be had beyond that.
        self.sure_bytes = limit_bytes // (_SET_APART * _SURE_CONNECTIONS)
        self.shared_bytes = limit_bytes - self.sure_bytes * _SURE_CONNECTIONS
        self.held_bytes = 0

    def share(self) -> Share:
        """That of one more connection."""
        return Share(self)


class Share:
    """What one connection lets wait: no more than it leaves to others, so that one that is stuck starves nobody.

    Of what is not set apart, one alone may have half. Of several that take all that they can get at the same time, n have
    1/(n+1) each, and as much is left for whoever comes next (the dynamic thresholds of Choudhury and Hahne, with a factor
    of 1). What is set apart is for those who come when others have all of that.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.held_bytes = 0
        # Of the connection's compressed messages, one becomes large at a time.
        self.decompressing = asyncio.Lock()

    def take(self, size: int) -> bool:
        """Whether so many more may wait; if so, they are counted until they are given back."""
        budget = self._budget
        own, all_held = self.held_bytes + size, budget.held_bytes + size
        if own > budget.shared_bytes - all_held and (own > budget.sure_bytes or all_held > budget.limit_bytes):
            return False
        self.held_bytes += size
        budget.held_bytes += size
        return True

    def give_back(self, size: int) -> None:
        self.held_bytes -= size
        self._budget.held_bytes -= size
