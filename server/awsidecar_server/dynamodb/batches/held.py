"""The elements of a stream that wait until the key of their table is known, or until it is their turn."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from awsidecar_server.dynamodb.batches.entries import JSON_BYTES_PER_BYTE, Asked
from awsidecar_server.dynamodb.batches.turns import Turns, simple_name


@dataclass(eq=False, slots=True)
class HeldElement:
    """What is to become an entry."""

    # Its number in the stream.
    index: int
    asked: Asked = field(repr=False)
    # In AWS's JSON at its largest.
    size: int


class Held:
    """Elements by table. They leave in the order of the stream, as far as they may be of one table."""

    def __init__(self) -> None:
        self._turns: Turns[HeldElement] = Turns()
        self._by_table: dict[str, deque[HeldElement]] = {}

    def indices(self) -> list[int]:
        """The numbers of all elements."""
        return [one.index for held in self._by_table.values() for one in held]

    def keep(self, index: int, asked: Asked) -> int:
        """Takes an element in; returns its size."""
        one = HeldElement(index, asked, JSON_BYTES_PER_BYTE * (asked.message.ByteSize() + len(asked.table)))
        self._turns.enter(one, asked.table, _tokens(asked.table))
        self._by_table.setdefault(asked.table, deque()).append(one)
        return one.size

    def first(self, table: str) -> HeldElement | None:
        """The first one of a table."""
        held = self._by_table.get(table)
        return held[0] if held else None

    def is_before(self, table: str) -> bool:
        """Whether there are elements for which those of a table that came now would have to wait."""
        return self._turns.would_wait(table, simple_name(table))

    def has_turn(self, one: HeldElement) -> bool:
        return self._turns.has_turn(one)

    def let_go(self, one: HeldElement) -> list[str]:
        """Forgets the first one of its table, whose turn it is; returns the tables whose turn it is now."""
        table = one.asked.table
        held = self._by_table[table]
        held.popleft()
        if not held:
            del self._by_table[table]
        return [later.asked.table for later in self._turns.leave(one, table, _tokens(table))]


def _tokens(table: str) -> tuple[str]:
    return (simple_name(table),)
