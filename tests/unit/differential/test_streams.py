"""The comparison of streams finds what a sidecar could do wrong: here the sidecar is a script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
from google.protobuf.message import Message
from tests.differential.batch_streams import GETS, WRITES, BatchStreams
from tests.differential.comparison import NO_SELECT, OWN_MEMBER, Comparison
from tests.differential.databases import Databases
from tests.differential.other_orders import OtherOrders
from tests.differential.page_streams import PageStreams
from tests.differential.paths import OF_SIDECAR, RPCS, Direct, Pages, Refusal, Streamed, ThroughSidecar, Ways
from tests.differential.requests import Request

from awsidecar.dynamodb.v1.batch_streams_pb2 import BatchGetStreamResponse, BatchWriteStreamResponse
from awsidecar.dynamodb.v1.page_streams_pb2 import ScanStreamResponse
from awsidecar_server.bridge import codec_of
from awsidecar_server.contract import Rpc

REFUSED = Refusal("ValidationException", "The parameter is wrong", 400)


def item(number: int) -> dict[str, Any]:
    return {"id": {"N": str(number)}}


def page(*numbers: int, is_last: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {
        "Items": [item(n) for n in numbers],
        "Count": len(numbers),
        "ScannedCount": len(numbers),
    }
    return found if is_last else {**found, "LastEvaluatedKey": item(numbers[-1])}


PAGES = [page(0, 1), page(2, 3), page(4, is_last=True)]


class FakeDynamoDb:
    """Five items in three pages, in each segment; or a refusal."""

    def __init__(self, refusal: Refusal | None = None) -> None:
        self.refusal = refusal

    def pages(self, request: Request) -> Pages:
        start = request.parameters.get("ExclusiveStartKey")
        if self.refusal is not None:
            return Pages([], self.refusal)
        return Pages(PAGES if start is None else [page(*range(int(start["id"]["N"]) + 1, 5), is_last=True)])

    def send(self, request: Request) -> Any:
        if self.refusal is not None:
            return self.refusal
        if request.operation == "BatchWriteItem":
            return {"UnprocessedItems": {}}
        ((table, asked),) = request.parameters["RequestItems"].items()
        (key,) = asked["Keys"]
        return {"Responses": {table: [key] if int(key["id"]["N"]) < 5 else []}}


class FakeSidecar:
    """Says what it was told to say."""

    def __init__(self, responses: Sequence[Message] = (), refusal: Refusal | None = None) -> None:
        self.told = Streamed(list(responses), refusal)

    def stream(self, rpc: Rpc, messages: Sequence[Message]) -> Streamed:
        return self.told


class FakeDatabases:
    """What is in the tables of both ways."""

    def __init__(self, direct: list[Any], sidecar: list[Any]) -> None:
        self._both = direct, sidecar

    def contents(self, table: Any) -> Any:
        return self._both


def ways(sidecar: FakeSidecar, refusal: Refusal | None = None) -> Ways:
    aws = cast(Direct, FakeDynamoDb(refusal))
    return Ways(aws, cast(ThroughSidecar, sidecar), aws)


def streamed(pages: Sequence[dict[str, Any]], segment: int = 0) -> list[Message]:
    scan = codec_of(RPCS["Scan"].response)
    return [ScanStreamResponse(page=cast(Any, scan.encode(one)), segment=segment) for one in pages]


def is_same_scan(
    sidecar: FakeSidecar, refusal: Refusal | None = None, rules: Comparison | None = None, **members: Any
) -> bool:
    both, comparison = ways(sidecar, refusal), rules or Comparison()
    compare = PageStreams(both, comparison, OtherOrders(both.direct, comparison)).compare
    return compare(Request("ScanStream", {"asked": {"TableName": "t"}, **members})).is_same


@pytest.mark.parametrize(
    ("pages", "is_same"),
    [
        (PAGES, True),
        (PAGES[:2], False),
        (PAGES[1:], False),
        ([PAGES[0], PAGES[2], PAGES[1]], False),
        ([PAGES[0], PAGES[0], *PAGES[1:]], False),
        ([page(0, 1, 2), page(3), PAGES[2]], False),
        ([page(1, 0), *PAGES[1:]], False),
        ([{**PAGES[0], "LastEvaluatedKey": item(0)}, *PAGES[1:]], False),
        ([*PAGES[:2], page(4)], False),
        ([], False),
    ],
)
def test_pages_of_a_stream_are_those_of_botocore_one_by_one(pages: list[Any], is_same: bool) -> None:
    assert is_same_scan(FakeSidecar(streamed(pages))) is is_same


@pytest.mark.parametrize(
    ("pages", "is_same"),
    [
        ([page(0, 1), page(2)], True),
        ([page(0), page(1, 2)], True),
        ([page(0, 1), page(2, 3)], False),
        ([page(0, 1)], False),
        ([page(0, 1), page(3)], False),
        ([page(0, 1), {**page(2), "LastEvaluatedKey": item(3)}], False),
        ([page(0, 1), page(2, is_last=True)], False),
    ],
)
def test_a_stream_with_a_limit_gives_as_many_and_ends_where_the_rest_follows(
    pages: list[Any], is_same: bool
) -> None:
    assert is_same_scan(FakeSidecar(streamed(pages)), item_limit=3) is is_same


def test_a_segment_goes_on_after_the_pages_that_it_leaves_out() -> None:
    rest = FakeSidecar([*streamed(PAGES[1:]), *streamed(PAGES, 2)])
    assert is_same_scan(rest, segments=3, resumed_after=[1, 3, 0])
    assert not is_same_scan(rest, segments=3, resumed_after=[0, 3, 0])
    assert not is_same_scan(rest, segments=3, resumed_after=[1, 0, 0])
    assert not is_same_scan(FakeSidecar([*streamed(PAGES[1:]), *streamed(PAGES, 7)]), segments=2)


def test_a_stream_is_refused_in_aws_words_after_the_pages_that_aws_gave() -> None:
    assert is_same_scan(FakeSidecar(refusal=REFUSED), REFUSED)
    assert not is_same_scan(FakeSidecar(refusal=Refusal("ValidationException", "Other words", 400)), REFUSED)
    assert not is_same_scan(FakeSidecar(streamed(PAGES[:1]), REFUSED), REFUSED)
    assert not is_same_scan(FakeSidecar(streamed(PAGES)), REFUSED)
    assert not is_same_scan(FakeSidecar(streamed(PAGES), REFUSED))


def test_what_the_sidecar_refuses_itself_is_named_and_counted() -> None:
    own = Refusal("INVALID_REQUEST", "item_limit: must be at least 1, and is 0", 0, refused_by=OF_SIDECAR)
    comparison = Comparison()
    assert is_same_scan(FakeSidecar(refusal=own), rules=comparison, item_limit=0)
    assert comparison.rules_used[OWN_MEMBER] == 1
    assert not is_same_scan(FakeSidecar(refusal=own), item_limit=1)
    assert not is_same_scan(FakeSidecar(refusal=own), segments=0)
    assert not is_same_scan(FakeSidecar(streamed(PAGES)), item_limit=0)
    both = ways(
        FakeSidecar(refusal=Refusal("INVALID_REQUEST", "statement.Statement: is", 0, refused_by=OF_SIDECAR))
    )
    compare = PageStreams(both, comparison, OtherOrders(both.direct, comparison)).compare
    assert compare(Request("ExecuteStatementStream", {"asked": {"Statement": "DELETE FROM t"}})).is_same
    assert comparison.rules_used[NO_SELECT] == 1
    assert not compare(Request("ExecuteStatementStream", {"asked": {"Statement": "SELECT * FROM t"}})).is_same


def batch(operation: str, sidecar: FakeSidecar, *, in_order: bool = True, contents: Any = ([], [])) -> bool:
    both, comparison = ways(sidecar), Comparison()
    databases = cast(Databases, FakeDatabases(*contents))
    streams = BatchStreams(both, comparison, OtherOrders(both.direct, comparison), databases)
    numbers = (1, 9)
    elements: list[Any] = [("t", item(number)) for number in numbers]
    if operation == WRITES:
        elements = [("t", {"PutRequest": {"Item": item(number)}}) for number in numbers]
    compare: Callable[[Request], Any] = streams.writes if operation == WRITES else streams.gets
    request = Request(operation, {"elements": elements, "tables": {}, "in_order": in_order, "messages": 2})
    return bool(compare(request).is_same)


def written(*indexes: int) -> FakeSidecar:
    response = BatchWriteStreamResponse()
    for index in indexes:
        response.outcomes.add(index=index).done.SetInParent()
    return FakeSidecar([response])


def test_each_write_is_told_of_once_and_in_order_where_that_was_asked() -> None:
    assert batch(WRITES, written(0, 1))
    assert batch(WRITES, written(1, 0), in_order=False)
    assert not batch(WRITES, written(1, 0))
    assert not batch(WRITES, written(0))
    assert not batch(WRITES, written(0, 1, 1))
    assert not batch(WRITES, FakeSidecar(refusal=REFUSED))


def test_tables_that_differ_after_writes_are_a_difference() -> None:
    assert batch(WRITES, written(0, 1), contents=([item(1)], [item(1)]))
    assert not batch(WRITES, written(0, 1), contents=([item(1)], [item(1), item(9)]))


def test_what_is_read_is_the_item_of_its_key() -> None:
    response = BatchGetStreamResponse()
    response.outcomes.add(index=0).item.attributes["id"].n = "1"
    response.outcomes.add(index=1).not_found.SetInParent()
    assert batch(GETS, FakeSidecar([response]))
    response.outcomes[0].item.attributes["id"].n = "2"
    assert not batch(GETS, FakeSidecar([response]))
    response.outcomes[0].not_found.SetInParent()
    assert not batch(GETS, FakeSidecar([response]))
