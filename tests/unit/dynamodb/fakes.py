"""A table that answers Query, Scan and ExecuteStatement as AWS does: page by page, limits counted before the filter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue, Item
from awsidecar.dynamodb.v1.partiql_pb2 import ExecuteStatementRequest, ExecuteStatementResponse
from awsidecar.dynamodb.v1.query_pb2 import QueryRequest, QueryResponse, ScanRequest, ScanResponse
from awsidecar_server.contract import Rpc, aws_rpcs
from awsidecar_server.operations import Operation, Operations, Performed, Scope


@dataclass(frozen=True)
class Row:
    """An item by its number, and whether the filter lets it pass."""

    number: int
    passes: bool = True


@dataclass
class FakeTable(Operation):
    """Its rows lie in segments, each read in order; a page has up to `page_rows` of them."""

    segments: Sequence[Sequence[Row]]
    page_rows: int = 3
    # Whether a page that ends at its limit says that it may not be the last, also at the end of the rows; AWS does.
    is_unsure: bool = True
    requests: list[Any] = field(default_factory=list)
    scopes: list[Scope] = field(default_factory=list)
    in_progress: int = 0
    most_in_progress: int = 0
    cancelled: int = 0
    # Awaited before each answer, with the request; may raise.
    before: Callable[[Any], Any] | None = None

    @property
    def operations(self) -> Operations:
        def operation(_rpc: Rpc) -> Operation:
            return self

        return Operations(aws_rpcs(), operation)

    async def perform(self, message: Message, scope: Scope, size: int) -> Performed:
        assert size == message.ByteSize()
        request: Any = type(message)()
        request.CopyFrom(message)
        self.requests.append(request)
        self.scopes.append(scope)
        self.in_progress += 1
        self.most_in_progress = max(self.in_progress, self.most_in_progress)
        try:
            await asyncio.sleep(0)
            if self.before is not None:
                await self.before(request)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_progress -= 1
        return Performed(self._answer(request).SerializeToString(), "REQ", 1)

    def _answer(self, request: Any) -> Message:
        if isinstance(request, ExecuteStatementRequest):
            return self._statement(request)
        response = ScanResponse() if isinstance(request, ScanRequest) else QueryResponse()
        segment = request.segment if isinstance(request, ScanRequest) else 0
        start = int(request.exclusive_start_key["row"].n) if request.exclusive_start_key else 0
        rows, end = self._page(segment, start, request)
        found = [row for row in rows if row.passes]
        response.count, response.scanned_count = len(found), len(rows)
        if request.select != "COUNT":
            response.items.extend(map(item_of, found))
        if end is not None:
            response.last_evaluated_key.attributes["row"].n = str(end)
        return response

    def _statement(self, request: ExecuteStatementRequest) -> ExecuteStatementResponse:
        rows, end = self._page(0, int(request.next_token or 0), request)
        items = [item_of(row) for row in rows if row.passes]
        return ExecuteStatementResponse(items=items, next_token=None if end is None else str(end))

    def _page(self, segment: int, start: int, request: Any) -> tuple[Sequence[Row], int | None]:
        most = min(self.page_rows, request.limit or self.page_rows)
        rows = self.segments[segment][start : start + most]
        end = start + len(rows)
        is_last = end == len(self.segments[segment]) and not (self.is_unsure and len(rows) == most)
        return rows, None if is_last else end


def item_of(row: Row) -> Item:
    return Item(attributes={"number": AttributeValue(n=str(row.number))})


def numbers(page: Any) -> list[int]:
    """The rows of a page."""
    return [int(item.attributes["number"].n) for item in page.items]


__all__ = ["FakeTable", "QueryRequest", "Row", "item_of", "numbers"]
