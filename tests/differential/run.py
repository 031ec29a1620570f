"""A run: requests in chunks, each chunk on fresh tables, each request on both ways, tables compared at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from tests.differential.comparison import Comparison, unordered_sets
from tests.differential.contract import can_carry
from tests.differential.paths import RPCS, Direct, Outcome, Refusal, ThroughSidecar
from tests.differential.requests import Parameters, Request, Requests
from tests.differential.schema import TABLES, definition

CHUNK = 250
# Pages after the first that are asked for, each with the key where the one before ended.
_MOST_PAGES = 4
_ORDERS_TRIED = 100
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
    items_compared: int = 0
    rules: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.cases.values())


@dataclass(frozen=True)
class Ways:
    """The ways of a run. Direct and through the sidecar, the same tables are others, in a database of their own."""

    direct: Direct
    sidecar: ThroughSidecar
    # Straight to the tables that the sidecar works on.
    behind_sidecar: Direct


class Run:
    """Compares `cases` requests. A seed and a number of a chunk make the same requests every time."""

    def __init__(self, ways: Ways, seed: str, cases: int, first_chunk: int = 0) -> None:
        self._ways = ways
        self._seed = seed
        self._cases = cases
        self._first_chunk = first_chunk
        self._comparison = Comparison()
        self.figures = Figures(rules=self._comparison.rules_used)

    def __call__(self) -> Figures:
        for chunk in count(self._first_chunk):
            left = self._cases - self.figures.total
            if left <= 0:
                return self.figures
            self._run_chunk(chunk, min(left, CHUNK))
        raise AssertionError("counting ends with the cases")

    def _run_chunk(self, chunk: int, cases: int) -> None:
        requests = Requests(Random(f"{self._seed}/{chunk}"))
        self._start_afresh(requests)
        last = self.figures.total + cases
        for number in count():
            if self.figures.total >= last:
                break
            request = requests.next()
            if can_carry(RPCS[request.operation].request, request.parameters):
                self._compare(f"seed {self._seed}, chunk {chunk}, request {number}", request)
            else:
                self.figures.not_in_contract += 1
        self._compare_tables(f"seed {self._seed}, end of chunk {chunk}")
        self.figures.chunks += 1

    def _start_afresh(self, requests: Requests) -> None:
        seeds = [seed for table in TABLES for seed in requests.seed(table)]
        for database in (self._ways.direct, self._ways.behind_sidecar):
            for table in TABLES:
                database.send(Request("DeleteTable", {"TableName": table.name}))
                _expect_success(database.send(Request("CreateTable", definition(table))))
            for seed in seeds:
                database.send(seed)  # one of them may be too large; it is so for both

    def _compare(self, place: str, request: Request) -> None:
        """The request, and the pages after it."""
        token: tuple[str, Any, Any] | None = None
        for page in range(_MOST_PAGES):
            direct = self._ways.direct.send(_continued(request, token, 1))
            sidecar = self._ways.sidecar.send(_continued(request, token, 2))
            if page == 0:
                self._count(request, direct)
            else:
                self.figures.pages += 1
            is_same = self._comparison.agrees(request.operation, direct, sidecar)
            if not is_same and not self._is_matter_of_order(_continued(request, token, 1), direct, sidecar):
                self.figures.differences.append(Difference(f"{place}, page {page}", request, direct, sidecar))
                return
            token = _next_page(direct, sidecar)
            if token is None:
                return

    def _is_matter_of_order(self, request: Request, direct: Outcome, sidecar: Outcome) -> bool:
        """Whether the SDK is refused in the sidecar's words, too, in another order. What is refused changes nothing."""
        if not isinstance(direct, Refusal) or not isinstance(sidecar, Refusal):
            return False
        rng = Random(repr(request.parameters))
        for _ in range(_ORDERS_TRIED):
            again = self._ways.direct.send(request._replace(parameters=_in_another_order(request.parameters, rng)))
            if not isinstance(again, Refusal):
                return False
            if self._comparison.agrees_in_another_order(again, sidecar):
                return True
        return False

    def _count(self, request: Request, direct: Outcome) -> None:
        is_refused = isinstance(direct, Refusal)
        self.figures.cases[request.operation, "refused" if is_refused else "answered"] += 1
        if isinstance(direct, Refusal):
            self.figures.codes[direct.code] += 1

    def _compare_tables(self, place: str) -> None:
        for table in TABLES:
            scan = Request("Scan", {"TableName": table.name, "ConsistentRead": True})
            direct, sidecar = (
                list(_items(database, scan)) for database in (self._ways.direct, self._ways.behind_sidecar)
            )
            self.figures.items_compared += len(direct)
            if unordered_sets(direct) != unordered_sets(sidecar):
                self.figures.differences.append(Difference(place, scan, direct, sidecar))


def _continued(request: Request, token: tuple[str, Any, Any] | None, way: int) -> Request:
    return request._replace(parameters={**request.parameters, token[0]: token[way]}) if token else request


def _in_another_order(value: Any, rng: Random) -> Any:
    if isinstance(value, list):
        return [_in_another_order(one, rng) for one in value]
    if not isinstance(value, dict):
        return value
    return {name: _in_another_order(value[name], rng) for name in rng.sample(list(value), len(value))}


def _next_page(direct: Outcome, sidecar: Outcome) -> tuple[str, Any, Any] | None:
    """The member that asks for the next page, with its value on each way; None after the last page."""
    if isinstance(direct, Refusal) or isinstance(sidecar, Refusal):
        return None
    for told, asked in (("LastEvaluatedKey", "ExclusiveStartKey"), ("NextToken", "NextToken")):
        if direct.get(told):
            return asked, direct[told], sidecar[told]
    return None


def _items(database: Direct, scan: Request) -> Iterator[Parameters]:
    token: tuple[str, Any, Any] | None = None
    while True:
        page = database.send(_continued(scan, token, 1))
        _expect_success(page)
        assert not isinstance(page, Refusal)
        yield from page["Items"]
        token = _next_page(page, page)
        if token is None:
            return


def _expect_success(outcome: Outcome) -> None:
    if isinstance(outcome, Refusal):
        raise RuntimeError(f"the database could not be made ready: {outcome}")
