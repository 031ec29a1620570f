from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.bridge import nests

from awsidecar.dynamodb.v1 import attribute_value_pb2, batch_pb2, items_pb2, streams_pb2, transactions_pb2
from awsidecar_server.bridge import codec_of
from awsidecar_server.bridge.depth import parse

# What DynamoDB takes ("Naming rules and data types").
DEEPEST = 32

Nest = Callable[[int, dict[str, Any]], dict[str, Any]]


def put(item: Any) -> tuple[Descriptor, Any]:
    return items_pb2.PutItemRequest.DESCRIPTOR, {"TableName": "t", "Item": item}


def transact_write(item: Any) -> tuple[Descriptor, Any]:
    members = {"TransactItems": [{"Put": {"TableName": "t", "Item": item}}]}
    return transactions_pb2.TransactWriteItemsRequest.DESCRIPTOR, members


def batch_write(item: Any) -> tuple[Descriptor, Any]:
    members = {"RequestItems": {"t": [{"PutRequest": {"Item": item}}]}}
    return batch_pb2.BatchWriteItemRequest.DESCRIPTOR, members


def batch_get_reply(item: Any) -> tuple[Descriptor, Any]:
    return batch_pb2.BatchGetItemResponse.DESCRIPTOR, {"Responses": {"t": [item]}}


def records_reply(item: Any) -> tuple[Descriptor, Any]:
    return streams_pb2.GetRecordsResponse.DESCRIPTOR, {"Records": [{"dynamodb": {"NewImage": item}}]}


@pytest.mark.parametrize(
    "leaf", [{"S": "x"}, {"NS": ["1"]}, {"M": {}}, {"L": []}], ids=lambda leaf: next(iter(leaf))
)
@pytest.mark.parametrize("nest", [nests.maps, nests.lists, nests.mixed])
@pytest.mark.parametrize("place", [put, transact_write, batch_write, batch_get_reply, records_reply])
def test_as_deep_as_dynamodb_nests_passes(place: Callable[[Any], Any], nest: Nest, leaf: dict[str, Any]) -> None:
    descriptor, members = place({"id": nest(DEEPEST, leaf)})
    codec = codec_of(descriptor)
    message = codec.encode(members)
    arrived = parse(codec.message_class, message.SerializeToString())
    assert arrived == message
    assert codec.decode(arrived) == members


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_are_refused(raw: bytes) -> None:
    try:
        expected = items_pb2.PutItemRequest.FromString(raw)
    except DecodeError:
        with pytest.raises(DecodeError):
            parse(items_pb2.PutItemRequest, raw)
    else:
        assert parse(items_pb2.PutItemRequest, raw) == expected


# The last are what protobuf itself takes at most, what would end a process of the usual stack, and more.
@pytest.mark.parametrize("levels", [100, 250, 5_000, 32_000, 40_000, 200_000])
def test_deeper_than_dynamodb_by_far_is_refused_and_harms_nothing(levels: int) -> None:
    raw = nested_lists(levels)
    with pytest.raises(DecodeError):
        parse(attribute_value_pb2.AttributeValue, raw)


def test_limit_of_the_runtime_is_back_after_a_deep_message() -> None:
    descriptor, members = batch_write({"id": nests.maps(DEEPEST, {"S": "x"})})
    codec = codec_of(descriptor)
    raw = codec.encode(members).SerializeToString()
    before = threading.stack_size()
    parse(codec.message_class, raw)
    with pytest.raises(DecodeError, match="MaxDepth"):
        codec.message_class.FromString(raw)
    assert threading.stack_size() == before


def nested_lists(levels: int) -> bytes:
    """An AttributeValue on the wire; written by hand, as no library would write one so deep."""
    heads: list[bytes] = []
    leaf = b"\x0a\x01x"
    size = len(leaf)
    for _ in range(levels):
        for tag in (b"\x0a", b"\x32"):  # AttributeValueList.values, AttributeValue.l
            heads.append(tag + varint(size))
            size += len(heads[-1])
    return b"".join(reversed(heads)) + leaf


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)
