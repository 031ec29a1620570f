"""How many bytes may wait, over all connections: of requests that are not whole, and of responses without room."""

from __future__ import annotations


class Budget:
    """Counts what waits, and takes no more than the limit."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0

    def take(self, size: int) -> bool:
        """Whether so many more may wait; if so, they are counted until they are given back."""
        if self.held_bytes + size > self.limit_bytes:
            return False
        self.held_bytes += size
        return True

    def give_back(self, size: int) -> None:
        self.held_bytes -= size
