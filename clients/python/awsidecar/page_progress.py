"""How far a stream of pages has come, and what to ask for the rest of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from awsidecar.dynamodb.v1.page_streams_pb2 import (
    ExecuteStatementStreamRequest,
    QueryStreamRequest,
    ScanSegmentPosition,
    ScanStreamRequest,
)
from awsidecar.operations import DYNAMODB, OWN
from awsidecar.values import Fault, Value, fill_attributes, plain_attributes


@dataclass(frozen=True, slots=True)
class SegmentPosition:
    """How far a segment of a parallel scan was read. Segments that have given nothing yet have none."""

    segment: int
    # `LastEvaluatedKey` of the segment's newest page; None when it had none, so that nothing is left.
    exclusive_start_key: Mapping[str, Value] | None


class Cursor(Protocol):
    """Where a request goes on."""

    def move(self, response: Any) -> bool:
        """Lets the request go on after a page; False when nothing is left."""

    def count(self, page: Any) -> int:
        """The items of a page, as its limit counts them."""


class KeyCursor:
    """The cursor of a query, and of a scan without segments."""

    def __init__(self, request: Any) -> None:
        self._request = request

    def move(self, response: Any) -> bool:
        end = response.page.last_evaluated_key.attributes
        _copy_key(end, self._request.exclusive_start_key)
        return bool(end)

    def count(self, page: Any) -> int:
        return int(page.count)


class TokenCursor:
    """The cursor of a statement."""

    def __init__(self, request: Any) -> None:
        self._request = request

    def move(self, response: Any) -> bool:
        self._request.next_token = response.page.next_token
        return bool(response.page.next_token)

    def count(self, page: Any) -> int:
        return len(page.items)


class SegmentCursor:
    """The cursor of a scan with segments."""

    def __init__(self, request: ScanStreamRequest) -> None:
        self._request = request
        self._by_segment = {position.segment: position for position in request.positions}

    def move(self, response: Any) -> bool:
        position = self._by_segment.get(response.segment)
        if position is None:
            position = self._by_segment[response.segment] = self._request.positions.add(segment=response.segment)
        end = response.page.last_evaluated_key.attributes
        _copy_key(end, position.exclusive_start_key)
        position.finished = not end
        # Only then are all worth counting.
        return not (position.finished and self._are_all_finished())

    def count(self, page: Any) -> int:
        return int(page.count)

    def _are_all_finished(self) -> bool:
        positions = self._by_segment.values()
        return len(positions) == self._request.segments and all(position.finished for position in positions)


class Progress:
    """What a stream of pages has given, and the request for the rest of it."""

    def __init__(self, operation: str, request: Any, cursor: Cursor, limit: int | None) -> None:
        if limit is not None and limit < 0:
            raise ValueError(f"limit_items must not be negative, and is {limit}")
        self.method = OWN[f"{operation}Stream"]
        self.is_done = limit == 0
        self._operation = DYNAMODB[operation]
        self._request = request
        self._cursor = cursor
        if limit:
            request.item_limit = limit

    def rest(self) -> Any:
        """The request for what has not been given yet."""
        return self._request

    def decode(self, response: Any) -> dict[str, Any]:
        """The page of a response as the operation itself would return it."""
        return self._operation.decode(response.page, {})

    def note(self, response: Any) -> None:
        """Counts the page of a response as given."""
        self.is_done = not self._cursor.move(response)
        if self._request.HasField("item_limit"):
            # Never 0, which would be another request.
            left = self._request.item_limit - self._cursor.count(response.page)
            self._request.item_limit = max(left, 1)
            self.is_done = self.is_done or left <= 0

    @property
    def positions(self) -> list[SegmentPosition]:
        """How far each segment of a scan has come; empty without segments."""
        found = getattr(self._request, "positions", ())
        return [
            SegmentPosition(
                position.segment, None if position.finished else plain_attributes(position.exclusive_start_key)
            )
            for position in found
        ]


def query_progress(parameters: Mapping[str, object], limit: int | None) -> Progress:
    """A query from its beginning."""
    request: Any = QueryStreamRequest()
    request.query.MergeFrom(DYNAMODB["Query"].encode(parameters))
    return Progress("Query", request, KeyCursor(request.query), limit)


def statement_progress(parameters: Mapping[str, object], limit: int | None) -> Progress:
    """A statement from its beginning."""
    request: Any = ExecuteStatementStreamRequest()
    request.statement.MergeFrom(DYNAMODB["ExecuteStatement"].encode(parameters))
    return Progress("ExecuteStatement", request, TokenCursor(request.statement), limit)


def scan_progress(
    parameters: Mapping[str, object], limit: int | None, segments: int | None, positions: Iterable[SegmentPosition]
) -> Progress:
    """A scan from its beginning, or from the positions of its segments."""
    request: Any = ScanStreamRequest(segments=segments, positions=map(_position, positions))
    request.scan.MergeFrom(DYNAMODB["Scan"].encode(parameters))
    cursor = KeyCursor(request.scan) if segments is None else SegmentCursor(request)
    return Progress("Scan", request, cursor, limit)


def _position(position: SegmentPosition) -> ScanSegmentPosition:
    key: Any = position.exclusive_start_key
    found = ScanSegmentPosition(segment=position.segment, finished=key is None)
    try:
        fill_attributes(found.exclusive_start_key, key or {})
    except Fault as fault:
        raise fault.error(f"positions.{position.segment}") from fault
    return found


def _copy_key(source: Mapping[str, Any], target: Any) -> None:
    target.clear()
    for name, value in source.items():
        target[name].CopyFrom(value)
