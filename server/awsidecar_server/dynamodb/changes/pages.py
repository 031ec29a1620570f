"""What was read from a shard at once, and a bounded store of it for the watches that come after the first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from awsidecar.dynamodb.v1.streams_pb2 import Record
from awsidecar_server.dynamodb.changes.positions import Position


@dataclass(frozen=True, slots=True)
class Page:
    """Records that follow one another in a shard, and the position after them."""

    records: Sequence[Record] = field(repr=False)
    following: Position
    # As AWS's answer has them.
    size: int = 0


class PageStore:
    """Keeps the newest pages up to a number of bytes, each for who owns it. What it lacks is read again."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._pages: OrderedDict[tuple[Hashable, Position], Page] = OrderedDict()
        self.size = 0

    def get(self, owner: Hashable, position: Position) -> Page | None:
        """The page that follows the position."""
        return self._pages.get((owner, position))

    def put(self, owner: Hashable, position: Position, page: Page) -> None:
        self._discard((owner, position))
        self._pages[owner, position] = page
        self.size += page.size
        while self.size > self._most_bytes:
            self._discard(next(iter(self._pages)))

    def drop(self, owner: Hashable) -> None:
        """Forgets all pages of an owner."""
        for key in [key for key in self._pages if key[0] is owner]:
            self._discard(key)

    def _discard(self, key: tuple[Hashable, Position]) -> None:
        dropped = self._pages.pop(key, None)
        if dropped is not None:
            self.size -= dropped.size
