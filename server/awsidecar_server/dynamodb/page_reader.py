"""Pages of a query, a scan or a statement, one after the other: where each starts, how many items it holds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from awsidecar.dynamodb.v1.attribute_value_pb2 import Key
from awsidecar.dynamodb.v1.partiql_pb2 import ExecuteStatementRequest, ExecuteStatementResponse
from awsidecar.dynamodb.v1.query_pb2 import QueryRequest, QueryResponse, ScanRequest, ScanResponse
from awsidecar_server.bridge import wire
from awsidecar_server.bridge.outlines import outline_of
from awsidecar_server.errors import Naming, naming_fields
from awsidecar_server.operations import Operations, Scope

# Who calls now: asked for every page, so that a session that has ended gets no more of them.
Scoping: TypeAlias = Callable[[], Awaitable[Scope]]
PageRequest: TypeAlias = QueryRequest | ScanRequest | ExecuteStatementRequest
# A key, or a token.
Position: TypeAlias = Any

# A message keeps the memory of each position that it has ever had, until it is copied.
_POSITIONS_OF_A_MESSAGE = 1000
# The largest that AWS's `Limit` can be.
_MOST = 2**31 - 1

# Of the streams' responses: field 1 is the page, field 2 the segment.
_PAGE = wire.delimited(wire.tag(1, wire.DELIMITED), bytes)
_SEGMENT = wire.tag(2, wire.VARINT)


@dataclass(frozen=True, slots=True)
class Page:
    """One page as AWS answered it."""

    # Written as the stream's response.
    response: bytes = field(repr=False)
    # Items that passed the filter.
    count: int
    # Items that were read to find them; None: AWS does not say.
    evaluated: int | None
    # Where the next page starts; None after the last one.
    end: Position | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Paging:
    """What the operations with pages do differently."""

    operation: str
    # Reads an answer without its items, which nobody here looks into.
    outline: Any
    # Makes the request start at a position.
    begin: Callable[[Any, Position], None]
    # Of an answer: items that passed the filter, items that were read to find them (None: AWS does not say), and where
    # the next page starts (None: this was the last).
    facts: Callable[[Any], tuple[int, int | None, Position | None]]


def _begin_at_key(request: QueryRequest | ScanRequest, position: Position) -> None:
    request.exclusive_start_key.clear()
    for name, value in position.attributes.items():
        request.exclusive_start_key[name].CopyFrom(value)


def _facts_of_keys(answer: Any) -> tuple[int, int | None, Position | None]:
    end = None
    if answer.last_evaluated_key.attributes:
        end = Key()
        end.CopyFrom(answer.last_evaluated_key)  # a part of the answer would keep all of it in memory
    return answer.count, answer.scanned_count, end


def _begin_at_token(request: ExecuteStatementRequest, position: Position) -> None:
    request.next_token = position


def _facts_of_token(answer: Any) -> tuple[int, int | None, Position | None]:
    return len(answer.items), None, answer.next_token or None


QUERY = Paging("Query", outline_of(QueryResponse.DESCRIPTOR), _begin_at_key, _facts_of_keys)
SCAN = Paging("Scan", outline_of(ScanResponse.DESCRIPTOR), _begin_at_key, _facts_of_keys)
STATEMENT = Paging(
    "ExecuteStatement", outline_of(ExecuteStatementResponse.DESCRIPTOR), _begin_at_token, _facts_of_token
)


class PageReader:
    """Reads one sequence of pages: a query, a statement, a scan or a segment of one."""

    def __init__(
        self,
        operations: Operations,
        paging: Paging,
        request: Callable[[], PageRequest],
        scoping: Scoping,
        *,
        naming: Naming,
        segment: int = 0,
    ) -> None:
        """`request` is called for the first page; what it gives is the reader's own until the last."""
        self._segment = segment
        self._naming = naming
        self._operation = operations[paging.operation]
        self._paging = paging
        self._scoping = scoping
        self._first_request = request
        # That of the next page; None: nothing is asked yet.
        self._request: Any = None
        self._positions = 0
        self._page_limit = _MOST
        # The items that the newest page was chosen from, and those that it had.
        self._chosen: tuple[int, int] | None = None

    async def next(self, share: int | None) -> Page:
        """Reads the page that follows, with no more items than `share`.

        AWS's `Limit` counts items before the filter, so a page may have too many. Then it is read again with a lower
        limit: what resumes a stream is always AWS's own word, also where the items are not all wanted.
        """
        if self._request is None:
            self._begin()
        if share is None:
            return self._past(await self._read())
        while True:
            limit = self._request.limit = self._limit(share)
            page = await self._read()
            self._chosen = limit if page.evaluated is None else page.evaluated, page.count
            # A page of no more items than wanted has no more than that after the filter.
            if page.count <= share or limit <= share:
                return self._past(page)

    def _begin(self) -> None:
        self._request = self._first_request()
        if self._request.HasField("limit"):
            self._page_limit = self._request.limit

    def _limit(self, share: int) -> int:
        """How many items to read for half of the share, at least, as the newest page has it; or for less."""
        wanted = share
        if self._chosen is not None:
            evaluated, count = self._chosen
            wanted = evaluated * share // (2 * count) if count else 2 * evaluated
        return min(max(wanted, share), self._page_limit, _MOST)

    async def _read(self) -> Page:
        request, scope = self._request, await self._scoping()
        with naming_fields(self._naming):
            done = await self._operation.perform(request, scope, request.ByteSize())
        answer = done.message if isinstance(done.message, bytes) else done.message.SerializeToString()
        response = _PAGE(answer)
        if self._segment:
            response += _SEGMENT + wire.varint(self._segment)
        return Page(response, *self._paging.facts(self._paging.outline.FromString(answer)))

    def _past(self, page: Page) -> Page:
        if page.end is not None:
            self._positions += 1
            if self._positions % _POSITIONS_OF_A_MESSAGE == 0:
                worn, self._request = self._request, type(self._request)()
                self._request.CopyFrom(worn)
            self._paging.begin(self._request, page.end)
        return page
