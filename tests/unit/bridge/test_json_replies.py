from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.bridge.bodies import RPCS, as_an_sdk_reads_it, replies
from tests.unit.bridge.nests import lists, maps, mixed

from awsidecar.dynamodb.v1 import (
    attribute_value_pb2,
    backups_pb2,
    batch_pb2,
    items_pb2,
    query_pb2,
    tags_pb2,
)
from awsidecar_server.bridge import JsonReplies, UnreadableReply, attributes, codec_of, json_replies_of
from awsidecar_server.bridge.pages import LongList
from awsidecar_server.errors import AwsUnreachable

GET = items_pb2.GetItemResponse
QUERY = query_pb2.QueryResponse
BACKUP = backups_pb2.CreateBackupResponse


def written(message_class: Any, members: Any) -> Any:
    body = members if isinstance(members, bytes) else json.dumps(members).encode()
    return message_class.FromString(json_replies_of(message_class.DESCRIPTOR).write(body))


def value_of(member: dict[str, Any]) -> Any:
    return written(GET, {"Item": {"a": member}}).item.attributes["a"]


def created(moment: Any) -> Any:
    reply = written(BACKUP, {"BackupDetails": {"BackupCreationDateTime": moment}})
    return reply.backup_details.backup_creation_date_time


@pytest.mark.parametrize("operation", RPCS)
@settings(max_examples=15)
@given(data=st.data())
def test_reply_is_what_an_sdk_reads_and_the_codec_writes(operation: str, data: st.DataObject) -> None:
    rpc = RPCS[operation]
    body = data.draw(replies(rpc.response))
    arrived = GetMessageClass(rpc.response).FromString(json_replies_of(rpc.response).write(body))
    assert arrived == codec_of(rpc.response).encode(as_an_sdk_reads_it(rpc, body))


@settings(max_examples=300)
@given(replies(GET.DESCRIPTOR))
def test_item_is_what_an_sdk_reads_and_the_codec_writes(body: bytes) -> None:
    expected = codec_of(GET.DESCRIPTOR).encode(as_an_sdk_reads_it(RPCS["dynamodb.GetItem"], body))
    assert written(GET, body) == expected
    assert written(GET, body) == expected  # from the openings that are kept now


def test_page_of_items_keeps_every_item() -> None:
    items = [
        {"pk": {"S": f"{i:04}"}, "n": {"N": str(i)}, "x": {"S": "é" * i}, "b": {"BOOL": i % 2 == 0}}
        for i in range(600)
    ]
    page = written(QUERY, {"Items": items, "Count": 600, "ScannedCount": 0})
    assert page == codec_of(QUERY.DESCRIPTOR).encode({"Items": items, "Count": 600, "ScannedCount": 0})
    assert page.HasField("scanned_count")


def test_item_that_is_not_there_differs_from_one_with_nothing_projected() -> None:
    assert not written(GET, {}).HasField("item")
    assert not written(GET, {"Item": None}).HasField("item")
    assert written(GET, {"Item": {}}).HasField("item")


def test_empty_body_is_the_reply_of_operations_that_answer_nothing_and_of_no_other() -> None:
    assert json_replies_of(tags_pb2.TagResourceResponse.DESCRIPTOR).write(b"") == b""
    with pytest.raises(UnreadableReply):
        json_replies_of(GET.DESCRIPTOR).write(b"")


@pytest.mark.parametrize(
    "member",
    [{"L": []}, {"M": {}}, {"SS": []}, {"NS": []}, {"BS": []}, {"S": ""}, {"N": ""}, {"B": ""}, {"BOOL": False}],
)
def test_empty_value_keeps_its_type(member: dict[str, Any]) -> None:
    assert value_of(member).WhichOneof("value") == next(iter(member)).lower()


@pytest.mark.parametrize("member", [{}, {"S": None}, {"OfTomorrow": {"a": 1}}, {"S": None, "N": None}])
def test_value_of_no_known_kind_is_there_without_a_kind(member: dict[str, Any]) -> None:
    assert value_of(member).WhichOneof("value") is None
    assert len(written(GET, {"Item": {"a": {"L": [member]}}}).item.attributes["a"].l.values) == 1


def test_null_beside_a_kind_is_absence() -> None:
    assert value_of({"S": None, "N": "1", "OfTomorrow": 1}).n == "1"


@pytest.mark.parametrize("levels", [0, 1, 31])
@pytest.mark.parametrize("nest", [lists, maps, mixed])
def test_values_nest_as_deep_as_dynamodb_lets_them(nest: Any, levels: int) -> None:
    assert value_of(nest(levels, {"S": "x"})) == codec_of(attribute_value_pb2.AttributeValue.DESCRIPTOR).encode(
        nest(levels, {"S": "x"})
    )


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 255, 256, 4095, 4096, 16_384, 100_000])
def test_size_of_a_text_changes_nothing_but_its_size(size: int) -> None:
    assert value_of({"S": "x" * size}).s == "x" * size
    assert written(GET, {"Item": {"k" * size: {"N": "1"}}}).item.attributes["k" * size].n == "1"
    assert value_of({"M": {"k": {"S": "é" * size}}}).m.entries["k"].s == "é" * size


def test_more_names_than_are_kept_are_written_all_the_same() -> None:
    choices = attributes.Choices()
    choices.texts["S"] = b"\n"
    entries = attributes.ChoiceMap(1, choices, most_openings=5)
    item = {f"name{i}": {"S": "x"} for i in range(23)}
    for _ in range(2):
        found = attribute_value_pb2.Item.FromString(entries.write(item))
        assert {name: value.s for name, value in found.attributes.items()} == dict.fromkeys(item, "x")


@pytest.mark.parametrize(
    "body",
    [
        b"nonsense",
        b"[]",
        b"1",
        b"null",
        b'"Item"',
        b'{"Item":{}',
        b'{"Item":[]}',
        b'{"Item":"S"}',
        b'{"Item":{"a":null}}',
        b'{"Item":{"a":"S"}}',
        b'{"Item":{"a":["S"]}}',
        b'{"Item":{"a":[0]}}',
        b'{"Item":{"a":[]}}',
        b'{"Item":{"a":1}}',
        b'{"Item":{"a":{"S":1}}}',
        b'{"Item":{"a":{"S":["x"]}}}',
        b'{"Item":{"a":{"N":1}}}',
        b'{"Item":{"a":{"S":"x","N":"1"}}}',
        b'{"Item":{"a":{"BOOL":1}}}',
        b'{"Item":{"a":{"BOOL":"true"}}}',
        b'{"Item":{"a":{"NULL":0}}}',
        b'{"Item":{"a":{"SS":"abc"}}}',
        b'{"Item":{"a":{"SS":{"x":1}}}}',
        b'{"Item":{"a":{"SS":[1]}}}',
        b'{"Item":{"a":{"SS":[null]}}}',
        b'{"Item":{"a":{"L":{"S":"x"}}}}',
        b'{"Item":{"a":{"L":[null]}}}',
        b'{"Item":{"a":{"L":"x"}}}',
        b'{"Item":{"a":{"M":[]}}}',
        b'{"Item":{"a":{"M":"x"}}}',
        b'{"Item":{"a":{"B":1}}}',
        b'{"Item":{"a":{"B":"YQ"}}}',
        b'{"Item":{"a":{"B":"Y Q="}}}',
        b'{"Item":{"a":{"B":"YQ==\\n"}}}',
        b'{"Item":{"a":{"B":"-_8="}}}',
        b'{"Item":{"a":{"B":"\xc3\xa9"}}}',
        b'{"Item":{"a":{"S":"\\ud800"}}}',
        b'{"Item":{"a":{"S":"\xff"}}}',
        b'{"ConsumedCapacity":[]}',
        b'{"ConsumedCapacity":{"CapacityUnits":"1"}}',
        b'{"ConsumedCapacity":{"CapacityUnits":true}}',
        b'{"ConsumedCapacity":{"CapacityUnits":NaN}}',
        b'{"ConsumedCapacity":{"TableName":1}}',
        b'{"ConsumedCapacity":{"LocalSecondaryIndexes":[]}}',
        b'{"Item":' + b'{"a":{"M":' * 900 + b"{}" + b"}}" * 900 + b"}",
    ],
)
def test_reply_of_another_shape_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(UnreadableReply) as refused:
        written(GET, body)
    assert isinstance(refused.value, AwsUnreachable)
    assert refused.value.metadata == {"cause": "bad_response"}
    assert str(refused.value) == "AWS's answer could not be read"


@pytest.mark.parametrize("count", [1.0, "1", True, 2**31, -(2**31) - 1, 2**70, [1], {}])
def test_count_that_is_no_int32_is_refused(count: Any) -> None:
    with pytest.raises(UnreadableReply):
        written(QUERY, {"Count": count})


@pytest.mark.parametrize("size", [0, 1, -1, 2**63 - 1, -(2**63)])
def test_int64_is_exact(size: int) -> None:
    assert written(BACKUP, {"BackupDetails": {"BackupSizeBytes": size}}).backup_details.backup_size_bytes == size


@pytest.mark.parametrize("units", [0, 0.0, -0.0, 5e-324, 1.7976931348623157e308, 2**63, 10**40])
def test_double_is_exact(units: float) -> None:
    capacity = written(GET, {"ConsumedCapacity": {"CapacityUnits": units}}).consumed_capacity
    assert capacity.HasField("capacity_units")
    assert capacity.capacity_units == float(units)
    assert math.copysign(1, capacity.capacity_units) == math.copysign(1, units)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_number_that_json_has_no_word_for_comes_as_text(word: str) -> None:
    units = written(GET, {"ConsumedCapacity": {"CapacityUnits": word}}).consumed_capacity.capacity_units
    assert units == float(word) or math.isnan(units) == (word == "NaN")


def test_list_of_numbers_is_packed() -> None:
    reply = written(
        batch_pb2.BatchWriteItemResponse, {"ItemCollectionMetrics": {"t": [{"SizeEstimateRangeGB": [0, 1.5]}]}}
    )
    assert list(reply.item_collection_metrics["t"].metrics[0].size_estimate_range_gb) == [0, 1.5]
    with pytest.raises(UnreadableReply):
        written(batch_pb2.BatchWriteItemResponse, {"ItemCollectionMetrics": {"t": [{"SizeEstimateRangeGB": 1}]}})


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (-1.5, datetime(1969, 12, 31, 23, 59, 58, 500_000, tzinfo=UTC)),
        (1_700_000_000.123456, datetime(2023, 11, 14, 22, 13, 20, 123_456, tzinfo=UTC)),
        (1_700_000_000.1234567, datetime(2023, 11, 14, 22, 13, 20, 123_457, tzinfo=UTC)),
        ("1700000000.5", datetime(2023, 11, 14, 22, 13, 20, 500_000, tzinfo=UTC)),
        ("2023-11-14T22:13:20Z", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ("2023-11-14T22:13:20.25+01:00", datetime(2023, 11, 14, 21, 13, 20, 250_000, tzinfo=UTC)),
        ("2023-11-14T22:13:20", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        (253_402_300_799, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_moment_comes_as_a_number_or_as_text(moment: Any, expected: datetime) -> None:
    assert created(moment).ToDatetime(tzinfo=UTC) == expected


@given(st.floats(-62_135_596_800, 253_402_300_799) | st.integers(-62_135_596_800, 253_402_300_799))
def test_moment_is_rounded_to_the_microsecond_as_python_does_it(seconds: float) -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert created(seconds).ToDatetime(tzinfo=UTC) - epoch == datetime.fromtimestamp(seconds, UTC) - epoch
    assert created(int(seconds)).ToDatetime(tzinfo=UTC) == epoch + timedelta(seconds=int(seconds))


@pytest.mark.parametrize("moment", [True, [], {}, "soon", "", "nan", 1e12, -1e12, 1e300, 2**64 - 1])
def test_moment_that_is_none_is_refused(moment: Any) -> None:
    with pytest.raises(UnreadableReply):
        created(moment)


# --- long pages --------------------------------------------------------------------------------------------------------

# What stands between two items, where it does not.
DECEPTIVE: list[dict[str, Any]] = [
    {"a": {"S": 'x"}},{"y":{"S":"z"}}]'}, "b": {"S": "}},{"}},
    {"}},{": {"N": "1"}},
    {"l": {"L": [{"M": {"k": {"S": "v"}}}, {"M": {"M": {"S": "v"}}}, {"L": [{"M": {}}, {"S": "x"}]}]}},
    {"M": {"S": "named as a kind"}},
    {"Items": {"L": [{"M": {"Items": {"L": [{"S": "x"}]}}}]}},
    {},
]


@pytest.mark.parametrize("piece_bytes", [0, 1, 20, 200])
@settings(max_examples=60)
@given(data=st.data())
def test_page_read_in_pieces_is_the_page(piece_bytes: int, data: st.DataObject) -> None:
    rpc = RPCS["dynamodb.Query"]
    body = data.draw(replies(rpc.response))
    page = QUERY.FromString(JsonReplies(rpc.response, piece_bytes).write(body))
    assert page == codec_of(rpc.response).encode(as_an_sdk_reads_it(rpc, body))


@pytest.mark.parametrize("piece_bytes", [0, 1, 20, 60, 1000])
@settings(max_examples=60)
@given(
    items=st.lists(st.sampled_from([*DECEPTIVE, {"a": {"S": "x"}}, {"b": {"M": {"c": {"N": "1"}}}}]), max_size=12)
)
def test_what_looks_like_the_end_of_an_item_is_not_taken_for_it(
    piece_bytes: int, items: list[dict[str, Any]]
) -> None:
    members = {"Count": len(items), "Items": items, "LastEvaluatedKey": {"k": {"S": '"}}]'}}, "ScannedCount": 0}
    for separators, indent in (((",", ":"), None), ((", ", ": "), None), ((" , ", " : "), 1)):
        body = json.dumps(members, separators=separators, indent=indent).encode()
        page = QUERY.FromString(JsonReplies(QUERY.DESCRIPTOR, piece_bytes).write(body))
        assert page == codec_of(QUERY.DESCRIPTOR).encode(members)


@pytest.mark.parametrize(
    "body",
    [
        b'{"Items":[{"a":{"S":"x"}},{"b":{"S":"y"}}]',
        b'{"Items":[{"a":{"S":"x"}},{"b":{"S":1}}]}',
        b'{"Items":[{"a":{"S":"x"}},,{"b":{"S":"y"}}]}',
        b'{"Items":[{"a":{"S":"x"}},{"b":{"B":"?"}}]}',
        b'{"Items":[{"a":{"S":"x"}},{"b":{"S":"y"}}],"Count":"2"}',
        b'["Items":[{"a":{"S":"x"}},{"b":{"S":"y"}}]]',
    ],
)
def test_page_of_another_shape_is_refused_in_pieces_too(body: bytes) -> None:
    with pytest.raises(UnreadableReply):
        JsonReplies(QUERY.DESCRIPTOR, piece_bytes=0).write(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"Items":[{"a":{"S":"x"}},{"a":{"S":"z"}}],"Items":[{"b":{"S":"y"}},{"b":{"S":"y"}}]}',
        b'{"X":{"Items":[{"a":{"S":"x"}},{"a":{"S":"x"}}]},"Items":[{"b":{"S":"y"}},{"b":{"S":"y"}}]}',
        b'{"Items":[{"b":{"S":"y"}},{"b":{"S":"y"}}],"X":{"Items":[{"a":{"S":"x"}},{"a":{"S":"x"}}]}}',
        b'{"X":[{"a":{"S":"x"}}],"Items":[{"b":{"S":"y"}},{"b":{"S":"y"}}],"Y":[{"a":{"S":"x"}}]}',
        b'{"Y\\"Items":[{"a":{"S":"x"}}],"Items":[{"b":{"S":"y"}},{"b":{"S":"y"}}]}',
        b'{"Items":0,"Items":[{"b":{"S":"y"}},{"b":{"S":"y"}}]}',
    ],
)
def test_other_lists_in_a_body_are_not_the_page(body: bytes) -> None:
    page = QUERY.FromString(JsonReplies(QUERY.DESCRIPTOR, piece_bytes=0).write(body))
    assert [dict(item.attributes)["b"].s for item in page.items] == ["y", "y"]


@pytest.mark.parametrize(
    ("separators", "indent"), [((",", ":"), None), ((", ", ": "), None), ((",", ": "), 2), ((" ,  ", " :\t"), 1)]
)
def test_page_that_was_written_anew_on_its_way_is_read_in_pieces(
    separators: tuple[str, str], indent: int | None
) -> None:
    """Read at once, a page of 8 MB would keep every other thread from running for as long as that takes."""
    members = {"Items": [{"a": {"M": {"b": {"L": [{"S": "x"}, {"M": {}}]}}}}] * 100, "Last": {"L": [{"L": []}]}}
    body = json.dumps(members, separators=separators, indent=indent).encode()
    rest, pieces = LongList("Items", ["S", "L", "M"], piece_bytes=200).taken_out(body)
    lengths = [len(piece) for piece in pieces]
    assert rest == {"Last": {"L": [{"L": []}]}}
    assert (sum(lengths), max(lengths) <= 5) == (100, True)


def test_long_page_is_read_in_pieces_and_a_short_one_is_not() -> None:
    items = LongList("Items", ["S"], piece_bytes=40)
    body = b'{"Count":3,"Items":[{"a":{"S":"' + b"x" * 40 + b'"}},{"b":{"S":"y"}},{"c":{"S":"z"}}]}'
    rest, pieces = items.taken_out(body)
    assert rest == {"Count": 3}
    assert [len(piece) for piece in pieces] == [1, 2]
    assert items.is_long(body)
    assert not items.is_long(b'{"Items":[]}')
