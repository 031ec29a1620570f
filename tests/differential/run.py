"""A run: requests in chunks, each chunk on fresh tables, each request on both ways, tables compared at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from tests.differential import plain_documents
from tests.differential.batch_streams import GETS, WRITES, BatchStreams
from tests.differential.calls import Calls
from tests.differential.comparison import Comparison
from tests.differential.contract import can_carry
from tests.differential.databases import Databases, only_in_one
from tests.differential.large_items import large_items
from tests.differential.other_orders import OtherOrders
from tests.differential.outcomes import Compared
from tests.differential.page_streams import OPERATIONS, PageStreams
from tests.differential.paths import RPCS, Ways
from tests.differential.requests import Request, Requests
from tests.differential.schema import TABLES

CHUNK = 250
# What may go on after it is answered.
_CHANGES = {"CreateTable", "UpdateTable", "DeleteTable"}
# Of each part of a difference.
_SHOWN_CHARACTERS = 1500


@dataclass(frozen=True)
class Difference:
    """A request with two outcomes."""

    place: str
    request: Request
    direct: Any
    sidecar: Any

    def __str__(self) -> str:
        parts = (f"{self.place}: {self.request.operation}", self.request.parameters, self.direct, self.sidecar)
        labels = ("", "  parameters ", "  direct     ", "  sidecar    ")
        return "\n".join(label + _shown(part) for label, part in zip(labels, parts, strict=True))


def _shown(part: Any) -> str:
    text = part if isinstance(part, str) else repr(part)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}... ({len(text)} characters)"


@dataclass
class Figures:
    """What a run did."""

    # By operation and by what AWS made of it: "answered" or "refused".
    cases: Counter[tuple[str, str]] = field(default_factory=Counter)
    # AWS's codes.
    codes: Counter[str] = field(default_factory=Counter)
    pages: int = 0
    not_in_contract: int = 0
    chunks: int = 0
    elements: int = 0
    items_compared: int = 0
    rules: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.cases.values())


class Run:
    """Compares `cases` requests. A seed and a number of a chunk make the same requests every time."""

    def __init__(self, ways: Ways, seed: str, cases: int, first_chunk: int = 0) -> None:
        self._seed = seed
        self._cases = cases
        self._first_chunk = first_chunk
        comparison = Comparison()
        orders = OtherOrders(ways.direct, comparison)
        self._databases = Databases(ways)
        self._calls = Calls(ways, comparison, orders)
        page_streams = PageStreams(ways, comparison, orders)
        # How what is no call of AWS's is compared.
        documents = plain_documents.PlainDocuments(ways, comparison, orders)
        batches = BatchStreams(ways, comparison, orders, self._databases)
        self._others: dict[str, Callable[[Request], Compared]] = {
            **dict.fromkeys(OPERATIONS, page_streams.compare),
            WRITES: batches.writes,
            GETS: batches.gets,
            **dict.fromkeys(plain_documents.OPERATIONS, documents.compare),
        }
        self.figures = Figures(rules=comparison.rules_used)

    def __call__(self) -> Figures:
        self._databases.fill_large(large_items(Random(f"{self._seed}/large")))
        for chunk in count(self._first_chunk):
            left = self._cases - self.figures.total
            if left <= 0:
                return self.figures
            self._run_chunk(chunk, min(left, CHUNK))
        raise AssertionError("counting ends with the cases")

    def _run_chunk(self, chunk: int, cases: int) -> None:
        requests = Requests(Random(f"{self._seed}/{chunk}"))
        items = [seed for table in TABLES for seed in requests.seed(table)]
        self._databases.start_afresh([*requests.tables(), *items])
        last = self.figures.total + cases
        for number in count():
            if self.figures.total >= last:
                break
            request = requests.next()
            if _can_carry(request):
                self._compare(f"seed {self._seed}, chunk {chunk}, request {number}", request)
            else:
                self.figures.not_in_contract += 1
        self._compare_tables(f"seed {self._seed}, end of chunk {chunk}")
        self.figures.chunks += 1

    def _compare(self, place: str, request: Request) -> None:
        found = self._others.get(request.operation, self._calls.compare)(request)
        self.figures.cases[request.operation, "refused" if found.refusal else "answered"] += 1
        if found.refusal is not None:
            self.figures.codes[found.refusal.code] += 1
        self.figures.pages += found.pages
        self.figures.elements += found.elements
        if not found.is_same:
            self.figures.differences.append(Difference(place, request, found.direct, found.sidecar))
        if request.operation in _CHANGES and found.refusal is None:
            self._databases.settle(request.parameters["TableName"])

    def _compare_tables(self, place: str) -> None:
        for table in TABLES:
            direct, sidecar = self._databases.contents(table)
            self.figures.items_compared += len(direct)
            if direct != sidecar:
                read = Request("Scan", {"TableName": table.name})
                self.figures.differences.append(Difference(place, read, *only_in_one(direct, sidecar)))


def _can_carry(request: Request) -> bool:
    if "elements" in request.parameters:
        return True  # what cannot be said is left out element by element
    if request.operation in plain_documents.OPERATIONS:
        return plain_documents.message_of(plain_documents.rpc_of(request), request.parameters) is not None
    operation, _ = OPERATIONS.get(request.operation, (request.operation, ""))
    return can_carry(RPCS[operation].request, request.parameters.get("asked", request.parameters))
