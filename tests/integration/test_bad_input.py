"""Bad input, each with its canonical code, its reason, and the field at fault, whichever emulator refuses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from tests.integration.backends import Backend
from tests.integration.conftest import error_info, violated_fields

from awsidecar.dynamodb.v1 import attribute_value_pb2, batch_pb2, items_pb2, query_pb2

AV = attribute_value_pb2.AttributeValue
_SERVICE = "/awsidecar.dynamodb.v1.DynamoDbService/"
_KEY = {"userId": AV(s="user-123"), "kind": AV(s="profile")}


def _writes(count: int) -> batch_pb2.BatchWriteItemRequest:
    writes = [
        batch_pb2.WriteRequest(put_request=batch_pb2.PutRequest(item={"userId": AV(s=str(n)), "kind": AV(s="x")}))
        for n in range(count)
    ]
    return batch_pb2.BatchWriteItemRequest(request_items={"user-data": batch_pb2.WriteRequestList(requests=writes)})


def _put(table: str = "user-data", **attributes: attribute_value_pb2.AttributeValue) -> items_pb2.PutItemRequest:
    return items_pb2.PutItemRequest(table_name=table, item={**_KEY, **attributes})


# name: (method, request, code, reason, field; None where there is no field to blame)
_CASES: dict[str, tuple[str, Any, grpc.StatusCode, str, str | None]] = {
    "unknown table": (
        "GetItem",
        items_pb2.GetItemRequest(table_name="nobody", key={"id": AV(s="1")}),
        grpc.StatusCode.NOT_FOUND,
        "RESOURCE_NOT_FOUND_EXCEPTION",
        None,
    ),
    "missing table name": (
        "GetItem",
        items_pb2.GetItemRequest(key={"id": AV(s="1")}),
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        "TableName",
    ),
    "missing key": (
        "GetItem",
        items_pb2.GetItemRequest(table_name="users"),
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        "Key",
    ),
    "another table's key": (
        "GetItem",
        items_pb2.GetItemRequest(table_name="users", key={"name": AV(s="1")}),
        grpc.StatusCode.INVALID_ARGUMENT,
        "VALIDATION_EXCEPTION",
        "Key",
    ),
    "wrong key type": (
        "PutItem",
        items_pb2.PutItemRequest(table_name="users", item={"id": AV(n="1")}),
        grpc.StatusCode.INVALID_ARGUMENT,
        "VALIDATION_EXCEPTION",
        "id",
    ),
    "empty attribute value": (
        "PutItem",
        _put(tags=AV(l=attribute_value_pb2.AttributeValueList(values=[AV(s="a"), AV()]))),
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        "Item.tags.L[1]",
    ),
    "item of 401 KB": (
        "PutItem",
        _put(text=AV(s="x" * (401 * 1024))),
        grpc.StatusCode.INVALID_ARGUMENT,
        "VALIDATION_EXCEPTION",
        "Item",
    ),
    "26 writes in a batch": (
        "BatchWriteItem",
        _writes(26),
        grpc.StatusCode.INVALID_ARGUMENT,
        "VALIDATION_EXCEPTION",
        "RequestItems",
    ),
    "malformed expression": (
        "Query",
        query_pb2.QueryRequest(
            table_name="users",
            key_condition_expression="id = = :id",
            expression_attribute_values={":id": AV(s="1")},
        ),
        grpc.StatusCode.INVALID_ARGUMENT,
        "VALIDATION_EXCEPTION",
        "KeyConditionExpression",
    ),
    "malformed update expression": (
        "UpdateItem",
        items_pb2.UpdateItemRequest(table_name="user-data", key=_KEY, update_expression="MAKE a BE 1"),
        grpc.StatusCode.INVALID_ARGUMENT,
        "VALIDATION_EXCEPTION",
        "UpdateExpression",
    ),
    "malformed filter": (
        "Scan",
        query_pb2.ScanRequest(table_name="users", filter_expression="email = = id"),
        grpc.StatusCode.INVALID_ARGUMENT,
        "VALIDATION_EXCEPTION",
        "FilterExpression",
    ),
    "unknown placeholder": (
        "Query",
        query_pb2.QueryRequest(table_name="users", key_condition_expression="id = :id"),
        grpc.StatusCode.INVALID_ARGUMENT,
        "VALIDATION_EXCEPTION",
        "KeyConditionExpression",
    ),
    "message of 33 MiB": (
        "PutItem",
        _put(text=AV(s="x" * (33 << 20))),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "MESSAGE_TOO_LARGE",
        None,
    ),
}


# What DynamoDB Local says there in words of its own, which name no field.
_UNNAMED_BY_DYNAMODB_LOCAL = {"another table's key", "wrong key type"}


def _raw(channel: grpc.Channel, method: str) -> Callable[..., bytes]:
    return channel.unary_unary(_SERVICE + method)


@pytest.mark.parametrize("name", _CASES)
def test_is_refused_with_its_code_reason_and_field(name: str, channel: grpc.Channel, backend: Backend) -> None:
    method, message, code, reason, field = _CASES[name]
    if name in _UNNAMED_BY_DYNAMODB_LOCAL and backend.differs_in("names of key attributes"):
        field = None
    with pytest.raises(grpc.RpcError) as refused:
        _raw(channel, method)(message.SerializeToString(), timeout=20)
    failure: Any = refused.value
    assert failure.code() is code
    assert error_info(failure).reason == reason
    assert violated_fields(failure)[:1] == ([field] if field else [])


@pytest.mark.parametrize("junk", [b"\xff\xff\xff", b"\x0a\x05abc", b"{}", b"\x0b" * 50], ids=repr)
def test_bytes_that_are_no_protobuf_are_refused_by_name(junk: bytes, channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        _raw(channel, "GetItem")(junk, timeout=20)
    failure: Any = refused.value
    assert failure.code() is grpc.StatusCode.INVALID_ARGUMENT
    info = error_info(failure)
    assert info.reason == "MALFORMED_MESSAGE"
    assert info.metadata["message"] == "awsidecar.dynamodb.v1.GetItemRequest"


def test_metadata_over_the_limit_is_refused_and_the_server_goes_on(channel: grpc.Channel) -> None:
    request = items_pb2.GetItemRequest(table_name="users", key={"id": AV(s="user-123")}).SerializeToString()
    with pytest.raises(grpc.RpcError) as refused:
        _raw(channel, "GetItem")(request, metadata=(("authorization", "Bearer " + "x" * 200_000),), timeout=20)
    failure: Any = refused.value
    assert failure.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert _raw(channel, "GetItem")(request, timeout=20)


def test_an_unknown_method_is_unimplemented(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        _raw(channel, "DropEverything")(b"", timeout=20)
    failure: Any = refused.value
    assert failure.code() is grpc.StatusCode.UNIMPLEMENTED
