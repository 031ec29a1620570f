"""Queries, scans and statements as streams of their pages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping

from google.protobuf.message import Message

from awsidecar.dynamodb.v1.page_streams_pb2 import (
    ExecuteStatementStreamRequest,
    QueryStreamRequest,
    ScanSegmentPosition,
    ScanStreamRequest,
)
from awsidecar.dynamodb.v1.partiql_pb2 import ExecuteStatementRequest
from awsidecar.dynamodb.v1.query_pb2 import QueryRequest, ScanRequest
from awsidecar_server.aws.idempotency import Nature, nature_of
from awsidecar_server.dynamodb.field_names import within
from awsidecar_server.dynamodb.page_merge import Merge, Quota
from awsidecar_server.dynamodb.page_reader import QUERY, SCAN, STATEMENT, PageReader, PageRequest, Scoping
from awsidecar_server.errors import InvalidRequest, Naming
from awsidecar_server.operations import Operations

Responses = AsyncGenerator[Message | bytes, None]

# AWS's own bound of `TotalSegments`.
MOST_SEGMENTS = 1_000_000

# Where the request that AWS is asked stands in the caller's.
_FIELDS: Mapping[type[PageRequest], str] = {
    QueryRequest: "query",
    ScanRequest: "scan",
    ExecuteStatementRequest: "statement",
}


class PageStreams:
    """The streams of pages. They raise `InvalidRequest` when they are asked for, and AWS's refusals as they read."""

    def __init__(self, operations: Operations, *, is_plain: bool = False) -> None:
        """`is_plain` says that callers give the members of AWS's request as their own, not in a field of it."""
        self._operations = operations
        self._is_plain = is_plain

    def query(self, request: QueryStreamRequest, scoping: Scoping) -> Responses:
        """The pages of a query, as `QueryStreamResponse`."""
        quota = _quota(request)
        reader = PageReader(self._operations, QUERY, request.query, scoping, naming=self._naming(request.query))
        return Merge([reader], quota).responses()

    def statement(self, request: ExecuteStatementStreamRequest, scoping: Scoping) -> Responses:
        """The pages of a SELECT, as `ExecuteStatementStreamResponse`."""
        quota, statement = _quota(request), request.statement
        text = statement.statement
        # A stream may be asked for again to resume it, and a write must not be.
        if text and nature_of(STATEMENT.operation, lambda: {"Statement": text}) is not Nature.READ:
            raise InvalidRequest.of("statement.Statement", "is not a SELECT; ExecuteStatement performs writes")
        reader = PageReader(self._operations, STATEMENT, statement, scoping, naming=self._naming(statement))
        return Merge([reader], quota).responses()

    def scan(self, request: ScanStreamRequest, scoping: Scoping) -> Responses:
        """The pages of a scan, as `ScanStreamResponse`."""
        quota = _quota(request)
        return Merge(self._segments(request, scoping), quota).responses()

    def _segments(self, request: ScanStreamRequest, scoping: Scoping) -> Iterable[PageReader]:
        if not request.HasField("segments"):
            if request.positions:
                raise InvalidRequest.of("positions", "needs segments")
            return [PageReader(self._operations, SCAN, request.scan, scoping, naming=self._naming(request.scan))]
        _check_segments(request.segments, request.scan)
        positions = _positions(request)

        def readers() -> Iterator[PageReader]:
            for segment in range(request.segments):
                path, position = positions.get(segment, ("", None))
                if position is None or not position.finished:
                    part = _part(request, segment, position)
                    naming = self._naming(
                        part, {"ExclusiveStartKey": f"{path}.exclusive_start_key"} if path else {}
                    )
                    yield PageReader(self._operations, SCAN, part, scoping, naming=naming, segment=segment)

        return readers()

    def _naming(self, asked: PageRequest, others: Mapping[str, str] | None = None) -> Naming:
        """What the caller calls the members of the request that AWS is asked."""
        return str if self._is_plain else within(_FIELDS[type(asked)], type(asked).DESCRIPTOR, others)


def _quota(request: QueryStreamRequest | ScanStreamRequest | ExecuteStatementStreamRequest) -> Quota:
    if not request.HasField("item_limit"):
        return Quota(None)
    if request.item_limit < 1:
        raise InvalidRequest.of("item_limit", f"must be at least 1, and is {request.item_limit}")
    return Quota(request.item_limit)


def _check_segments(segments: int, scan: ScanRequest) -> None:
    if not 1 <= segments <= MOST_SEGMENTS:
        raise InvalidRequest.of("segments", f"must be 1 to {MOST_SEGMENTS}, and is {segments}")
    taken = {"Segment": scan.HasField("segment"), "TotalSegments": scan.HasField("total_segments")}
    for name, is_set in {**taken, "ExclusiveStartKey": bool(scan.exclusive_start_key)}.items():
        if is_set:
            raise InvalidRequest.of(f"scan.{name}", "must be absent beside segments; positions resumes them")


def _positions(request: ScanStreamRequest) -> dict[int, tuple[str, ScanSegmentPosition]]:
    """By segment: each position, and its path."""
    found: dict[int, tuple[str, ScanSegmentPosition]] = {}
    for index, position in enumerate(request.positions):
        path = f"positions[{index}]"
        if not 0 <= position.segment < request.segments:
            raise InvalidRequest.of(
                f"{path}.segment", f"must be 0 to {request.segments - 1}, and is {position.segment}"
            )
        if position.segment in found:
            raise InvalidRequest.of(f"{path}.segment", f"names segment {position.segment} a second time")
        if position.finished and position.exclusive_start_key:
            raise InvalidRequest.of(f"{path}.exclusive_start_key", "must be empty in a finished segment")
        found[position.segment] = path, position
    return found


def _part(request: ScanStreamRequest, segment: int, position: ScanSegmentPosition | None) -> ScanRequest:
    part = ScanRequest()
    part.CopyFrom(request.scan)  # merging goes by way of bytes, not as deep as AWS may be asked
    part.segment, part.total_segments = segment, request.segments
    if position is not None:
        for name, value in position.exclusive_start_key.items():
            part.exclusive_start_key[name].CopyFrom(value)
    return part
