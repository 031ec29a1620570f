"""Queries, scans and statements as streams of their pages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from functools import partial

from google.protobuf.message import Message

from awsidecar.dynamodb.v1.page_streams_pb2 import (
    ExecuteStatementStreamRequest,
    QueryStreamRequest,
    ScanStreamRequest,
)
from awsidecar.dynamodb.v1.partiql_pb2 import ExecuteStatementRequest
from awsidecar.dynamodb.v1.query_pb2 import QueryRequest, ScanRequest
from awsidecar_server.aws.idempotency import Nature, nature_of
from awsidecar_server.dynamodb.field_names import within
from awsidecar_server.dynamodb.page_merge import Merge, Quota
from awsidecar_server.dynamodb.page_reader import QUERY, SCAN, STATEMENT, PageReader, PageRequest, Paging, Scoping
from awsidecar_server.dynamodb.scan_segments import Parts, Positions, check_segments, path_of
from awsidecar_server.errors import InvalidRequest, Naming
from awsidecar_server.operations import Operations

Responses = AsyncGenerator[Message | bytes, None]

# Where the request that AWS is asked stands in the caller's.
_FIELDS: Mapping[type[PageRequest], str] = {
    QueryRequest: "query",
    ScanRequest: "scan",
    ExecuteStatementRequest: "statement",
}


class PageStreams:
    """The streams of pages.

    They raise `InvalidRequest` when they are asked for, or before their first page, and AWS's refusals as they read.
    The request that they are asked with is theirs from then on: they change it as they read, so as to copy nothing.
    """

    def __init__(self, operations: Operations, *, is_plain: bool = False) -> None:
        """`is_plain` says that callers give the members of AWS's request as their own, not in a field of it."""
        self._operations = operations
        self._is_plain = is_plain

    def query(self, request: QueryStreamRequest, scoping: Scoping) -> Responses:
        """The pages of a query, as `QueryStreamResponse`."""
        quota = _quota(request)
        return self._one_after_the_other(QUERY, request.query, scoping, quota)

    def statement(self, request: ExecuteStatementStreamRequest, scoping: Scoping) -> Responses:
        """The pages of a SELECT, as `ExecuteStatementStreamResponse`."""
        quota, statement = _quota(request), request.statement
        text = statement.statement
        # A stream may be asked for again to resume it, and a write must not be.
        if text and nature_of(STATEMENT.operation, lambda: {"Statement": text}) is not Nature.READ:
            raise InvalidRequest.of("statement.Statement", "is not a SELECT; ExecuteStatement performs writes")
        return self._one_after_the_other(STATEMENT, statement, scoping, quota)

    def scan(self, request: ScanStreamRequest, scoping: Scoping) -> Responses:
        """The pages of a scan, as `ScanStreamResponse`."""
        quota = _quota(request)
        if request.HasField("segments"):
            check_segments(request)
            return self._side_by_side(request, scoping, quota)
        if request.positions:
            raise InvalidRequest.of("positions", "needs segments")
        return self._one_after_the_other(SCAN, request.scan, scoping, quota)

    def _one_after_the_other(self, paging: Paging, asked: PageRequest, scoping: Scoping, quota: Quota) -> Responses:
        reader = PageReader(self._operations, paging, lambda: asked, scoping, naming=self._naming(asked))
        return Merge([reader], quota).responses()

    async def _side_by_side(self, request: ScanStreamRequest, scoping: Scoping, quota: Quota) -> Responses:
        positions = await Positions.of(request)
        parts = Parts(request, positions.most_bytes)
        readers = self._readers(request, positions, parts, scoping)
        async with aclosing(Merge(readers, quota, parts.at_a_time).responses()) as responses:
            async for response in responses:
                yield response

    def _readers(
        self, request: ScanStreamRequest, positions: Positions, parts: Parts, scoping: Scoping
    ) -> Iterator[PageReader]:
        from_the_start = self._naming(request.scan)
        for segment, place in positions.unfinished(request.segments):
            naming = from_the_start
            if place is not None:
                naming = self._naming(request.scan, {"ExclusiveStartKey": f"{path_of(place)}.exclusive_start_key"})
            part = partial(parts.part, segment, place)
            yield PageReader(self._operations, SCAN, part, scoping, naming=naming, segment=segment)

    def _naming(self, asked: PageRequest, others: Mapping[str, str] | None = None) -> Naming:
        """What the caller calls the members of the request that AWS is asked."""
        return str if self._is_plain else within(_FIELDS[type(asked)], type(asked).DESCRIPTOR, others)


def _quota(request: QueryStreamRequest | ScanStreamRequest | ExecuteStatementStreamRequest) -> Quota:
    if not request.HasField("item_limit"):
        return Quota(None)
    if request.item_limit < 1:
        raise InvalidRequest.of("item_limit", f"must be at least 1, and is {request.item_limit}")
    return Quota(request.item_limit)
