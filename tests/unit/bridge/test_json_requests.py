from __future__ import annotations

import json
import math
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.bridge.bodies import RPCS
from tests.unit.bridge.messages import pairs
from tests.unit.bridge.nests import lists, maps, mixed

from awsidecar.dynamodb.v1 import autoscaling_pb2, backups_pb2, batch_pb2, items_pb2, query_pb2, transactions_pb2
from awsidecar_server.bridge import codec_of, json_requests_of
from awsidecar_server.errors import InvalidRequest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RESTORE = backups_pb2.RestoreTableToPointInTimeRequest


def members_of(message: Any, **absent: Any) -> Any:
    """What AWS reads in the body, with fractions as exact as they are written."""
    return json.loads(json_requests_of(message.DESCRIPTOR).write(message, absent).body, parse_float=Decimal)


def in_json(value: Any) -> Any:
    """AWS's parameters, as its JSON protocol has them."""
    match value:
        case dict():
            return {name: in_json(held) for name, held in value.items()}
        case list():
            return [in_json(held) for held in value]
        case bytes():
            return b64encode(value).decode()
        case datetime():
            return Decimal((value - _EPOCH) // timedelta(microseconds=1)) / 1_000_000
        case float() if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        case float():
            return Decimal(repr(value))
    return value


def restored_at(moment: datetime) -> bytes:
    message = RESTORE(target_table_name="t")
    message.restore_date_time.FromDatetime(moment)
    return json_requests_of(RESTORE.DESCRIPTOR).write(message).body


@pytest.mark.parametrize("operation", RPCS)
@settings(max_examples=12)
@given(data=st.data())
def test_request_says_what_its_parameters_say(operation: str, data: st.DataObject) -> None:
    message, members = data.draw(pairs(RPCS[operation].request))
    assert members_of(message) == in_json(members)


def test_request_tells_its_members() -> None:
    request = json_requests_of(items_pb2.GetItemRequest.DESCRIPTOR).write(
        codec_of(items_pb2.GetItemRequest.DESCRIPTOR).encode(
            {"TableName": "orders", "Key": {"pk": {"S": "secret"}}}
        )
    )
    assert request.body == b'{"TableName":"orders","Key":{"pk":{"S":"secret"}}}'
    assert request.members["TableName"] == "orders"
    assert "secret" not in repr(request)


def test_member_that_the_caller_left_out_is_stood_in_for() -> None:
    request: Any = codec_of(transactions_pb2.TransactWriteItemsRequest.DESCRIPTOR).encode(
        {"TransactItems": [{"Delete": {"TableName": "t", "Key": {"pk": {"S": "x"}}}}]}
    )
    assert members_of(request, ClientRequestToken="ours")["ClientRequestToken"] == "ours"
    request.client_request_token = "theirs"
    assert members_of(request, ClientRequestToken="ours")["ClientRequestToken"] == "theirs"


@pytest.mark.parametrize(
    ("message", "path", "problem"),
    [
        (items_pb2.GetItemRequest(), "TableName", "is required"),
        (items_pb2.GetItemRequest(table_name="t"), "Key", "is required"),
        (
            codec_of(items_pb2.PutItemRequest.DESCRIPTOR).encode(
                {"TableName": "t", "Item": {"a": {"L": [{"S": "x"}, {}]}}}
            ),
            "Item.a.L[1]",
            "has no value; set exactly one of S, N, B, BOOL, NULL, L, M, SS, NS, BS",
        ),
        (
            RESTORE(target_table_name="t", restore_date_time=Timestamp(seconds=1 << 60)),
            "RestoreDateTime",
            "is not a time between the years 1 and 9999",
        ),
    ],
)
def test_fault_is_the_one_that_the_codec_names(message: Any, path: str, problem: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        json_requests_of(message.DESCRIPTOR).write(message)
    with pytest.raises(InvalidRequest) as expected:
        codec_of(message.DESCRIPTOR).decode(message)
    assert str(refused.value) == str(expected.value) == f"{path}: {problem}"
    assert refused.value.violations == expected.value.violations


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), b"0"),
        (datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), b"1700000000"),
        (datetime(2023, 11, 14, 22, 13, 20, 500_000, tzinfo=UTC), b"1700000000.5"),
        (datetime(2023, 11, 14, 22, 13, 20, 1, tzinfo=UTC), b"1700000000.000001"),
        (datetime(1969, 12, 31, 23, 59, 58, 500_000, tzinfo=UTC), b"-1.5"),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), b"-0.000001"),
        (datetime(1, 1, 1, tzinfo=UTC), b"-62135596800"),
        (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), b"253402300799.999999"),
    ],
)
def test_moment_is_a_number_exact_to_the_microsecond(moment: datetime, written: bytes) -> None:
    assert restored_at(moment) == b'{"TargetTableName":"t","RestoreDateTime":%b}' % written


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, b"0.0"),
        (-0.0, b"-0.0"),
        (-12.5, b"-12.5"),
        (math.nan, b'"NaN"'),
        (math.inf, b'"Infinity"'),
        (-math.inf, b'"-Infinity"'),
    ],
)
def test_double_is_a_number_or_a_word_of_aws(value: float, written: bytes) -> None:
    kind = autoscaling_pb2.AutoScalingTargetTrackingScalingPolicyConfigurationUpdate
    assert json_requests_of(kind.DESCRIPTOR).write(kind(target_value=value)).body == b'{"TargetValue":%b}' % written


def test_number_stays_text_and_binary_becomes_base64() -> None:
    item = {"n": {"N": "1E3"}, "b": {"B": b"\xfb\xff"}, "e": {"B": b""}}
    message = codec_of(items_pb2.PutItemRequest.DESCRIPTOR).encode({"TableName": "t", "Item": item})
    assert members_of(message)["Item"] == {"n": {"N": "1E3"}, "b": {"B": "+/8="}, "e": {"B": ""}}


def test_integer_stays_an_integer() -> None:
    body = json_requests_of(query_pb2.QueryRequest.DESCRIPTOR).write(
        query_pb2.QueryRequest(table_name="t", limit=2**31 - 1)
    )
    assert body.body == b'{"TableName":"t","Limit":2147483647}'


# DynamoDB's 32 levels, and as many as requests are read with.
@pytest.mark.parametrize(("nest", "levels"), [(lists, 32), (lists, 62), (maps, 32), (maps, 41), (mixed, 32)])
def test_values_nest_as_deep_as_dynamodb_lets_them_and_deeper(nest: Any, levels: int) -> None:
    members = {"RequestItems": {"t": [{"PutRequest": {"Item": {"a": nest(levels, {"S": "x"})}}}]}}
    assert members_of(codec_of(batch_pb2.BatchWriteItemRequest.DESCRIPTOR).encode(members)) == members
