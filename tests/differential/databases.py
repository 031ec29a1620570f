"""The tables of both ways: made and filled alike, and compared without the sidecar."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tests.differential import tables
from tests.differential.comparison import unordered_sets
from tests.differential.paths import Direct, Outcome, Refusal, Ways
from tests.differential.requests import Request
from tests.differential.schema import PAGES, TABLES, Table, definition

_POLL_SECONDS = 0.02
_MOST_SECONDS = 30


class Databases:
    """What each way has behind it."""

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self._both = (ways.direct, ways.behind_sidecar)

    def start_afresh(self, seeds: Sequence[Request]) -> None:
        """Makes the tables that are written to, and fills them; removes those that requests have made."""
        for database in self._both:
            for name in tables.NAMES:
                unprotected = {"TableName": name, "DeletionProtectionEnabled": False}
                database.send(Request("UpdateTable", unprotected))
                database.send(Request("DeleteTable", {"TableName": name}))
            for table in TABLES:
                _make(database, table)
            for seed in seeds:
                database.send(seed)  # one of them may be refused; it is so for both

    def fill_large(self, seeds: Iterable[Request]) -> None:
        for database in self._both:
            _make(database, PAGES)
        for seed in seeds:
            for database in self._both:
                _expect_success(database.send(seed))

    def settle(self, table: str) -> None:
        """Waits until what a change of a table leaves to be done is done: it takes each way a time of its own."""
        for database in self._both:
            deadline = time.monotonic() + _MOST_SECONDS
            while not _is_settled(database, table):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{table} does not become ACTIVE")
                time.sleep(_POLL_SECONDS)

    def contents(self, table: Table) -> tuple[list[Any], list[Any]]:
        """All items of both, with sets in one order."""
        scan = Request("Scan", {"TableName": table.name, "ConsistentRead": True})
        direct, sidecar = (unordered_sets(list(_items(database, scan))) for database in self._both)
        return direct, sidecar


def only_in_one(direct: list[Any], sidecar: list[Any]) -> tuple[list[Any], list[Any]]:
    """The items that the other does not have; none where the order is all that differs."""
    return [one for one in direct if one not in sidecar], [one for one in sidecar if one not in direct]


def _make(database: Direct, table: Table) -> None:
    database.send(Request("DeleteTable", {"TableName": table.name}))
    _expect_success(database.send(Request("CreateTable", definition(table))))


def _is_settled(database: Direct, table: str) -> bool:
    described = database.send(Request("DescribeTable", {"TableName": table}))
    if isinstance(described, Refusal):
        return True
    found = described["Table"]
    indexes = found.get("GlobalSecondaryIndexes", ())
    return found["TableStatus"] == "ACTIVE" and all(index["IndexStatus"] == "ACTIVE" for index in indexes)


def _items(database: Direct, scan: Request) -> Iterator[Any]:
    read = database.pages(scan)
    if read.refusal is not None:
        raise RuntimeError(f"a table cannot be read: {read.refusal}")
    for page in read.pages:
        yield from page["Items"]


def _expect_success(outcome: Outcome) -> None:
    if isinstance(outcome, Refusal):
        raise RuntimeError(f"the database could not be made ready: {outcome}")
