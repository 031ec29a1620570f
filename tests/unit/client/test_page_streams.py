from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

import awsidecar
from awsidecar import SegmentPosition, aio, errors, page_streams
from awsidecar.dynamodb.v1 import page_streams_pb2 as pb
from awsidecar.page_streams import AioPageStream, PageStream

from .fake_sidecar import FakeSidecar, Refused, details_of

AWAY = Refused(grpc.StatusCode.UNAVAILABLE, "Socket closed")
DRAINING = Refused(grpc.StatusCode.UNAVAILABLE, "bye", details_of("DRAINING", "awsidecar"))
AWS_AWAY = Refused(grpc.StatusCode.UNAVAILABLE, "no answer", details_of("AWS_UNREACHABLE", "awsidecar"))
LATE = Refused(grpc.StatusCode.DEADLINE_EXCEEDED, "late")
SESSION_ENDED = Refused(grpc.StatusCode.UNAUTHENTICATED, "over", details_of("SESSION_EXPIRED", "awsidecar"))


def query_page(*numbers: int, end: int | None = None) -> pb.QueryStreamResponse:
    response = pb.QueryStreamResponse()
    fill(response.page, numbers, end)
    return response


def scan_page(segment: int, *numbers: int, end: int | None = None) -> pb.ScanStreamResponse:
    response = pb.ScanStreamResponse(segment=segment)
    fill(response.page, numbers, end)
    return response


def fill(page: Any, numbers: tuple[int, ...], end: int | None) -> None:
    page.count = len(numbers)
    for number in numbers:
        page.items.add().attributes["id"].n = str(number)
    if end is not None:
        page.last_evaluated_key.attributes["id"].n = str(end)


def statement_page(*numbers: int, token: str = "") -> pb.ExecuteStatementStreamResponse:
    response = pb.ExecuteStatementStreamResponse()
    for number in numbers:
        response.page.items.add().attributes["id"].n = str(number)
    if token:
        response.page.next_token = token
    return response


class Both:
    """The stream of either client, read to its end or its failure, with pauses that are only written down."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.given: list[Any] = []
        self.pauses: list[float] = []

    def read(self, items: bool = False) -> list[Any]:
        if isinstance(self.stream, AioPageStream):
            asyncio.run(self._read(items))
        else:
            self.stream._pause = self.pauses.append
            self.given.extend(self.stream.items() if items else self.stream)
        return self.given

    async def _read(self, items: bool) -> None:
        async def pause(seconds: float) -> None:
            self.pauses.append(seconds)

        self.stream._pause = pause
        async for one in self.stream.items() if items else self.stream:
            self.given.append(one)


Open = Callable[[Callable[[Any], Any]], Both]


@pytest.fixture(params=["threads", "asyncio"])
def opened(request: pytest.FixtureRequest, sidecar: FakeSidecar) -> Any:
    """Opens a stream with the client for threads, and with the one for asyncio."""
    if request.param == "threads":
        with awsidecar.connect(sidecar.target) as client:
            yield lambda open_: Both(open_(client.dynamodb))
        return

    class Late(AioPageStream[Any]):
        """Connects when it is read, which is where the event loop is."""

        def __init__(self, open_: Callable[[Any], Any]) -> None:
            self._open = open_
            self._made: Any = None

        @property
        def positions(self) -> list[SegmentPosition]:
            return list(self._made.positions)

        async def _given(self, items: bool) -> Any:
            async with aio.connect(sidecar.target) as client:
                if self._made is None:
                    self._made = self._open(client.dynamodb)
                self._made._calls = client.dynamodb._calls
                self._made._pause = self._pause
                async for one in self._made.items() if items else self._made:
                    yield one

        def __aiter__(self) -> Any:
            return self._given(False)

        def items(self) -> Any:
            return self._given(True)

    yield lambda open_: Both(Late(open_))


def starts(sidecar: FakeSidecar) -> list[int | None]:
    """Where each request for a query started."""
    keys = [one.message.query.exclusive_start_key for one in sidecar.received]
    return [int(key["id"].n) if "id" in key else None for key in keys]


def test_query_stream_gives_pages_as_the_operation_does(sidecar: FakeSidecar, opened: Open) -> None:
    sidecar.answer("QueryStream", [query_page(1, 2, end=2), query_page(3)])
    pages = opened(lambda dynamodb: dynamodb.query_stream(TableName="t", limit_items=7, timeout=9)).read()
    assert [page["Items"] for page in pages] == [[{"id": 1}, {"id": 2}], [{"id": 3}]]
    assert [page.get("LastEvaluatedKey") for page in pages] == [{"id": 2}, None]
    (request,) = sidecar.received
    assert (request.message.query.table_name, request.message.item_limit) == ("t", 7)
    assert 8 < (request.seconds_left or 0) < 9.5


def test_items_come_one_by_one(sidecar: FakeSidecar, opened: Open) -> None:
    sidecar.answer("ExecuteStatementStream", [statement_page(1, token="a"), statement_page(), statement_page(2, 3)])
    stream = opened(lambda dynamodb: dynamodb.execute_statement_stream(Statement="SELECT * FROM t"))
    assert stream.read(items=True) == [{"id": 1}, {"id": 2}, {"id": 3}]


@pytest.mark.parametrize("refused", [AWAY, DRAINING])
@pytest.mark.parametrize("items", [False, True])
def test_query_goes_on_after_its_newest_page_when_the_sidecar_goes_away(
    sidecar: FakeSidecar, opened: Open, refused: Refused, items: bool
) -> None:
    sidecar.answer("QueryStream", [query_page(1, 2, end=2), query_page(3, end=3), refused], [query_page(4)])
    stream = opened(lambda dynamodb: dynamodb.query_stream(TableName="t", limit_items=9))
    stream.read(items)
    assert len(stream.given) == (4 if items else 3)
    assert starts(sidecar) == [None, 3]
    assert [one.message.item_limit for one in sidecar.received] == [9, 6]
    assert len(stream.pauses) == 1


def test_statement_goes_on_by_its_token(sidecar: FakeSidecar, opened: Open) -> None:
    sidecar.answer("ExecuteStatementStream", [statement_page(1, token="a"), AWAY], [statement_page(2)])
    opened(lambda dynamodb: dynamodb.execute_statement_stream(Statement="SELECT * FROM t", limit_items=5)).read()
    assert [one.message.statement.next_token for one in sidecar.received] == ["", "a"]
    assert [one.message.item_limit for one in sidecar.received] == [5, 4]


def test_scan_goes_on_with_the_position_of_each_segment(sidecar: FakeSidecar, opened: Open) -> None:
    first: list[Message | Refused] = [scan_page(0, 1, end=1), scan_page(2, 9), scan_page(0, 2, end=2), AWAY]
    sidecar.answer("ScanStream", first, [scan_page(0, 3), scan_page(1, 5, end=5), scan_page(1)])
    stream = opened(lambda dynamodb: dynamodb.scan_stream(TableName="t", segments=3))
    assert len(stream.read()) == 6
    positions = sidecar.received[1].message.positions
    assert [(one.segment, one.finished) for one in positions] == [(0, False), (2, True)]
    assert positions[0].exclusive_start_key["id"].n == "2"
    assert [one.message.segments for one in sidecar.received] == [3, 3]
    assert stream.stream.positions == [SegmentPosition(n, None) for n in (0, 2, 1)]


def test_scan_begins_at_the_positions_it_is_given(sidecar: FakeSidecar, opened: Open) -> None:
    given = [SegmentPosition(0, {"id": 7, "name": "x"}), SegmentPosition(1, None)]
    stream = opened(lambda dynamodb: dynamodb.scan_stream(TableName="t", segments=2, positions=given))
    stream.read()
    positions = sidecar.received[0].message.positions
    assert [(one.segment, one.finished) for one in positions] == [(0, False), (1, True)]
    assert {name: value.WhichOneof("value") for name, value in positions[0].exclusive_start_key.items()} == {
        "id": "n",
        "name": "s",
    }
    assert stream.stream.positions == given


def test_positions_hold_a_page_only_when_all_its_items_were_given(
    sidecar: FakeSidecar, client: awsidecar.Client
) -> None:
    sidecar.answer("ScanStream", [scan_page(0, 1, 2, end=2), scan_page(0, 3, 4)])
    stream = client.dynamodb.scan_stream(TableName="t", segments=1)
    items = stream.items()
    assert [next(items) for _ in range(2)] == [{"id": 1}, {"id": 2}]
    assert stream.positions == []
    assert next(items) == {"id": 3}
    assert stream.positions == [SegmentPosition(0, {"id": 2})]


def test_positions_hold_the_page_that_the_caller_has(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    sidecar.answer("ScanStream", [scan_page(0, 1, 2, end=2), scan_page(0, 3, 4)])
    stream = client.dynamodb.scan_stream(TableName="t", segments=1)
    for _ in stream:
        assert stream.positions == [SegmentPosition(0, {"id": 2})]
        break
    sidecar.answer("ScanStream", [scan_page(0, 3, 4)])
    assert [page["Items"] for page in stream] == [[{"id": 3}, {"id": 4}]]
    assert sidecar.received[1].message.positions[0].exclusive_start_key["id"].n == "2"


@pytest.mark.parametrize("limit", [None, 3])
def test_stream_that_has_given_everything_is_not_asked_for_again(
    sidecar: FakeSidecar, opened: Open, limit: int | None
) -> None:
    """Its end was lost on the way, and a request without a position would begin anew."""
    end = None if limit is None else 3
    sidecar.answer("QueryStream", [query_page(1, 2, 3, end=end), AWAY])
    stream = opened(lambda dynamodb: dynamodb.query_stream(TableName="t", limit_items=limit))
    assert len(stream.read()) == 1
    assert len(sidecar.received) == 1


def test_no_items_are_asked_for_when_none_are_wanted(sidecar: FakeSidecar, opened: Open) -> None:
    assert opened(lambda dynamodb: dynamodb.query_stream(TableName="t", limit_items=0)).read() == []
    assert sidecar.received == []


def test_limit_that_is_none_is_refused(client: awsidecar.Client) -> None:
    with pytest.raises(ValueError, match="limit_items must not be negative, and is -1"):
        client.dynamodb.query_stream(TableName="t", limit_items=-1)


def test_sidecar_that_stays_away_is_given_up(sidecar: FakeSidecar, opened: Open) -> None:
    sidecar.answer("QueryStream", [query_page(1, end=1), DRAINING], [DRAINING])
    stream = opened(lambda dynamodb: dynamodb.query_stream(TableName="t"))
    with pytest.raises(errors.Unavailable):
        stream.read()
    assert stream.pauses == list(page_streams._PAUSES_SECONDS)
    assert sum(stream.pauses) > 10


def test_pauses_begin_anew_with_each_page(sidecar: FakeSidecar, opened: Open) -> None:
    broken: list[list[Message | Refused]] = [[query_page(n, end=n), AWAY] for n in range(12)]
    sidecar.answer("QueryStream", *broken, [query_page(12)])
    stream = opened(lambda dynamodb: dynamodb.query_stream(TableName="t"))
    assert len(stream.read()) == 13
    assert set(stream.pauses) == {page_streams._PAUSES_SECONDS[0]}


@pytest.mark.parametrize("refused", [AWS_AWAY, SESSION_ENDED])
def test_other_failures_are_the_callers_who_goes_on_by_iterating_again(
    sidecar: FakeSidecar, opened: Open, refused: Refused
) -> None:
    sidecar.answer("QueryStream", [query_page(1, end=1), refused], [query_page(2)])
    stream = opened(lambda dynamodb: dynamodb.query_stream(TableName="t"))
    with pytest.raises(awsidecar.SidecarError):
        stream.read()
    assert stream.pauses == []
    assert len(stream.read()) == 2
    assert starts(sidecar) == [None, 1]


def test_time_limit_ends_only_a_stream_that_gives_no_page(sidecar: FakeSidecar, opened: Open) -> None:
    sidecar.answer("QueryStream", [query_page(1, end=1), LATE], [query_page(2, end=2), LATE], [LATE])
    stream = opened(lambda dynamodb: dynamodb.query_stream(TableName="t"))
    with pytest.raises(errors.DeadlineExceeded):
        stream.read()
    assert len(stream.given) == 2
    assert starts(sidecar) == [None, 1, 2]


def test_parameter_at_fault_is_named_before_anything_is_sent(client: awsidecar.Client) -> None:
    parameters: Any = {"TableName": "t", "Limt": 1}
    with pytest.raises(TypeError, match="Limt"):
        client.dynamodb.scan_stream(**parameters)
    with pytest.raises(TypeError, match=r"positions\.3\.id"):
        client.dynamodb.scan_stream(TableName="t", positions=[SegmentPosition(3, {"id": object()})])  # type: ignore[dict-item]


def test_leaving_the_iteration_ends_the_call(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    ended = threading.Event()

    class Endless(list[Any]):
        def __iter__(self) -> Any:
            try:
                for number in itertools.count():
                    yield query_page(number, end=number)
            finally:
                ended.set()

    sidecar.answer("QueryStream", Endless())
    for _ in client.dynamodb.query_stream(TableName="t"):
        break
    assert ended.wait(10)


def test_the_stream_of_one_client_is_that_of_the_other() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(PageStream) == public(AioPageStream)
    assert public(page_streams.PageStreams) == public(page_streams.AioPageStreams)
