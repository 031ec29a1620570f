from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest
from google.protobuf.message import Message
from tests.unit.documents.documents import struct
from tests.unit.dynamodb.fakes import FakeTable, Row

from awsidecar.documents.v1.pages_pb2 import QueryRequest, ScanRequest
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue, Item
from awsidecar.dynamodb.v1.query_pb2 import ScanResponse
from awsidecar_server.contract import DOCUMENT_SERVICE, aws_rpcs, rpcs
from awsidecar_server.documents.pages import QUERY, SCAN, DocumentPages
from awsidecar_server.dynamodb.page_streams import PageStreams
from awsidecar_server.errors import AwsRejected, InvalidRequest, NumberNotExact
from awsidecar_server.identity.credentials import ServiceAccountCaller
from awsidecar_server.operations import Operations, Performed, Scope

SCOPE = Scope(ServiceAccountCaller(), "eu-central-1", 7.0)
LARGE = "12345678901234567890"


async def scoping() -> Scope:
    return SCOPE


def pages(operations: Operations, request: Message) -> Any:
    name = type(request).__name__.removesuffix("Request")
    (rpc,) = (one for one in rpcs(DOCUMENT_SERVICE) if one.method == name)
    (aws,) = (one for one in aws_rpcs() if one.method == name)
    stream = {"Query": QUERY, "Scan": SCAN}[name]
    return DocumentPages(rpc, aws, PageStreams(operations), stream).pages(request, scoping, request.ByteSize())


async def read(operations: Operations, request: Message) -> list[Any]:
    async with aclosing(pages(operations, request)) as found:
        return [page async for page in found]


def table(rows: int) -> FakeTable:
    """Of items that all pass the filter, three to a page."""
    return FakeTable([[Row(number) for number in range(rows)]], is_unsure=False)


def numbers(page: Any) -> list[float]:
    return [item["number"] for item in page.items]


class OneAnswer:
    """Answers every call with the same page."""

    def __init__(self, answer: Message) -> None:
        self._answer = answer

    @property
    def operations(self) -> Operations:
        return Operations(aws_rpcs(), lambda _: self)

    async def perform(self, message: Message, scope: Scope, size: int) -> Performed:
        return Performed(self._answer.SerializeToString(), "REQ", 1)


@pytest.mark.parametrize("request_", [QueryRequest(table_name="T"), ScanRequest(table_name="T")])
async def test_every_page_is_given_plain_with_where_it_ended(request_: Message) -> None:
    found = await read(table(8).operations, request_)
    assert [numbers(page) for page in found] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert [page.last_evaluated_key for page in found] == [struct({"row": 3}), struct({"row": 6}), struct({})]
    assert [page.HasField("last_evaluated_key") for page in found] == [True, True, False]


async def test_request_is_asked_in_the_types_of_dynamodb_as_the_caller_of_the_moment() -> None:
    rows = table(2)
    await read(
        rows.operations,
        QueryRequest(
            table_name="T",
            key_condition_expression="id = :id",
            expression_attribute_values=struct({":id": {"$N": LARGE}}),
            limit=2,
        ),
    )
    (asked,) = rows.requests
    assert asked.expression_attribute_values[":id"] == AttributeValue(n=LARGE)
    assert (asked.key_condition_expression, asked.limit) == ("id = :id", 2)
    assert rows.scopes == [SCOPE]


async def test_stream_goes_on_after_any_page() -> None:
    rows = table(8)
    first, *_ = await read(rows.operations, ScanRequest(table_name="T"))
    again = ScanRequest(table_name="T", exclusive_start_key=first.last_evaluated_key)
    assert [numbers(page) for page in await read(rows.operations, again)] == [[3, 4, 5], [6, 7]]


async def test_item_limit_bounds_all_pages_together_and_says_where_it_stopped() -> None:
    found = await read(table(8).operations, ScanRequest(table_name="T", item_limit=4))
    assert [numbers(page) for page in found] == [[0, 1, 2], [3]]
    assert found[-1].last_evaluated_key == struct({"row": 4})


@pytest.mark.parametrize("limit", [0, -1])
async def test_item_limit_below_one_is_refused_under_its_own_name(limit: int) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await read(table(8).operations, ScanRequest(table_name="T", item_limit=limit))
    assert refused.value.metadata == {"field": "ItemLimit"}


async def test_key_with_a_large_number_resumes_as_it_was() -> None:
    answer = ScanResponse()
    answer.last_evaluated_key.attributes["row"].n = LARGE
    async with aclosing(pages(OneAnswer(answer).operations, ScanRequest(table_name="T"))) as found:
        page = await anext(found)
    assert page.last_evaluated_key == struct({"row": {"$N": LARGE}})
    rows = table(8)
    await read(rows.operations, ScanRequest(table_name="T", exclusive_start_key=struct({"row": {"$N": "6"}})))
    assert rows.requests[0].exclusive_start_key["row"] == AttributeValue(n="6")


async def test_large_number_ends_the_stream_unless_its_text_is_allowed() -> None:
    answer = ScanResponse(items=[Item(), Item(attributes={"n": AttributeValue(n=LARGE)})])
    with pytest.raises(NumberNotExact) as refused:
        await read(OneAnswer(answer).operations, ScanRequest(table_name="T"))
    assert refused.value.metadata == {"field": "Items[1].n"}
    (page,) = await read(OneAnswer(answer).operations, ScanRequest(table_name="T", large_numbers="STRING"))
    assert page.items[1] == struct({"n": {"$N": LARGE}})


async def test_request_at_fault_is_not_sent() -> None:
    rows = table(3)
    for request in (
        ScanRequest(expression_attribute_values=struct({":n": float("nan")})),
        ScanRequest(large_numbers="maybe"),
    ):
        with pytest.raises(InvalidRequest):
            await read(rows.operations, request)
    assert rows.requests == []


async def test_pages_before_a_failure_are_given() -> None:
    rows = table(8)

    async def refuse_the_second(request: Any) -> None:
        if request.exclusive_start_key:
            raise AwsRejected("dynamodb", "Scan", "ThrottlingException", "slow down")

    rows.before = refuse_the_second
    async with aclosing(pages(rows.operations, ScanRequest(table_name="T"))) as found:
        assert numbers(await anext(found)) == [0, 1, 2]
        with pytest.raises(AwsRejected):
            await anext(found)


async def test_stream_that_is_left_reads_no_further_than_a_page_ahead() -> None:
    rows = table(30)
    async with aclosing(pages(rows.operations, ScanRequest(table_name="T"))) as found:
        await anext(found)
    assert len(rows.requests) <= 2
    assert rows.in_progress == 0
