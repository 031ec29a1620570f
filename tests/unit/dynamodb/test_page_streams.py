from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dynamodb.fakes import FakeTable, Row, numbers

from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue
from awsidecar.dynamodb.v1.page_streams_pb2 import (
    ExecuteStatementStreamRequest,
    ExecuteStatementStreamResponse,
    QueryStreamRequest,
    QueryStreamResponse,
    ScanSegmentPosition,
    ScanStreamRequest,
    ScanStreamResponse,
)
from awsidecar.dynamodb.v1.partiql_pb2 import ExecuteStatementRequest
from awsidecar.dynamodb.v1.query_pb2 import QueryRequest, ScanRequest
from awsidecar_server.dynamodb import page_reader
from awsidecar_server.dynamodb.page_merge import AT_A_TIME
from awsidecar_server.dynamodb.page_streams import PageStreams
from awsidecar_server.errors import AwsRejected, InvalidRequest
from awsidecar_server.identity.credentials import ServiceAccountCaller
from awsidecar_server.operations import Performed, Scope

ResponseT = TypeVar("ResponseT", bound=Message)

SCOPE = Scope(ServiceAccountCaller(), "eu-central-1", 7.0)
START = {"row": AttributeValue(n="1")}
THROTTLED = AwsRejected("dynamodb", "Query", "ThrottlingException", "slow down")


async def scoping() -> Scope:
    return SCOPE


def rows(passing: list[bool], start: int = 0) -> list[Row]:
    return [Row(start + number, passes) for number, passes in enumerate(passing)]


def plain(count: int) -> FakeTable:
    """A table of one segment whose items all pass, in pages of 3."""
    return FakeTable([rows([True] * count)])


async def read(source: AsyncGenerator[Message | bytes, None], kind: type[ResponseT]) -> list[ResponseT]:
    async with aclosing(source) as responses:
        return [parsed(raw, kind) async for raw in responses]


def parsed(raw: Message | bytes, kind: type[ResponseT]) -> ResponseT:
    assert isinstance(raw, bytes)
    return kind.FromString(raw)


async def queried(table: FakeTable, **request: Any) -> list[Any]:
    asked = QueryStreamRequest(**{"query": QueryRequest(table_name="T"), **request})
    return [
        one.page for one in await read(PageStreams(table.operations).query(asked, scoping), QueryStreamResponse)
    ]


async def stated(table: FakeTable, **request: Any) -> list[Any]:
    statement = ExecuteStatementRequest(statement="SELECT * FROM T")
    asked = ExecuteStatementStreamRequest(**{"statement": statement, **request})
    source = PageStreams(table.operations).statement(asked, scoping)
    return [one.page for one in await read(source, ExecuteStatementStreamResponse)]


async def scanned(table: FakeTable, **request: Any) -> list[ScanStreamResponse]:
    asked = ScanStreamRequest(**{"scan": ScanRequest(table_name="T"), **request})
    return await read(PageStreams(table.operations).scan(asked, scoping), ScanStreamResponse)


def all_numbers(pages: list[Any]) -> list[int]:
    return [number for page in pages for number in numbers(page)]


async def test_query_gives_a_message_for_each_page_with_all_that_aws_answered() -> None:
    table = plain(8)
    pages = await queried(table, query=QueryRequest(table_name="T", index_name="I"))
    assert [numbers(page) for page in pages] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert [page.scanned_count for page in pages] == [3, 3, 2]
    assert [page.HasField("last_evaluated_key") for page in pages] == [True, True, False]
    assert [(request.table_name, request.index_name) for request in table.requests] == [("T", "I")] * 3
    assert table.scopes == [SCOPE] * 3


async def test_empty_pages_are_passed_on() -> None:
    """They tell the caller that reading goes on."""
    pages = await queried(FakeTable([rows([False] * 7 + [True])]))
    assert [numbers(page) for page in pages] == [[], [], [7]]


async def test_no_request_follows_the_page_that_reaches_the_limit() -> None:
    table = plain(9)
    pages = await queried(table, item_limit=5)
    assert [numbers(page) for page in pages] == [[0, 1, 2], [3, 4]]
    assert [request.limit for request in table.requests] == [5, 2]
    assert pages[-1].HasField("last_evaluated_key")


async def test_page_limit_of_the_caller_holds_beside_the_item_limit() -> None:
    table = plain(9)
    pages = await queried(table, query=QueryRequest(table_name="T", limit=2), item_limit=5)
    assert [numbers(page) for page in pages] == [[0, 1], [2, 3], [4]]


async def test_counts_count_as_items() -> None:
    table = FakeTable([rows([True, False] * 10)], page_rows=7)
    pages = await queried(table, query=QueryRequest(table_name="T", select="COUNT"), item_limit=6)
    assert sum(page.count for page in pages) == 6
    assert not all_numbers(pages)


async def test_selective_filter_does_not_cost_a_call_per_item() -> None:
    """Pages of as many items as are wanted would be 1,000 calls here."""
    table = FakeTable([rows(([False] * 999 + [True]) * 20)], page_rows=5_000)
    assert len(all_numbers(await queried(table, item_limit=10))) == 10
    assert len(table.requests) < 60
    assert sum(min(request.limit, 5_000) for request in table.requests) < 30_000


async def test_page_with_too_many_items_is_read_again_from_where_it_started() -> None:
    table = FakeTable([rows([False] * 20 + [True] * 20)], page_rows=100)
    pages = await queried(table, item_limit=2)
    assert all_numbers(pages) == [20, 21]
    assert len(table.requests) > len(pages)
    resumed = QueryRequest(table_name="T", exclusive_start_key=dict(pages[-1].last_evaluated_key.attributes))
    assert all_numbers(await queried(table, query=resumed)) == list(range(22, 40))


@pytest.mark.parametrize("limit", [0, -1])
async def test_limit_below_one_is_refused_with_its_field(limit: int) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await queried(plain(3), item_limit=limit)
    assert [one.field for one in refused.value.violations] == ["item_limit"]
    assert refused.value.metadata == {"field": "item_limit"}


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO T VALUE {'id': 1}",
        "UPDATE T SET a = 1 WHERE id = 1",
        "DELETE FROM T WHERE id = 1",
        "SELECTED",
        "/* SELECT */ DELETE FROM T",
        "(DELETE FROM T)",
        "\xa0SELECT * FROM T",
    ],
)
async def test_statement_that_writes_or_may_write_is_refused_before_it_is_sent(text: str) -> None:
    """Who resumes a stream would write twice."""
    table = plain(3)
    with pytest.raises(InvalidRequest) as refused:
        await stated(table, statement=ExecuteStatementRequest(statement=text))
    assert [one.field for one in refused.value.violations] == ["statement.Statement"]
    assert not table.requests


@pytest.mark.parametrize(
    "text",
    [
        "select\r\n* from T",
        " \n SELECT\t* FROM T",
        "/* x */ SELECT * FROM T",
        "-- c\nSELECT * FROM T",
        "(SELECT * FROM T)",
        "SELECT*FROM T",
    ],
)
async def test_select_is_known_however_it_is_laid_out(text: str) -> None:
    assert all_numbers(await stated(plain(4), statement=ExecuteStatementRequest(statement=text))) == [0, 1, 2, 3]


async def test_next_page_is_read_while_the_caller_has_one_and_no_other() -> None:
    table = plain(9)
    asked = QueryStreamRequest(query=QueryRequest(table_name="T"))
    async with aclosing(PageStreams(table.operations).query(asked, scoping)) as responses:
        await anext(responses)
        for _ in range(50):
            await asyncio.sleep(0)
        assert (len(table.requests), table.in_progress) == (2, 0)
        await anext(responses)
        await asyncio.sleep(0)
        assert len(table.requests) == 3


async def test_closed_stream_cancels_its_read_ahead_and_waits_for_it() -> None:
    table = plain(9)

    async def before(_request: Any) -> None:
        if len(table.requests) > 1:
            await asyncio.Event().wait()

    table.before = before
    responses = PageStreams(table.operations).query(QueryStreamRequest(query=QueryRequest(table_name="T")), scoping)
    await anext(responses)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert table.in_progress == 1
    await responses.aclose()
    assert (table.in_progress, table.cancelled) == (0, 1)


async def test_failure_of_the_read_ahead_comes_after_the_page_before() -> None:
    table = plain(9)

    async def before(_request: Any) -> None:
        if len(table.requests) == 2:
            raise THROTTLED

    table.before = before
    responses = PageStreams(table.operations).query(QueryStreamRequest(query=QueryRequest(table_name="T")), scoping)
    async with aclosing(responses):
        page = parsed(await anext(responses), QueryStreamResponse).page
        with pytest.raises(AwsRejected) as refused:
            await anext(responses)
    assert numbers(page) == [0, 1, 2]
    assert {**vars(refused.value), "naming": None} == {**vars(THROTTLED), "naming": None}


async def test_message_of_a_long_stream_is_copied_before_its_positions_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page_reader, "_POSITIONS_OF_A_MESSAGE", 4)
    messages: list[Message] = []

    class Noted(FakeTable):
        async def perform(self, message: Message, scope: Scope, size: int) -> Performed:
            messages.append(message)
            return await super().perform(message, scope, size)

    pages = await queried(Noted([rows([True] * 60)]), query=QueryRequest(table_name="T", consistent_read=True))
    assert [number for page in pages for number in numbers(page)] == list(range(60))
    assert len(messages) == 21
    assert len(set(map(id, messages))) == 6


async def test_each_page_is_read_for_whoever_calls_now() -> None:
    scopes = [replace(SCOPE, region="one"), replace(SCOPE, region="two")]

    async def changing() -> Scope:
        return scopes.pop(0)

    table = plain(5)
    asked = QueryStreamRequest(query=QueryRequest(table_name="T"))
    await read(PageStreams(table.operations).query(asked, changing), QueryStreamResponse)
    assert [scope.region for scope in table.scopes] == ["one", "two"]


async def test_segments_are_read_side_by_side_and_say_which_they_are() -> None:
    table = FakeTable([rows([True] * 7, segment * 100) for segment in range(4)])
    responses = await scanned(table, segments=4)
    assert [one.segment for one in responses[:4]] == [0, 1, 2, 3]
    for segment in range(4):
        pages = [one.page for one in responses if one.segment == segment]
        assert all_numbers(pages) == [segment * 100 + number for number in range(7)]
    assert {(request.segment, request.total_segments) for request in table.requests} == {(n, 4) for n in range(4)}


async def test_segments_are_asked_for_with_values_that_nest_deeper_than_protobuf_reads() -> None:
    scan = ScanRequest(table_name="T")
    value = scan.expression_attribute_values[":deep"]
    for _ in range(40):
        value = value.m.entries["a"]
    table = plain(1)
    asked = ScanStreamRequest(segments=1)
    asked.scan.CopyFrom(scan)
    await read(PageStreams(table.operations).scan(asked, scoping), ScanStreamResponse)
    assert table.requests[0].expression_attribute_values == scan.expression_attribute_values


async def test_segments_take_turns() -> None:
    table = FakeTable([rows([True] * 30, segment * 100) for segment in range(3)])
    order = [one.segment for one in await scanned(table, segments=3)]
    assert order[:30] == [0, 1, 2] * 10


async def test_segments_share_the_limit_evenly() -> None:
    """One that took all of it would leave the others waiting."""
    table = FakeTable([rows([True] * 30, segment * 100) for segment in range(4)], page_rows=100)
    responses = await scanned(table, segments=4, item_limit=8)
    assert [(one.segment, one.page.count) for one in responses] == [(0, 2), (1, 2), (2, 2), (3, 2)]


async def test_slow_segment_does_not_hold_up_the_others() -> None:
    table = FakeTable([rows([True] * 5, segment * 100) for segment in range(2)])
    released = asyncio.Event()

    async def before(request: Any) -> None:
        if request.segment == 0:
            await released.wait()

    table.before = before
    asked = ScanStreamRequest(scan=ScanRequest(table_name="T"), segments=2)
    async with aclosing(PageStreams(table.operations).scan(asked, scoping)) as responses:
        first = [parsed(await anext(responses), ScanStreamResponse) for _ in range(2)]
        released.set()
        rest = await read(responses, ScanStreamResponse)
    assert [one.segment for one in [*first, *rest]] == [1, 1, 0, 0]


async def test_no_more_segments_are_read_at_a_time_than_are_allowed() -> None:
    segments = AT_A_TIME * 2 + 3
    table = FakeTable([rows([True] * 4, segment * 100) for segment in range(segments)])
    responses = await scanned(table, segments=segments)
    assert len(all_numbers([one.page for one in responses])) == segments * 4
    assert table.most_in_progress == AT_A_TIME


async def test_slow_reader_of_a_parallel_scan_holds_a_page_per_segment_and_one() -> None:
    table = FakeTable([rows([True] * 30, segment * 100) for segment in range(4)])
    asked = ScanStreamRequest(scan=ScanRequest(table_name="T"), segments=4)
    async with aclosing(PageStreams(table.operations).scan(asked, scoping)) as responses:
        await anext(responses)
        for _ in range(50):
            await asyncio.sleep(0)
        assert (len(table.requests), table.in_progress) == (5, 0)


async def test_failure_of_one_segment_comes_after_the_pages_that_the_others_have_read() -> None:
    table = FakeTable([rows([True] * 9, segment * 100) for segment in range(3)])

    async def before(request: Any) -> None:
        if request.segment == 1:
            raise THROTTLED

    table.before = before
    seen: list[int] = []

    async def follow() -> None:
        asked = ScanStreamRequest(scan=ScanRequest(table_name="T"), segments=3)
        async for raw in PageStreams(table.operations).scan(asked, scoping):
            seen.append(parsed(raw, ScanStreamResponse).segment)  # noqa: PERF401 - kept when it fails

    with pytest.raises(AwsRejected):
        await follow()
    assert seen == [0, 2]
    assert table.in_progress == 0


@pytest.mark.parametrize(
    ("request_fields", "path"),
    [
        ({"segments": 0}, "segments"),
        ({"segments": 1_000_001}, "segments"),
        ({"segments": 2, "scan": ScanRequest(segment=0)}, "scan.Segment"),
        ({"segments": 2, "scan": ScanRequest(total_segments=2)}, "scan.TotalSegments"),
        ({"segments": 2, "scan": ScanRequest(exclusive_start_key=START)}, "scan.ExclusiveStartKey"),
        ({"positions": [ScanSegmentPosition(segment=0)]}, "positions"),
        ({"segments": 2, "positions": [ScanSegmentPosition(segment=2)]}, "positions[0].segment"),
        ({"segments": 2, "positions": [ScanSegmentPosition(segment=-1)]}, "positions[0].segment"),
        ({"segments": 2, "positions": [ScanSegmentPosition(segment=1)] * 2}, "positions[1].segment"),
        (
            {"segments": 2, "positions": [{"finished": True, "exclusive_start_key": START}]},
            "positions[0].exclusive_start_key",
        ),
    ],
)
async def test_segments_that_make_no_sense_are_refused_with_their_field(
    request_fields: dict[str, Any], path: str
) -> None:
    table = FakeTable([[], []])
    with pytest.raises(InvalidRequest) as refused:
        await scanned(table, **request_fields)
    assert [one.field for one in refused.value.violations] == [path]
    assert refused.value.metadata == {"field": path}
    assert not table.requests


async def test_finished_segments_are_not_read_again() -> None:
    table = FakeTable([rows([True] * 2, segment * 100) for segment in range(3)])
    positions = [ScanSegmentPosition(segment=1, finished=True)]
    found = all_numbers([one.page for one in await scanned(table, segments=3, positions=positions)])
    assert found == [0, 1, 200, 201]
    everything = [ScanSegmentPosition(segment=segment, finished=True) for segment in range(3)]
    assert await scanned(table, segments=3, positions=everything) == []


async def test_without_segments_the_request_reads_the_part_that_it_names_from_where_it_says() -> None:
    table = FakeTable([rows([True] * 5), rows([True] * 5, 100)])
    scan = ScanRequest(
        table_name="T", segment=1, total_segments=2, exclusive_start_key={"row": AttributeValue(n="2")}
    )
    responses = await scanned(table, scan=scan)
    assert all_numbers([one.page for one in responses]) == [102, 103, 104]
    assert {one.segment for one in responses} == {0}


TABLES = st.builds(
    lambda segments, page_rows, is_unsure: FakeTable(
        [rows(passing, 1_000 * index) for index, passing in enumerate(segments)], page_rows, is_unsure
    ),
    st.lists(st.lists(st.booleans(), max_size=60), min_size=1, max_size=5),
    st.integers(1, 25),
    st.booleans(),
)
LIMITS = st.none() | st.integers(1, 70)


def passing(table: FakeTable, segments: int) -> list[int]:
    return [row.number for segment in table.segments[:segments] for row in segment if row.passes]


@given(TABLES, LIMITS, st.data())
async def test_query_cut_anywhere_gives_each_item_once(table: FakeTable, limit: int | None, data: Any) -> None:
    page_limit = data.draw(st.none() | st.integers(1, 30))
    query = QueryRequest(table_name="T", limit=page_limit)
    found: list[int] = []
    while True:
        pages = await queried(table, query=query, item_limit=limit)
        assert limit is None or len(all_numbers(pages)) <= limit
        kept = pages[: data.draw(st.integers(1, len(pages)))]
        found += all_numbers(kept)
        if not kept[-1].HasField("last_evaluated_key"):
            break
        if kept == pages:
            assert len(all_numbers(pages)) == limit
        query = QueryRequest(
            table_name="T", limit=page_limit, exclusive_start_key=dict(kept[-1].last_evaluated_key.attributes)
        )
    assert found == passing(table, 1)


@given(TABLES, LIMITS, st.data())
async def test_statement_cut_anywhere_gives_each_item_once(table: FakeTable, limit: int | None, data: Any) -> None:
    statement = ExecuteStatementRequest(statement="SELECT * FROM T")
    found: list[int] = []
    while True:
        pages = await stated(table, statement=statement, item_limit=limit)
        assert limit is None or len(all_numbers(pages)) <= limit
        kept = pages[: data.draw(st.integers(1, len(pages)))]
        found += all_numbers(kept)
        if not kept[-1].next_token:
            break
        statement.next_token = kept[-1].next_token
    assert found == passing(table, 1)


@given(TABLES, LIMITS, st.data())
async def test_parallel_scan_cut_anywhere_gives_each_item_once(
    table: FakeTable, limit: int | None, data: Any
) -> None:
    segments = len(table.segments)
    positions: dict[int, ScanSegmentPosition] = {}
    found: list[int] = []
    while not (len(positions) == segments and all(one.finished for one in positions.values())):
        responses = await scanned(table, segments=segments, positions=positions.values(), item_limit=limit)
        count = len(all_numbers([one.page for one in responses]))
        assert limit is None or count <= limit
        kept = responses[: data.draw(st.integers(1, len(responses)))]
        found += all_numbers([one.page for one in kept])
        for one in kept:
            end = one.page.last_evaluated_key.attributes
            positions[one.segment] = ScanSegmentPosition(
                segment=one.segment, exclusive_start_key=dict(end), finished=not end
            )
        finished = len(positions) == segments and all(one.finished for one in positions.values())
        assert finished or kept != responses or count == limit
    assert sorted(found) == passing(table, segments)
