"""What goes into the next batch: splits by AWS's limits, and keeps writes to one item in their order."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field

from awsidecar_server.dynamodb.batches.entries import Asked, Entry
from awsidecar_server.dynamodb.batches.held import Held, HeldElement
from awsidecar_server.dynamodb.batches.ordering import Ordering, Place
from awsidecar_server.dynamodb.batches.turns import is_arn, simple_name
from awsidecar_server.dynamodb.table_keys import KeyNames

# A request of 16 MB is the largest that AWS takes, without what stands around the entries
# (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html).
_MOST_BYTES = 15_900_000
# What is known of a table is kept for so many, when nothing of them is unfinished.
_MOST_TABLES = 256
# Unfinished entries of a table that came in without its key, while that may be told any time: enough for all batches that
# may be in flight, and few enough to be finished soon if they go one by one, since the key counts only then.
_MOST_WITHOUT_KEY = 400
# What they may have in common with others takes memory, and time to look through. Of a caller who may not know the key
# there are more of them as long as it is no more than the one; there are fewer, whoever it is, where it is the other.
_MANY_TOKENS = 20_000
_MOST_TOKENS_WITHOUT_KEY = 100_000


@dataclass(eq=False, slots=True)
class Table:
    """The unfinished entries of one table, and how it goes with them."""

    name: str
    namesakes: Namesakes = field(repr=False)
    # None: not known. They change only when nothing is unfinished, since the order of writes hangs on them.
    key_names: KeyNames | None = None
    # While it is not known: when it is asked for again, on the clock of the stream; and whether it has been told, so
    # that nothing is to come in without it any more; or whether the caller may not know it.
    asks_again_at: float = 0.0
    drains: bool = False
    is_denied: bool = False
    unfinished: int = 0
    # Of the unfinished ones.
    tokens: int = 0
    ready: list[tuple[int, Entry]] = field(default_factory=list, repr=False)
    in_flight: int = 0
    # Nothing is sent before, on the clock of the stream.
    resumes_at: float = 0.0
    # Batches in a row of which nothing was processed.
    fruitless: int = 0
    # Entries that were denied alone since something was allowed.
    denied: int = 0
    # Set when it may be the turn of what is held for it.
    turned: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def learn(self, key_names: KeyNames | None, asks_again_at: float, *, is_denied: bool) -> None:
        """To be called with the key, if it is known, when nothing is unfinished."""
        self.key_names = key_names
        self.drains = False
        self.is_denied = is_denied
        self.asks_again_at = asks_again_at

    def learn_again(self, key_names: KeyNames | None, asks_again_at: float, *, is_denied: bool) -> None:
        """To be called with the key, if it is told by now, while entries are unfinished: then it counts when none is."""
        self.drains = key_names is not None
        self.is_denied = is_denied
        self.asks_again_at = asks_again_at
        self.turned.set()

    @property
    def is_full(self) -> bool:
        """Whether nothing more is to come in without the key before something is finished."""
        if self.key_names is not None:
            return False
        if self.drains or self.tokens >= _MOST_TOKENS_WITHOUT_KEY:
            return True
        if self.unfinished < _MOST_WITHOUT_KEY:
            return False
        return not self.is_denied or self.tokens >= _MANY_TOKENS


@dataclass(eq=False, slots=True)
class Namesakes:
    """The tables of one simple name. The one that is named so may be any of the others, which are different ones."""

    bare: Table | None = None
    # How many are named by their ARN; and how many of these have unfinished entries, by the key these came in with.
    arns: int = 0
    busy: Counter[KeyNames | None] = field(default_factory=Counter)
    # Those that are held up by nothing but the unfinished entries of `bare`.
    waiting: list[Table] = field(default_factory=list)


class Plan:
    """The unfinished entries of a stream, by table."""

    def __init__(self, ordering: Ordering, most_entries: int, most_partial: int) -> None:
        """A batch that is not full waits while `most_partial` others of its table are in flight."""
        self._ordering = ordering
        self._most_entries = most_entries
        self._most_partial = most_partial
        self._entries: dict[Entry, None] = {}
        self.tables: dict[str, Table] = {}
        # By simple name.
        self._names: dict[str, Namesakes] = {}
        self._held = Held()
        # Of all unfinished entries, and of what is held.
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<Plan of {len(self)} entries, {len(self.tables)} tables, {len(self._names)} names>"

    def unfinished(self) -> list[Entry]:
        return list(self._entries)

    def table(self, name: str) -> Table:
        table = self.tables.get(name)
        if table is None:
            namesakes = self._names.setdefault(simple_name(name), Namesakes())
            table = self.tables[name] = Table(name, namesakes)
            if is_arn(name):
                namesakes.arns += 1
            else:
                namesakes.bare = table
        return table

    def clear(self) -> None:
        """Forgets all entries; none may be in flight."""
        self._entries.clear()
        self.tables.clear()
        self._names.clear()
        self._held = Held()
        self.bytes = 0

    def may_add(self, table: Table) -> bool:
        """Whether what comes for a table may become an entry at once, with the key that those before it came in with."""
        return table.unfinished > 0 and not table.is_full and not self._held.is_before(table.name)

    def hold(self, index: int, asked: Asked) -> None:
        """Keeps what is to become an entry once the key of its table is known, and it is its turn."""
        self.bytes += self._held.keep(index, asked)

    def first_held(self, name: str) -> HeldElement | None:
        """The first of what is held for a table."""
        return self._held.first(name)

    def turn_of(self, held: HeldElement, table: Table) -> asyncio.Event | None:
        """None when it is the turn of the first that is held for a table; else what is set when that may be.

        Nothing waits for ever. What an element may have to wait for has come before it: what is held, and gets its turn
        likewise; and what has been taken in, which waits for nothing that is held. While it waits, nothing is taken in
        that it would have to wait for, too.
        """
        if self._held.has_turn(held) and not table.is_full:
            if _shows_order(table):
                return None
            if is_arn(table.name):
                table.namesakes.waiting.append(table)
        table.turned.clear()
        return table.turned

    def let_go(self, held: HeldElement) -> None:
        """Lets go of the first that is held for a table, whose turn it is, to be added."""
        self.bytes -= held.size
        for name in self._held.let_go(held):
            self.tables[name].turned.set()

    def all_held(self) -> list[int]:
        """The places of all that is held."""
        return self._held.indices()

    def add(self, entry: Entry) -> None:
        """Takes in an entry."""
        place = self._ordering.enter(entry)
        if place is Place.JOINED:
            return
        self._entries[entry] = None
        self.bytes += entry.size
        table = self.table(entry.table)
        table.unfinished += 1
        table.tokens += len(entry.tokens)
        if table.unfinished == 1 and is_arn(table.name):
            table.namesakes.busy[table.key_names] += 1
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
        was_full = table.is_full
        table.unfinished -= 1
        table.tokens -= len(entry.tokens)
        if not table.unfinished:
            self._idle(table)
        elif was_full and not table.is_full:
            table.turned.set()
        for freed in self._ordering.leave(entry):
            self._make_ready(freed)

    def _idle(self, table: Table) -> None:
        """Nothing is unfinished of a table, for which others may have waited, and what is held for itself."""
        table.turned.set()
        namesakes = table.namesakes
        if not is_arn(table.name):
            for waiting in namesakes.waiting:
                waiting.turned.set()
            namesakes.waiting.clear()
        else:
            namesakes.busy[table.key_names] -= 1
            if not namesakes.busy[table.key_names]:
                del namesakes.busy[table.key_names]
                if namesakes.bare is not None:
                    namesakes.bare.turned.set()
        if len(self.tables) > _MOST_TABLES and self._held.first(table.name) is None:
            self._forget(table)

    def _forget(self, table: Table) -> None:
        del self.tables[table.name]
        namesakes = table.namesakes
        if is_arn(table.name):
            namesakes.arns -= 1
        else:
            namesakes.bare = None
        if namesakes.bare is None and not namesakes.arns:
            del self._names[simple_name(table.name)]

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


def _shows_order(table: Table) -> bool:
    """Whether the order between its entries and those under its other names can be seen from both.

    It cannot where the key is known under one name and not under the other, or is another one.
    """
    namesakes = table.namesakes
    if is_arn(table.name):
        bare = namesakes.bare
        return bare is None or not bare.unfinished or bare.key_names == table.key_names
    return not namesakes.busy or (len(namesakes.busy) == 1 and table.key_names in namesakes.busy)
