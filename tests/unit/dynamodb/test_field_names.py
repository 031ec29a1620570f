from __future__ import annotations

import pytest

from awsidecar.dynamodb.v1.batch_pb2 import KeysAndAttributes
from awsidecar.dynamodb.v1.query_pb2 import QueryRequest
from awsidecar_server.dynamodb.field_names import Names, of_element, within

WRITE = Names("writes[3].table_name", "writes[3].put.Item")
READ = Names("gets[3].table_name", "gets[3].key")


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("TableName", "query.TableName"),
        ("ExpressionAttributeValues.:a.M.b", "query.ExpressionAttributeValues.:a.M.b"),
        ("ExclusiveStartKey.id", "positions[1].exclusive_start_key.id"),
        ("id", "id"),
        ("TableNames", "TableNames"),
    ],
)
def test_members_are_where_the_caller_has_them(path: str, named: str) -> None:
    naming = within("query", QueryRequest.DESCRIPTOR, {"ExclusiveStartKey": "positions[1].exclusive_start_key"})
    assert naming(path) == named


@pytest.mark.parametrize("table", ["T", "a.b-c_d", "arn:aws:dynamodb:eu-central-1:123456789012:table/T"])
@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("RequestItems.{}[0].PutRequest.Item.Item.L[1]", "writes[3].put.Item.Item.L[1]"),
        ("RequestItems.{}[0].PutRequest.Item", "writes[3].put.Item"),
        ("RequestItems.{}.1.putRequest.item.id", "writes[3].put.Item.id"),
        ("RequestItems", "writes[3].table_name"),
        ("Item", "writes[3].put.Item"),
        ("id", "writes[3].put.Item.id"),
        ("RequestItems.other", "RequestItems.other"),
    ],
)
def test_element_of_a_batch_is_where_the_caller_has_it(table: str, path: str, named: str) -> None:
    assert of_element(WRITE, table, "")(path.format(table)) == named


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("RequestItems.T.Keys[0].Key", "gets[3].key.Key"),
        ("RequestItems.T.keys.1", "gets[3].key"),
        ("RequestItems.T.ConsistentRead", "options.tables.T.ConsistentRead"),
        ("ProjectionExpression", "options.tables.T.ProjectionExpression"),
        ("Key", "gets[3].key"),
    ],
)
def test_what_all_reads_of_a_table_share_is_in_the_options(path: str, named: str) -> None:
    assert of_element(READ, "T", "options.tables", KeysAndAttributes.DESCRIPTOR)(path) == named
