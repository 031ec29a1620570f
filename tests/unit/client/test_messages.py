"""Messages of the contract as dicts, both ways."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from awsidecar.dynamodb.v1 import exports_pb2, items_pb2, query_pb2, tables_pb2, transactions_pb2
from awsidecar.messages import converter, is_transparent, map_value_field
from awsidecar.operations import DYNAMODB, STREAMS
from awsidecar.values import Fault

MOMENT = datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC)
SCALARS: dict[int, object] = {
    FieldDescriptor.TYPE_STRING: "text",
    FieldDescriptor.TYPE_BOOL: False,
    FieldDescriptor.TYPE_DOUBLE: 0.5,
    FieldDescriptor.TYPE_INT32: 0,
    FieldDescriptor.TYPE_INT64: 2**40,
    FieldDescriptor.TYPE_BYTES: b"\x00\xff",
}
ATTRIBUTES = {"s": "", "n": Decimal("1.5"), "l": [None, True, {"m": {b"x"}}]}


def messages() -> list[Descriptor]:
    found: dict[str, Descriptor] = {}

    def collect(message: Descriptor) -> None:
        if message.full_name in found or message.file.package == "google.protobuf":
            return
        found[message.full_name] = message
        for field in message.fields:
            if field.message_type is not None:
                collect(field.message_type)

    for operation in (*DYNAMODB.values(), *STREAMS.values()):
        collect(operation.request)
        collect(operation.response)
    special = {"AttributeValue"}
    return [
        message
        for message in found.values()
        if message.name not in special and not message.GetOptions().map_entry and not is_transparent(message)
    ]


def sample(field: FieldDescriptor) -> Any:
    value_field = map_value_field(field)
    if value_field is not None:
        if value_field.message_type is not None and value_field.message_type.name == "AttributeValue":
            return ATTRIBUTES
        return {"one": element(value_field), "two": element(value_field)}
    return [element(field), element(field)] if field.is_repeated else element(field)


def element(field: FieldDescriptor) -> Any:
    message = field.message_type
    if message is None:
        return SCALARS[field.type]
    if message.name == "AttributeValue":
        return ATTRIBUTES
    if message.full_name == "google.protobuf.Timestamp":
        return MOMENT
    if is_transparent(message):
        return sample(message.fields[0])
    return {one.json_name: sample(one) for one in message.fields}


@pytest.mark.parametrize("message", messages(), ids=lambda message: message.name)
def test_every_message_of_the_contract_converts_both_ways(message: Descriptor) -> None:
    members = {field.json_name: sample(field) for field in message.fields}
    sent = GetMessageClass(message)()
    converter(message).fill(sent, members)
    received = GetMessageClass(message).FromString(sent.SerializeToString())
    assert converter(message).plain(received) == members


def test_an_absent_item_and_an_empty_one_differ() -> None:
    response = items_pb2.GetItemResponse()
    read = converter(response.DESCRIPTOR).plain
    assert read(response) == {}
    response.item.SetInParent()
    assert read(response) == {"Item": {}}


def test_false_and_zero_are_present() -> None:
    request = query_pb2.QueryRequest()
    converter(request.DESCRIPTOR).fill(request, {"ScanIndexForward": False, "Limit": 0})
    assert request.HasField("scan_index_forward")
    assert request.HasField("limit")


def test_times_of_any_zone_are_the_same_moment() -> None:
    request = exports_pb2.ExportTableToPointInTimeRequest()
    there = MOMENT.astimezone(timezone(timedelta(hours=5)))
    converter(request.DESCRIPTOR).fill(request, {"ExportTime": there})
    assert converter(request.DESCRIPTOR).plain(request) == {"ExportTime": MOMENT}


@pytest.mark.parametrize(
    ("message", "members", "kind", "problem"),
    [
        (
            items_pb2.GetItemRequest,
            {"Tablename": "x"},
            TypeError,
            "Tablename: there is no such member; did you mean TableName?",
        ),
        (
            items_pb2.GetItemRequest,
            {"TableName": None},
            TypeError,
            "TableName: the value must be a str, not NoneType",
        ),
        (items_pb2.GetItemRequest, {"Key": [1]}, TypeError, "Key: must be a mapping, not list"),
        (items_pb2.GetItemRequest, {"ConsistentRead": 1}, TypeError, "ConsistentRead: must be a bool, not int"),
        (
            items_pb2.GetItemRequest,
            {"AttributesToGet": "id"},
            TypeError,
            "AttributesToGet: must be a list or a tuple, not str",
        ),
        (
            items_pb2.PutItemRequest,
            {"Item": {"tags": ["a", "b", object()]}},
            TypeError,
            "Item.tags[2]: DynamoDB has no type for object",
        ),
        (items_pb2.PutItemRequest, {"Item": {"n": float("nan")}}, ValueError, "Item.n: DynamoDB has no NaN"),
        (query_pb2.QueryRequest, {"Limit": True}, TypeError, "Limit: must be an int, not bool"),
        (
            query_pb2.QueryRequest,
            {"Limit": 2**31},
            ValueError,
            "Limit: must lie between -2147483648 and 2147483647",
        ),
        (
            transactions_pb2.TransactWriteItemsRequest,
            {"TransactItems": [{}, {"Put": {"Item": {"a": {1: 2}}}}]},
            TypeError,
            "TransactItems[1].Put.Item.a: an attribute name must be a str, not int",
        ),
        (
            tables_pb2.CreateTableRequest,
            {"KeySchema": [{"AttributeName": "id", "Keytype": "HASH"}]},
            TypeError,
            "KeySchema[0].Keytype: there is no such member; did you mean KeyType?",
        ),
        (
            exports_pb2.ExportTableToPointInTimeRequest,
            {"ExportTime": datetime(2026, 1, 1)},  # noqa: DTZ001 - the missing zone is the point
            ValueError,
            "ExportTime: must be a datetime with a time zone, for example datetime.now(UTC)",
        ),
    ],
)
def test_a_bad_member_is_named_with_its_path(
    message: Any, members: dict[str, object], kind: type[Exception], problem: str
) -> None:
    with pytest.raises(Fault) as caught:
        converter(message.DESCRIPTOR).fill(message(), members)
    error = caught.value.error()
    assert type(error) is kind
    assert str(error) == problem
