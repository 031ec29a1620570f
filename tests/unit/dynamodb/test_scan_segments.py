"""What a parallel scan costs the sidecar: copies of its request, and a million positions."""

from __future__ import annotations

import asyncio
import tracemalloc
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dynamodb.fakes import FakeTable, Row, numbers

from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue
from awsidecar.dynamodb.v1.page_streams_pb2 import (
    QueryStreamRequest,
    ScanSegmentPosition,
    ScanStreamRequest,
    ScanStreamResponse,
)
from awsidecar.dynamodb.v1.query_pb2 import QueryRequest, ScanRequest
from awsidecar_server.contract import aws_rpcs
from awsidecar_server.dynamodb.page_merge import AT_A_TIME, side_by_side
from awsidecar_server.dynamodb.page_reader import SCAN, PageReader
from awsidecar_server.dynamodb.page_streams import PageStreams
from awsidecar_server.dynamodb.scan_segments import MOST_SEGMENTS, Parts, Positions
from awsidecar_server.errors import InvalidRequest
from awsidecar_server.identity.credentials import ServiceAccountCaller
from awsidecar_server.operations import Operations, Performed, Scope

SCOPE = Scope(ServiceAccountCaller(), "eu-central-1", 7.0)
# So large that one such request is sent at a time.
LARGE = "x" * 400_000


async def scoping() -> Scope:
    return SCOPE


def table(segments: int, rows: int = 4) -> FakeTable:
    return FakeTable([[Row(segment * 1_000 + number) for number in range(rows)] for segment in range(segments)])


async def scanned(source: FakeTable, request: ScanStreamRequest) -> list[tuple[int, list[int]]]:
    """The segment and the items of each page."""
    async with aclosing(PageStreams(source.operations).scan(request, scoping)) as responses:
        read = [ScanStreamResponse.FromString(bytes(raw)) async for raw in responses if isinstance(raw, bytes)]
    return [(one.segment, numbers(one.page)) for one in read]


class Seen:
    """Answers the first page with nothing, and keeps the very messages that it was asked with."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    @property
    def operations(self) -> Operations:
        return Operations(aws_rpcs(), lambda _: self)

    async def perform(self, message: Message, scope: Scope, size: int) -> Performed:
        self.messages.append(message)
        return Performed(b"", "REQ", 1)


async def drained(responses: Any) -> None:
    async with aclosing(responses) as open_responses:
        async for _ in open_responses:
            pass


async def test_request_of_a_query_is_not_copied() -> None:
    seen = Seen()
    asked = QueryStreamRequest(query=QueryRequest(table_name="T"))
    await drained(PageStreams(seen.operations).query(asked, scoping))
    assert seen.messages[0] is asked.query


@pytest.mark.parametrize("segments", [None, 1])
async def test_request_of_a_scan_in_one_is_not_copied(segments: int | None) -> None:
    seen = Seen()
    asked = ScanStreamRequest(scan=ScanRequest(table_name="T"), segments=segments)
    await drained(PageStreams(seen.operations).scan(asked, scoping))
    assert seen.messages[0] is asked.scan


async def test_large_request_is_handed_on_from_segment_to_segment_without_a_copy() -> None:
    seen = Seen()
    asked = ScanStreamRequest(scan=ScanRequest(table_name="T", filter_expression=LARGE), segments=3)
    await drained(PageStreams(seen.operations).scan(asked, scoping))
    assert [one is asked.scan for one in seen.messages] == [True] * 3


@pytest.mark.parametrize("limit", [None, 2])
@pytest.mark.parametrize("item_limit", [None, 9])
async def test_request_that_is_handed_on_asks_each_segment_for_its_own(
    limit: int | None, item_limit: int | None
) -> None:
    """No segment starts where the one before has ended, nor asks for as little as it did in the end."""
    source = table(4, rows=7)
    asked = ScanStreamRequest(
        scan=ScanRequest(table_name="T", filter_expression=LARGE, limit=limit),
        segments=4,
        positions=[ScanSegmentPosition(segment=1, exclusive_start_key={"row": AttributeValue(n="5")})],
        item_limit=item_limit,
    )
    found = await scanned(source, asked)
    everything = [*range(7), 1_005, 1_006, *range(2_000, 2_007), *range(3_000, 3_007)]
    assert [number for _, page in found for number in page] == everything[:item_limit]
    assert source.most_in_progress == 1
    first = [
        one for one in source.requests if not one.exclusive_start_key or one.exclusive_start_key["row"].n == "5"
    ]
    assert [one.segment for one in first if one.segment != 1] == ([0, 2, 3] if item_limit is None else [0])
    assert {one.total_segments for one in source.requests} == {4}
    if item_limit is None:
        assert {one.limit if one.HasField("limit") else None for one in source.requests} == {limit}


@pytest.mark.parametrize("limit", [None, 2])
@pytest.mark.parametrize("text", ["", LARGE])
def test_segment_is_asked_with_what_the_caller_says_whatever_the_one_before_was_asked_for(
    limit: int | None, text: str
) -> None:
    asked = ScanStreamRequest(scan=ScanRequest(filter_expression=text, limit=limit), segments=2)
    parts = Parts(asked, 0)
    for segment in range(2):
        part = parts.part(segment, None)
        assert part == ScanRequest(filter_expression=text, limit=limit, segment=segment, total_segments=2)
        part.limit = 1
        part.exclusive_start_key["id"].s = "x"


@pytest.mark.parametrize(
    ("size", "expected"), [(0, 16), (1, 16), (32_768, 16), (32_769, 15), (262_144, 2), (262_145, 1), (2**31, 1)]
)
def test_large_requests_have_fewer_readers_side_by_side_and_one_at_least(size: int, expected: int) -> None:
    assert side_by_side(size) == expected


@pytest.mark.parametrize(("size", "expected"), [(100, 16), (100_000, 5), (300_000, 1)])
@pytest.mark.parametrize("is_position", [False, True])
async def test_bytes_of_requests_bound_how_many_segments_are_read_side_by_side(
    size: int, expected: int, is_position: bool
) -> None:
    source = table(40)
    asked = ScanStreamRequest(scan=ScanRequest(table_name="T"), segments=40)
    if is_position:
        start = {"row": AttributeValue(n="0"), "long": AttributeValue(s="x" * size)}
        asked.positions.add(segment=39, exclusive_start_key=start)
    else:
        asked.scan.filter_expression = "x" * size
    found = await scanned(source, asked)
    assert sorted(number for _, page in found for number in page) == [
        segment * 1_000 + number for segment in range(40) for number in range(4)
    ]
    assert source.most_in_progress == expected <= AT_A_TIME


async def test_request_is_made_when_its_reader_begins_and_once() -> None:
    made: list[ScanRequest] = []

    def make() -> ScanRequest:
        made.append(ScanRequest(table_name="T"))
        return made[-1]

    reader = PageReader(table(1, rows=5).operations, SCAN, make, scoping, naming=str)
    assert not made
    await reader.next(None)
    await reader.next(None)
    assert len(made) == 1


async def test_segments_that_have_not_begun_have_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of one item lets one of them begin."""
    made: list[int] = []
    part = Parts.part

    def noted(self: Parts, segment: int, place: int | None) -> ScanRequest:
        made.append(segment)
        return part(self, segment, place)

    monkeypatch.setattr(Parts, "part", noted)
    asked = ScanStreamRequest(scan=ScanRequest(table_name="T"), segments=16, item_limit=1)
    await scanned(table(16), asked)
    assert made == [0]


async def test_others_have_their_turns_while_positions_are_looked_through() -> None:
    asked = ScanStreamRequest(segments=50_000)
    for segment in range(50_000):
        asked.positions.add(segment=segment, finished=True)
    looking = asyncio.ensure_future(Positions.of(asked))
    turns = 0
    while not looking.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 10


async def test_large_positions_take_as_many_turns_as_many_small_ones() -> None:
    asked = ScanStreamRequest(segments=100)
    for segment in range(100):
        asked.positions.add(segment=segment, exclusive_start_key={"id": AttributeValue(s="x" * 100_000)})
    looking = asyncio.ensure_future(Positions.of(asked))
    turns = 0
    while not looking.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 10


@pytest.mark.parametrize("is_finished", [False, True])
async def test_positions_are_kept_in_few_bytes_each(is_finished: bool) -> None:
    asked = ScanStreamRequest(segments=100_000)
    for segment in range(100_000):
        asked.positions.add(segment=segment, finished=is_finished)
    tracemalloc.start()
    try:
        positions = await Positions.of(asked)
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept <= most < 1_000_000
    assert len(list(positions.unfinished(100_000))) == (0 if is_finished else 100_000)


async def test_one_position_of_a_million_segments_takes_little_memory() -> None:
    asked = ScanStreamRequest(
        segments=MOST_SEGMENTS, positions=[ScanSegmentPosition(segment=999_999, finished=True)]
    )
    tracemalloc.start()
    try:
        positions = await Positions.of(asked)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 10_000
    assert sum(1 for _ in positions.unfinished(MOST_SEGMENTS)) == 999_999


async def test_wrong_position_behind_many_good_ones_is_refused_with_its_place_before_any_page() -> None:
    source = table(1)
    asked = ScanStreamRequest(scan=ScanRequest(table_name="T"), segments=20_000)
    for segment in range(12_000):
        asked.positions.add(segment=segment)
    asked.positions.add(segment=7)
    with pytest.raises(InvalidRequest) as refused:
        await scanned(source, asked)
    assert refused.value.metadata == {"field": "positions[12000].segment"}
    assert not source.requests


POSITIONS = st.integers(1, 400).flatmap(
    lambda segments: st.tuples(
        st.just(segments),
        st.lists(st.tuples(st.integers(0, segments - 1), st.booleans()), unique_by=lambda one: one[0]),
    )
)


@given(POSITIONS, st.booleans())
async def test_unfinished_segments_come_in_order_with_the_places_of_their_positions(
    drawn: tuple[int, list[tuple[int, bool]]], has_finished_blocks: bool
) -> None:
    segments, some = drawn
    known = dict(some)
    if has_finished_blocks:
        known.update(dict.fromkeys(range(64, min(segments, 192)), True))
    asked = ScanStreamRequest(segments=segments)
    for segment, finished in known.items():
        asked.positions.add(segment=segment, finished=finished)
    places = {segment: place for place, segment in enumerate(known)}
    expected = [(one, places.get(one)) for one in range(segments) if not known.get(one, False)]
    assert list((await Positions.of(asked)).unfinished(segments)) == expected


async def test_caller_of_a_segment_is_asked_for_anew_also_when_its_request_is_handed_on() -> None:
    scopes = [replace(SCOPE, region=region) for region in ("one", "two")]

    async def changing() -> Scope:
        return scopes.pop(0)

    source = table(2, rows=1)
    asked = ScanStreamRequest(scan=ScanRequest(table_name="T", filter_expression=LARGE), segments=2)
    await drained(PageStreams(source.operations).scan(asked, changing))
    assert [scope.region for scope in source.scopes] == ["one", "two"]
