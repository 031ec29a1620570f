from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from tests.unit.bridge.nests import maps

from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue, Item
from awsidecar.dynamodb.v1.partiql_pb2 import ExecuteStatementResponse
from awsidecar.dynamodb.v1.query_pb2 import QueryResponse, ScanResponse
from awsidecar_server.bridge import json_replies_of
from awsidecar_server.bridge.outlines import outline_of

ITEMS = [Item(attributes={"id": AttributeValue(n=str(number))}) for number in range(3)]


@pytest.mark.parametrize("response_class", [QueryResponse, ScanResponse])
def test_outline_says_all_of_a_page_but_what_its_items_are(response_class: Any) -> None:
    page = response_class(items=ITEMS, count=3, scanned_count=8)
    page.last_evaluated_key.attributes["id"].b = b"\xff"
    page.consumed_capacity.capacity_units = 2.5
    read = outline_of(page.DESCRIPTOR).FromString(page.SerializeToString())
    assert (read.count, read.scanned_count) == (3, 8)
    assert read.last_evaluated_key == page.last_evaluated_key
    assert read.consumed_capacity == page.consumed_capacity
    assert list(read.items) == [item.SerializeToString() for item in ITEMS]


def test_outline_knows_what_is_absent() -> None:
    read = outline_of(ExecuteStatementResponse.DESCRIPTOR).FromString(
        ExecuteStatementResponse(items=ITEMS).SerializeToString()
    )
    assert len(read.items) == 3
    assert not read.HasField("next_token")
    assert not read.HasField("last_evaluated_key")


def test_outline_is_made_once() -> None:
    assert outline_of(QueryResponse.DESCRIPTOR) is outline_of(QueryResponse.DESCRIPTOR)


def test_items_may_be_deeper_than_protobuf_reads_messages() -> None:
    deep: dict[str, Any] = {"Items": [{"deep": maps(40, {"S": "x"})}], "Count": 1}
    written = json_replies_of(QueryResponse.DESCRIPTOR).write(json.dumps(deep).encode())
    with pytest.raises(DecodeError):
        QueryResponse.FromString(written)
    assert outline_of(QueryResponse.DESCRIPTOR).FromString(written).count == 1
