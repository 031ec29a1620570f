"""The segments of a parallel scan: where each goes on, and the request that reads it."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterator

from awsidecar.dynamodb.v1.page_streams_pb2 import ScanSegmentPosition, ScanStreamRequest
from awsidecar.dynamodb.v1.query_pb2 import ScanRequest
from awsidecar_server.dynamodb.page_merge import side_by_side
from awsidecar_server.errors import InvalidRequest

# AWS's own bound of `TotalSegments`.
MOST_SEGMENTS = 1_000_000

# Positions, or as many times so many bytes of one, that are looked through before others have their turn: some
# milliseconds.
_AT_A_TURN, _LOOK_BYTES = 5_000, 128
# Segments whose places are kept together: few enough that one position of a million segments takes little memory, and
# enough that a million of them are passed over in no time.
_BLOCK = 64
# Instead of the place of a position.
_ABSENT, _FINISHED = -1, -2
_UNTOUCHED, _ALL_FINISHED = array("i", [_ABSENT]) * _BLOCK, array("i", [_FINISHED]) * _BLOCK


class Positions:
    """By segment the place of its position in the request, in 4 bytes: there may be a million of them."""

    def __init__(self) -> None:
        self._blocks: dict[int, array[int]] = {}
        # Of the largest of them.
        self.most_bytes = 0

    @classmethod
    async def of(cls, request: ScanStreamRequest) -> Positions:
        """Looks the positions of a request through, in turns with others' work; raises `InvalidRequest` for a wrong one.

        `request.segments` is in its bounds.
        """
        found, segments, left = cls(), request.segments, _AT_A_TURN
        for place, position in enumerate(request.positions):
            size, segment = position.ByteSize(), position.segment
            found.most_bytes = max(size, found.most_bytes)
            left -= 1 + size // _LOOK_BYTES
            if left <= 0:
                await asyncio.sleep(0)
                left = _AT_A_TURN
            if not 0 <= segment < segments:
                raise _refusal(place, "segment", f"must be 0 to {segments - 1}, and is {segment}")
            if not found._put(segment, place, position):
                raise _refusal(place, "segment", f"names segment {segment} a second time")
        return found

    def _put(self, segment: int, place: int, position: ScanSegmentPosition) -> bool:
        """Whether the segment had no position yet."""
        number, at = divmod(segment, _BLOCK)
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = array("i", _UNTOUCHED)
        if block[at] != _ABSENT:
            return False
        if position.finished and position.exclusive_start_key:
            raise _refusal(place, "exclusive_start_key", "must be empty in a finished segment")
        block[at] = _FINISHED if position.finished else place
        return True

    def unfinished(self, segments: int) -> Iterator[tuple[int, int | None]]:
        """Those of so many segments that are to be read, each with the place of its position, if it has one."""
        for first in range(0, segments, _BLOCK):
            block = self._blocks.get(first // _BLOCK, _UNTOUCHED)
            if block == _ALL_FINISHED:
                continue
            for segment, place in zip(range(first, min(first + _BLOCK, segments)), block, strict=False):
                if place != _FINISHED:
                    yield segment, None if place == _ABSENT else place


class Parts:
    """Makes the requests that AWS is asked for the segments, each when its segment begins.

    As many may be in use at a time as `at_a_time` says. Where that is one, it is the caller's own, which is handed on
    from segment to segment; otherwise each is a copy.
    """

    def __init__(self, request: ScanStreamRequest, position_bytes: int) -> None:
        """`position_bytes` is the size of the largest position."""
        scan = request.scan
        self._request = request
        self._limit = scan.limit if scan.HasField("limit") else None
        self.at_a_time = min(side_by_side(scan.ByteSize() + position_bytes), request.segments)

    def part(self, segment: int, place: int | None) -> ScanRequest:
        """The request for a segment, from the position that has this place among the request's."""
        part = self._request.scan if self.at_a_time == 1 else ScanRequest()
        if self.at_a_time == 1:
            self._as_it_was(part)
        else:
            part.CopyFrom(self._request.scan)  # merging goes by way of bytes, not as deep as AWS may be asked
        part.segment, part.total_segments = segment, self._request.segments
        if place is not None:
            for name, value in self._request.positions[place].exclusive_start_key.items():
                part.exclusive_start_key[name].CopyFrom(value)
        return part

    def _as_it_was(self, scan: ScanRequest) -> None:
        """Takes out what the segment before has put in: where it went on, and how much it asked for."""
        scan.exclusive_start_key.clear()
        if self._limit is None:
            scan.ClearField("limit")
        else:
            scan.limit = self._limit


def check_segments(request: ScanStreamRequest) -> None:
    """Raises `InvalidRequest` unless the request, which has `segments`, may be read in so many."""
    if not 1 <= request.segments <= MOST_SEGMENTS:
        raise InvalidRequest.of("segments", f"must be 1 to {MOST_SEGMENTS}, and is {request.segments}")
    scan = request.scan
    taken = {"Segment": scan.HasField("segment"), "TotalSegments": scan.HasField("total_segments")}
    for name, is_set in {**taken, "ExclusiveStartKey": bool(scan.exclusive_start_key)}.items():
        if is_set:
            raise InvalidRequest.of(f"scan.{name}", "must be absent beside segments; positions resumes them")


def path_of(place: int) -> str:
    """What the caller calls a position."""
    return f"positions[{place}]"


def _refusal(place: int, field: str, problem: str) -> InvalidRequest:
    return InvalidRequest.of(f"{path_of(place)}.{field}", problem)
