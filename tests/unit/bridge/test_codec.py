from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.bridge.messages import NUMBERS, all_messages, is_map, is_required, is_transparent, pairs

from awsidecar.dynamodb.v1 import (
    attribute_value_pb2,
    backups_pb2,
    batch_pb2,
    items_pb2,
    query_pb2,
    transactions_pb2,
)
from awsidecar_server.bridge import codec_of
from awsidecar_server.errors import FieldViolation, InvalidRequest

MESSAGES = all_messages()
# A transparent wrapper is never converted alone: it stands for the value inside it.
WHOLE = {name: found for name, found in MESSAGES.items() if not is_transparent(found)}
GET = codec_of(items_pb2.GetItemRequest.DESCRIPTOR)
PUT = codec_of(items_pb2.PutItemRequest.DESCRIPTOR)
GET_REPLY = codec_of(items_pb2.GetItemResponse.DESCRIPTOR)
VALUE = codec_of(attribute_value_pb2.AttributeValue.DESCRIPTOR)
RESTORE = codec_of(backups_pb2.RestoreTableToPointInTimeRequest.DESCRIPTOR)


def optional_scalars(descriptor: Descriptor) -> list[FieldDescriptor]:
    return [field for field in descriptor.fields if field.has_presence and field.message_type is None]


def refusal(request: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        codec_of(request.DESCRIPTOR).decode(request)
    return refused.value


def test_every_operation_is_here() -> None:
    assert len(WHOLE) > 250
    assert {"GetItemRequest", "TransactWriteItemsRequest", "GetRecordsResponse"} <= {
        name.rpartition(".")[2] for name in WHOLE
    }


@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=8)
@given(data=st.data())
def test_message_and_aws_value_turn_into_each_other_exactly(name: str, data: st.DataObject) -> None:
    message, members = data.draw(pairs(WHOLE[name]))
    codec = codec_of(WHOLE[name])
    assert codec.decode(message) == members
    assert codec.encode(members) == message
    assert codec.decode(codec.encode(members)) == members
    assert codec.encode(codec.decode(message)) == message


@settings(max_examples=200)
@given(pairs(attribute_value_pb2.AttributeValue.DESCRIPTOR, depth=9))
def test_attribute_value_survives_the_wire_and_the_bridge(pair: tuple[Any, Any]) -> None:
    message, members = pair
    arrived = attribute_value_pb2.AttributeValue.FromString(message.SerializeToString())
    assert VALUE.decode(arrived) == members
    assert VALUE.encode(members) == message


@pytest.mark.parametrize("name", WHOLE)
def test_zero_that_was_set_is_not_absence(name: str) -> None:
    descriptor, codec = WHOLE[name], codec_of(WHOLE[name])
    for field in optional_scalars(descriptor):
        zero = field.default_value
        message: Any = GetMessageClass(descriptor)()
        assert not message.HasField(field.name)
        setattr(message, field.name, zero)
        encoded: Any = codec.encode({field.json_name: zero})
        assert encoded.HasField(field.name)
        assert encoded == message
        if not any(is_required(other) and other is not field for other in descriptor.fields):
            decoded = codec.decode(message)
            assert decoded == {field.json_name: zero}
            assert type(decoded[field.json_name]) is type(zero)


@pytest.mark.parametrize("name", WHOLE)
def test_empty_list_or_map_equals_absence_unless_it_is_in_a_wrapper(name: str) -> None:
    for field in WHOLE[name].fields:
        if not (field.is_repeated or is_map(field)):
            continue
        empty: Any = {} if is_map(field) else []
        assert codec_of(WHOLE[name]).encode({field.json_name: empty}) == GetMessageClass(WHOLE[name])()


@pytest.mark.parametrize(
    "empty", [{"L": []}, {"M": {}}, {"SS": []}, {"S": ""}, {"B": b""}, {"BOOL": False}, {"N": ""}]
)
def test_empty_attribute_value_keeps_its_type(empty: dict[str, Any]) -> None:
    message: Any = VALUE.encode(empty)
    assert message.WhichOneof("value") == next(iter(empty)).lower()
    assert VALUE.decode(message) == empty


@pytest.mark.parametrize("number", NUMBERS)
def test_number_stays_the_text_that_it_was(number: str) -> None:
    for value in ({"N": number}, {"NS": [number]}, {"L": [{"M": {"n": {"N": number}}}]}):
        assert VALUE.decode(VALUE.encode(value)) == value


def test_binary_stays_bytes() -> None:
    every_byte = bytes(range(256))
    assert VALUE.decode(VALUE.encode({"B": every_byte})) == {"B": every_byte}
    assert VALUE.decode(VALUE.encode({"BS": [b"", every_byte]})) == {"BS": [b"", every_byte]}
    assert isinstance(VALUE.decode(VALUE.encode({"B": every_byte}))["B"], bytes)


def test_item_that_is_not_there_differs_from_one_with_nothing_projected() -> None:
    missing: Any = GET_REPLY.encode({})
    bare: Any = GET_REPLY.encode({"Item": {}})
    assert not missing.HasField("item")
    assert bare.HasField("item")
    assert len(bare.item.attributes) == 0
    assert GET_REPLY.decode(missing) == {}
    assert GET_REPLY.decode(bare) == {"Item": {}}
    assert GET_REPLY.message_class.FromString(bare.SerializeToString()) == bare


def test_page_of_items_with_nothing_projected_keeps_their_number() -> None:
    codec = codec_of(query_pb2.QueryResponse.DESCRIPTOR)
    members = {"Items": [{}, {"id": {"S": "1"}}, {}], "Count": 3}
    assert codec.decode(codec.encode(members)) == members


def test_member_that_the_contract_does_not_know_is_left_out() -> None:
    members = {"TableName": "t", "Key": {"id": {"S": "1"}}, "BornTomorrow": {"A": 1}}
    assert GET.decode(GET.encode(members)) == {"TableName": "t", "Key": {"id": {"S": "1"}}}


def test_member_that_aws_gives_as_null_is_absent() -> None:
    assert GET_REPLY.encode({"Item": None, "ConsumedCapacity": None}) == items_pb2.GetItemResponse()


def test_required_member_that_is_missing_is_named() -> None:
    refused = refusal(items_pb2.GetItemRequest(table_name="films"))
    assert refused.message == "Key: is required"
    assert refused.violations == (FieldViolation("Key", "is required"),)
    assert refused.metadata == {"field": "Key"}
    assert refused.reason == "INVALID_REQUEST"


@pytest.mark.parametrize("name", [name for name, found in WHOLE.items() if any(map(is_required, found.fields))])
@settings(max_examples=3)
@given(data=st.data())
def test_each_required_member_is_demanded(name: str, data: st.DataObject) -> None:
    complete, _ = data.draw(pairs(WHOLE[name]))
    for field in filter(is_required, WHOLE[name].fields):
        lacking: Any = type(complete)()
        lacking.CopyFrom(complete)
        lacking.ClearField(field.name)
        assert refusal(lacking).message == f"{field.json_name}: is required"


def test_required_text_may_be_empty_for_aws_to_judge() -> None:
    request = items_pb2.GetItemRequest(table_name="")
    request.key["id"].s = ""
    assert GET.decode(request) == {"TableName": "", "Key": {"id": {"S": ""}}}


def test_required_member_deep_inside_is_named_by_its_path() -> None:
    request = transactions_pb2.TransactWriteItemsRequest()
    request.transact_items.add().put.table_name = "films"
    request.transact_items[0].put.item["id"].s = "1"
    request.transact_items.add().update.table_name = "films"
    assert refusal(request).metadata == {"field": "TransactItems[1].Update.Key"}


def test_value_without_a_type_is_named_by_its_path() -> None:
    request = items_pb2.PutItemRequest(table_name="films")
    request.item["a"].l.values.add().s = "fine"
    request.item["a"].l.values.add()
    refused = refusal(request)
    assert [one.field for one in refused.violations] == ["Item.a.L[1]"]
    assert refused.message.startswith("Item.a.L[1]: has no value; set exactly one of S, N, B,")


def test_path_goes_through_maps_lists_and_wrappers() -> None:
    request = batch_pb2.BatchWriteItemRequest()
    puts = request.request_items["films"]
    getattr(puts, puts.DESCRIPTOR.fields[0].name).add().put_request.item["a"].m.entries["b"].l.values.add()
    assert refusal(request).metadata == {"field": "RequestItems.films[0].PutRequest.Item.a.M.b.L[0]"}


TIMES = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))]))


@given(TIMES.filter(lambda moment: 2 <= moment.year <= 9998))
def test_time_is_exact_to_the_microsecond(moment: datetime) -> None:
    members = {"TargetTableName": "copy", "RestoreDateTime": moment}
    decoded = RESTORE.decode(RESTORE.encode(members))["RestoreDateTime"]
    assert decoded == moment
    assert decoded.tzinfo is UTC


@pytest.mark.parametrize("moment", [datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_first_and_last_moment_pass(moment: datetime) -> None:
    assert (
        RESTORE.decode(RESTORE.encode({"TargetTableName": "t", "RestoreDateTime": moment}))["RestoreDateTime"]
        == moment
    )


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [
        (253_402_300_800, 0),
        (-62_135_596_801, 0),
        (2**63 - 1, 0),
        (-(2**63), 0),
        (0, -1),
        (0, 1_000_000_000),
        (0, 2**31 - 1),
        (253_402_300_799, 1_999_999_999),
    ],
)
def test_time_out_of_range_is_the_callers_error(seconds: int, nanos: int) -> None:
    request = backups_pb2.RestoreTableToPointInTimeRequest(target_table_name="copy")
    request.restore_date_time.seconds, request.restore_date_time.nanos = seconds, nanos
    refused = refusal(request)
    assert refused.metadata == {"field": "RestoreDateTime"}
    assert "between the years 1 and 9999" in refused.message


def test_codec_is_compiled_once_and_says_whose_it_is() -> None:
    assert codec_of(items_pb2.GetItemRequest.DESCRIPTOR) is GET
    assert repr(GET) == "<Codec awsidecar.dynamodb.v1.GetItemRequest>"
