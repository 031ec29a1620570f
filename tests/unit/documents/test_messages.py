from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from tests.unit.documents.documents import attribute, item, struct

from awsidecar.documents.v1 import documents_pb2, pages_pb2
from awsidecar.dynamodb.v1 import items_pb2, query_pb2
from awsidecar.dynamodb.v1.attribute_value_pb2 import Key
from awsidecar_server.contract import DOCUMENT_SERVICE, Rpc, aws_rpcs, rpcs
from awsidecar_server.documents.messages import Replies, Requests, allows_large_as_text
from awsidecar_server.errors import InvalidRequest, NumberNotExact

LARGE = "12345678901234567890"
GET = documents_pb2.GetRequest
# What DocumentService leaves to DynamoDbService: the members that AWS calls legacy, and estimates that few tables have.
NOT_PLAIN = {
    "AttributesToGet",
    "AttributeUpdates",
    "ConditionalOperator",
    "Expected",
    "ItemCollectionMetrics",
    "KeyConditions",
    "QueryFilter",
    "ReturnItemCollectionMetrics",
    "ScanFilter",
}
# What AWS does not have.
OWN = {"LargeNumbers", "ItemLimit"}
AWS = {rpc.aws_operation: rpc for rpc in aws_rpcs()}


# Batches of any size are not AWS's, and have a shape of their own.
MIRRORED = [rpc for rpc in rpcs(DOCUMENT_SERVICE) if not rpc.takes_stream]


@pytest.mark.parametrize("rpc", MIRRORED, ids=lambda rpc: rpc.method)
def test_messages_have_the_members_of_their_operation_under_its_names(rpc: Rpc) -> None:
    aws = AWS.get(rpc.method) or AWS[f"{rpc.method}Item"]
    for plain, theirs in ((rpc.request, aws.request), (rpc.response, aws.response)):
        members = {field.json_name: field.name for field in plain.fields if field.json_name not in OWN}
        assert members == {f.json_name: f.name for f in theirs.fields if f.json_name not in NOT_PLAIN}


def test_request_becomes_that_of_the_operation() -> None:
    query = pages_pb2.QueryRequest(
        table_name="users",
        key_condition_expression="id = :id",
        expression_attribute_names={"#s": "$ref"},
        expression_attribute_values=struct({":id": "1", ":n": 5}),
        scan_index_forward=False,
        limit=3,
        exclusive_start_key=struct({"id": "0"}),
        large_numbers="STRING",
    )
    assert Requests(query.DESCRIPTOR, query_pb2.QueryRequest.DESCRIPTOR).of(query) == query_pb2.QueryRequest(
        table_name="users",
        key_condition_expression="id = :id",
        expression_attribute_names={"#s": "$ref"},
        expression_attribute_values={":id": attribute({"S": "1"}), ":n": attribute({"N": "5"})},
        scan_index_forward=False,
        limit=3,
        exclusive_start_key={"id": attribute({"S": "0"})},
    )


def test_fault_in_a_request_names_the_member_and_the_path_in_it() -> None:
    requests = Requests(documents_pb2.PutRequest.DESCRIPTOR, items_pb2.PutItemRequest.DESCRIPTOR)
    with pytest.raises(InvalidRequest) as refused:
        requests.of(documents_pb2.PutRequest(item=struct({"tags": [1, 2, {"price": 1e300}]})))
    assert refused.value.metadata == {"field": "Item.tags[2].price"}
    assert [one.field for one in refused.value.violations] == ["Item.tags[2].price"]


def get_replies() -> Replies:
    return Replies(documents_pb2.GetResponse.DESCRIPTOR, items_pb2.GetItemResponse.DESCRIPTOR)


def query_replies() -> Replies:
    return Replies(pages_pb2.QueryResponse.DESCRIPTOR, query_pb2.QueryResponse.DESCRIPTOR)


def test_answer_becomes_the_reply() -> None:
    answer = query_pb2.QueryResponse(
        items=[item({"id": {"S": "1"}}), item({})], count=2, scanned_count=3, last_evaluated_key=Key()
    )
    answer.consumed_capacity.capacity_units = 0.5
    reply: Any = query_replies().of(answer, large_as_text=False)
    expected = pages_pb2.QueryResponse(items=[struct({"id": "1"}), Struct()], count=2, scanned_count=3)
    expected.last_evaluated_key.SetInParent()
    expected.consumed_capacity.capacity_units = 0.5
    assert reply == expected


def test_item_without_attributes_differs_from_no_item() -> None:
    found: Any = get_replies().of(items_pb2.GetItemResponse(item=item({})), large_as_text=False)
    assert found.HasField("item")
    missing: Any = get_replies().of(items_pb2.GetItemResponse(), large_as_text=False)
    assert not missing.HasField("item")


def test_large_number_in_an_item_is_named_with_its_place() -> None:
    answer = query_pb2.QueryResponse(items=[item({}), item({"a": {"L": [{"N": LARGE}]}})])
    with pytest.raises(NumberNotExact) as refused:
        query_replies().of(answer, large_as_text=False)
    assert refused.value.metadata == {"field": "Items[1].a[0]"}
    reply: Any = query_replies().of(answer, large_as_text=True)
    assert reply.items[1] == struct({"a": [{"$N": LARGE}]})


def test_large_number_in_the_key_to_resume_at_is_text_in_any_case() -> None:
    answer = query_pb2.QueryResponse()
    answer.last_evaluated_key.attributes["id"].n = LARGE
    reply: Any = query_replies().of(answer, large_as_text=False)
    assert reply.last_evaluated_key == struct({"id": {"$N": LARGE}})


@pytest.mark.parametrize(("said", "allowed"), [(None, False), ("ERROR", False), ("STRING", True)])
def test_large_numbers_are_errors_unless_the_caller_allows_text(said: str | None, *, allowed: bool) -> None:
    assert allows_large_as_text(GET(large_numbers=said)) is allowed


def test_writes_always_answer_with_text_for_a_large_number() -> None:
    """They are done by then, and an error would hide it."""
    assert allows_large_as_text(documents_pb2.UpdateRequest())


@pytest.mark.parametrize("said", ["", "string", "DOUBLE"])
def test_unknown_wish_for_large_numbers_is_refused_with_those_that_are_known(said: str) -> None:
    with pytest.raises(InvalidRequest, match="LargeNumbers: must be one of ERROR, STRING"):
        allows_large_as_text(GET(large_numbers=said))
