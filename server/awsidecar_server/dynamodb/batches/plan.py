"""What goes into the next batch: splits by AWS's limits, and keeps writes to one item in their order."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from awsidecar_server.dynamodb.batches.entries import JSON_BYTES_PER_BYTE, Asked, Entry, simple_name
from awsidecar_server.dynamodb.table_keys import KeyNames

# A request of 16 MB is the largest that AWS takes, without what stands around the entries
# (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html).
_MOST_BYTES = 15_900_000
# What is known of a table is kept for so many, when nothing of them is unfinished.
_MOST_TABLES = 256


class Place(Enum):
    """Where an entry stands that has come in."""

    READY = "ready"
    # Another one has to be finished before.
    WAITS = "waits"
    # Another one is answered for it.
    JOINED = "joined"


class Ordering(Protocol):
    """Which entries may be sent beside others."""

    def enter(self, entry: Entry) -> Place:
        """Takes note of an entry."""

    def sent(self, entry: Entry) -> None: ...

    def put_back(self, entry: Entry) -> None: ...

    def leave(self, entry: Entry) -> list[Entry]:
        """Forgets a finished entry; returns those that had to wait for it and may now be sent."""


class InTurn:
    """Writes: who has a token in common with an earlier write waits until that one is finished."""

    def __init__(self) -> None:
        # Unfinished entries by token, in the order of the stream. The first ones of all their queues may be sent.
        self._queues: dict[Hashable, deque[Entry]] = {}

    def enter(self, entry: Entry) -> Place:
        for token in entry.tokens:
            self._queues.setdefault(token, deque()).append(entry)
        return Place.READY if self._is_first(entry) else Place.WAITS

    def sent(self, entry: Entry) -> None:
        """It stays the first of its queues until it is finished."""

    def put_back(self, entry: Entry) -> None:
        """Likewise."""

    def leave(self, entry: Entry) -> list[Entry]:
        next_ones: dict[int, Entry] = {}
        for token in entry.tokens:
            queue = self._queues[token]
            queue.popleft()
            if queue:
                next_ones[queue[0].index] = queue[0]
            else:
                del self._queues[token]
        return [one for one in next_ones.values() if self._is_first(one)]

    def _is_first(self, entry: Entry) -> bool:
        return all(self._queues[token][0] is entry for token in entry.tokens)


class Together:
    """Reads: one of an item that is still to be sent answers those that come for the same item meanwhile."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, Entry] = {}

    def enter(self, entry: Entry) -> Place:
        first = self._waiting.setdefault(entry.identity, entry)
        if first is entry:
            return Place.READY
        first.also.append(entry.index)
        return Place.JOINED

    def sent(self, entry: Entry) -> None:
        # Who comes from now on may have written before, and must see it: no answer that is under way will do.
        if self._waiting.get(entry.identity) is entry:
            del self._waiting[entry.identity]

    def put_back(self, entry: Entry) -> None:
        self._waiting.setdefault(entry.identity, entry)

    def leave(self, entry: Entry) -> list[Entry]:
        return []


@dataclass(eq=False, slots=True)
class Table:
    """The unfinished entries of one table, and how it goes with them."""

    name: str
    # None: not known. They change only when nothing is unfinished, since the order of writes hangs on them.
    key_names: KeyNames | None = None
    unfinished: int = 0
    ready: list[tuple[int, Entry]] = field(default_factory=list, repr=False)
    in_flight: int = 0
    # Nothing is sent before, on the clock of the stream.
    resumes_at: float = 0.0
    # Batches in a row of which nothing was processed.
    fruitless: int = 0
    # Entries that were denied alone since something was allowed.
    denied: int = 0


class Plan:
    """The unfinished entries of a stream, by table."""

    def __init__(self, ordering: Ordering, most_entries: int, most_partial: int) -> None:
        """A batch that is not full waits while `most_partial` others of its table are in flight."""
        self._ordering = ordering
        self._most_entries = most_entries
        self._most_partial = most_partial
        self._entries: dict[Entry, None] = {}
        self.tables: dict[str, Table] = {}
        # Those that have the same simple name.
        self._names: dict[str, list[Table]] = {}
        # By the simple name of its table, what has come before a key is known, with its place in the stream and its size.
        self._held: dict[str, deque[tuple[int, Asked, int]]] = {}
        # Of all unfinished entries, and of what is held.
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def unfinished(self) -> list[Entry]:
        return list(self._entries)

    def table(self, name: str) -> Table:
        table = self.tables.get(name)
        if table is None:
            table = self.tables[name] = Table(name)
            self._names.setdefault(simple_name(name), []).append(table)
        return table

    def clear(self) -> None:
        """Forgets all entries; none may be in flight."""
        self._entries.clear()
        self.tables.clear()
        self._names.clear()
        self._held.clear()
        self.bytes = 0

    def may_add(self, table: Table) -> bool:
        """Whether the order of the table's entries and of those under its other names can be seen from both.

        It cannot where the key is known under one name and not under the other, or is another one.
        """
        return all(
            not other.unfinished or other.key_names == table.key_names
            for other in self._names[simple_name(table.name)]
        )

    def hold(self, name: str, index: int, asked: Asked) -> None:
        """Keeps what is to become an entry once the key of its table is known."""
        size = JSON_BYTES_PER_BYTE * (asked.message.ByteSize() + len(asked.table))
        self._held.setdefault(name, deque()).append((index, asked, size))
        self.bytes += size

    def first_held(self, name: str) -> Asked | None:
        """The first of what is held for a table."""
        held = self._held.get(name)
        return held[0][1] if held else None

    def release(self, name: str) -> int:
        """Lets go of the first, and gives its place in the stream."""
        index, _, size = self._held[name].popleft()
        self.bytes -= size
        if not self._held[name]:
            del self._held[name]
        return index

    def all_held(self) -> list[int]:
        """The places of all that is held."""
        return [index for held in self._held.values() for index, _, _ in held]

    def add(self, entry: Entry) -> None:
        """Takes in an entry."""
        place = self._ordering.enter(entry)
        if place is Place.JOINED:
            return
        self._entries[entry] = None
        self.bytes += entry.size
        self.table(entry.table).unfinished += 1
        if place is Place.READY:
            self._make_ready(entry)

    def take(self, now: float, *, with_index: int | None = None) -> tuple[Table, list[Entry]] | None:
        """The next batch: of the table that has waited longest. `with_index` must be in it."""
        able = [table for table in self.tables.values() if self._may_send(table, now)]
        if with_index is not None:
            able = [table for table in able if table.ready[0][0] == with_index]
        if not able:
            return None
        table = min(able, key=lambda one: one.ready[0][0])
        table.in_flight += 1
        return table, self._batch_of(table)

    def put_back(self, entry: Entry) -> None:
        """What was taken is to be sent again."""
        self._ordering.put_back(entry)
        self._make_ready(entry)

    def finish(self, entry: Entry) -> None:
        """What was taken has its outcome."""
        del self._entries[entry]
        self.bytes -= entry.size
        table = self.tables[entry.table]
        table.unfinished -= 1
        if not table.unfinished and len(self.tables) > _MOST_TABLES:
            self._forget(table)
        for freed in self._ordering.leave(entry):
            self._make_ready(freed)

    def _forget(self, table: Table) -> None:
        del self.tables[table.name]
        name = simple_name(table.name)
        self._names[name].remove(table)
        if not self._names[name]:
            del self._names[name]

    def resumes_at(self, now: float) -> float | None:
        """When the next table ends its pause."""
        paused = (table.resumes_at for table in self.tables.values() if table.ready and table.resumes_at > now)
        return min(paused, default=None)

    def _make_ready(self, entry: Entry) -> None:
        heapq.heappush(self.tables[entry.table].ready, (entry.index, entry))

    def _may_send(self, table: Table, now: float) -> bool:
        if not table.ready or table.resumes_at > now:
            return False
        return len(table.ready) >= self._most_entries or table.in_flight < self._most_partial

    def _batch_of(self, table: Table) -> list[Entry]:
        """The oldest that fit into one call; AWS takes no two of the same item."""
        batch: list[Entry] = []
        identities: set[Hashable] = set()
        doubles: list[tuple[int, Entry]] = []
        size = 0
        while table.ready and len(batch) < self._most_entries:
            number, entry = table.ready[0]
            if batch and size + entry.size > _MOST_BYTES:
                break
            heapq.heappop(table.ready)
            if entry.identity in identities:
                doubles.append((number, entry))
                continue
            identities.add(entry.identity)
            size += entry.size
            self._ordering.sent(entry)
            batch.append(entry)
        for double in doubles:
            heapq.heappush(table.ready, double)
        return batch
