"""Which entries of a stream may be sent beside others: writes in turn, reads together."""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import Protocol

from awsidecar_server.dynamodb.batches.entries import Entry
from awsidecar_server.dynamodb.batches.turns import Turns


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
        self._turns: Turns[Entry] = Turns()

    def enter(self, entry: Entry) -> Place:
        return Place.READY if self._turns.enter(entry, entry.table, entry.tokens) else Place.WAITS

    def sent(self, entry: Entry) -> None:
        """The others wait until it is finished."""

    def put_back(self, entry: Entry) -> None:
        """Likewise."""

    def leave(self, entry: Entry) -> list[Entry]:
        return self._turns.leave(entry, entry.table, entry.tokens)


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
