from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from tests.unit.dynamodb.fake_dynamodb import SCOPE

from awsidecar.dynamodb.v1 import batch_pb2, items_pb2, partiql_pb2, query_pb2, transactions_pb2
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue, Item
from awsidecar.dynamodb.v1.capacity_pb2 import ConsumedCapacity
from awsidecar_server.contract import aws_rpcs
from awsidecar_server.dynamodb.capacity import CapacityMeter
from awsidecar_server.operations import Operation, Performed, Scope
from awsidecar_server.ops.telemetry import Telemetry

RPCS = {rpc.aws_operation: rpc for rpc in aws_rpcs()}


class Answering:
    """An operation with one answer: written already as the own lane's is, or a message as the SDK's is."""

    def __init__(self, answer: Message, *, written: bool) -> None:
        self._answer: Message | bytes = answer.SerializeToString() if written else answer

    async def perform(self, message: Message, scope: Scope, size: int) -> Performed:
        return Performed(self._answer, "REQ", 1)


class Harness:
    def __init__(self) -> None:
        self.telemetry = Telemetry()
        self.meter = CapacityMeter(self.telemetry)

    async def call(
        self, operation: str, answer: Message, *, asked: str | None = "TOTAL", written: bool = True
    ) -> None:
        rpc = RPCS[operation]
        metered = self.meter.metered(rpc, Answering(answer, written=written))
        request: Any = GetMessageClass(rpc.request)(return_consumed_capacity=asked)
        assert (await metered.perform(request, SCOPE, 0)).request_id == "REQ"

    @property
    def counted(self) -> dict[tuple[str, str, str], float]:
        (family,) = self.telemetry.consumed_capacity.collect()
        return {
            (sample.labels["table"], sample.labels["operation"], sample.labels["kind"]): sample.value
            for sample in family.samples
        }


def consumed(table: str = "users", units: float = 0.5, **members: float) -> ConsumedCapacity:
    return ConsumedCapacity(table_name=table, capacity_units=units, **members)  # type: ignore[arg-type]


@pytest.mark.parametrize("written", [True, False], ids=["own lane", "SDK"])
@pytest.mark.parametrize(
    ("operation", "answer", "expected"),
    [
        (
            "GetItem",
            items_pb2.GetItemResponse(consumed_capacity=consumed()),
            {("users", "GetItem", "read"): 0.5},
        ),
        (
            "PutItem",
            items_pb2.PutItemResponse(consumed_capacity=consumed(units=2)),
            {("users", "PutItem", "write"): 2.0},
        ),
        (
            "BatchWriteItem",
            batch_pb2.BatchWriteItemResponse(consumed_capacity=[consumed(units=3), consumed("orders", 4)]),
            {("users", "BatchWriteItem", "write"): 3.0, ("orders", "BatchWriteItem", "write"): 4.0},
        ),
        (
            "TransactWriteItems",
            transactions_pb2.TransactWriteItemsResponse(
                consumed_capacity=[consumed(units=6, write_capacity_units=4, read_capacity_units=2)]
            ),
            {("users", "TransactWriteItems", "write"): 4.0, ("users", "TransactWriteItems", "read"): 2.0},
        ),
        (
            "ExecuteStatement",
            partiql_pb2.ExecuteStatementResponse(consumed_capacity=consumed(units=7)),
            {("users", "ExecuteStatement", "total"): 7.0},
        ),
    ],
)
async def test_capacity_is_counted_by_table_operation_and_kind(
    operation: str, answer: Message, expected: dict[tuple[str, str, str], float], written: bool
) -> None:
    harness = Harness()
    await harness.call(operation, answer, written=written)
    assert harness.counted == expected


async def test_capacity_of_a_page_is_found_among_its_items_and_adds_up() -> None:
    # An item that has the words, too.
    item = Item(attributes={"ConsumedCapacity": AttributeValue(s="users"), "TableName": AttributeValue(n="1")})
    page = query_pb2.QueryResponse(items=[item] * 500, consumed_capacity=consumed(units=20.5))
    harness = Harness()
    for _ in range(2):
        await harness.call("Query", page)
    assert harness.counted == {("users", "Query", "read"): 41.0}


@pytest.mark.parametrize("asked", [None, ""])
async def test_answer_is_not_looked_at_unasked(asked: str | None) -> None:
    harness = Harness()
    await harness.call("GetItem", items_pb2.GetItemResponse(consumed_capacity=consumed()), asked=asked)
    assert harness.counted == {}


@pytest.mark.parametrize("written", [True, False])
async def test_answer_that_does_not_tell_counts_nothing(written: bool) -> None:
    harness = Harness()
    await harness.call("GetItem", items_pb2.GetItemResponse(), asked="NONE", written=written)
    assert harness.counted == {}


async def test_table_counts_under_its_name_also_where_the_call_had_its_arn() -> None:
    harness = Harness()
    arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/users"
    for table in ("users", arn, f"{arn}/index/by-mail"):
        await harness.call("GetItem", items_pb2.GetItemResponse(consumed_capacity=consumed(table)))
    assert harness.counted == {("users", "GetItem", "read"): 1.5}


async def test_tables_beyond_the_hundredth_count_as_one() -> None:
    harness = Harness()
    for number in (*range(102), 0, 101):
        await harness.call("GetItem", items_pb2.GetItemResponse(consumed_capacity=consumed(f"t{number}")))
    counted = harness.counted
    assert len(counted) == 101
    assert counted["other", "GetItem", "read"] == 1.5
    assert counted["t0", "GetItem", "read"] == 1.0


@pytest.mark.parametrize("name", ["DescribeTable", "SearchVectors"])
def test_operation_whose_answer_has_no_capacity_units_is_left_as_it_is(name: str) -> None:
    operation: Operation = Answering(Item(), written=True)
    assert Harness().meter.metered(RPCS[name], operation) is operation
