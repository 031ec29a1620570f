"""AWS's errors are read as botocore reads them, and rubbish is known by its HTTP status."""

from __future__ import annotations

import json
import zlib
from typing import Any

import botocore.session
import pytest
from botocore.parsers import create_parser
from hypothesis import given
from hypothesis import strategies as st

from awsidecar_server.aws.json_errors import is_intact, read_error

ITEM = {
    "id": {"S": "1"},
    "raw": {"B": "aGVsbG8="},
    "raws": {"BS": ["aGVsbG8=", ""]},
    "nested": {"M": {"list": {"L": [{"B": "/w=="}, {"N": "1"}, {"NULL": True}, {"SS": ["x"]}]}}},
}
DEEP: Any = {"NULL": True}
for _ in range(5000):
    DEEP = f'{{"L":[{json.dumps(DEEP) if isinstance(DEEP, dict) else DEEP}]}}'


@pytest.fixture(scope="module")
def model() -> Any:
    return botocore.session.Session().get_service_model("dynamodb")


def read(content: Any, *, status: int = 400, error_type: str | None = None) -> Any:
    return read_error(json.dumps(content).encode(), http_status=status, error_type=error_type)


@pytest.mark.parametrize(
    "content",
    [
        {
            "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
            "message": "The conditional request failed",
            "Item": ITEM,
        },
        {
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "Message": "Transaction cancelled",
            "CancellationReasons": [
                {"Code": "None"},
                {"Code": "ConditionalCheckFailed", "Message": "failed", "Item": ITEM},
                {"Code": "None", "Message": None, "Item": None},
            ],
        },
        {
            "__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
            "message": "slow down",
            "ThrottlingReasons": [{"reason": "TableReadProvisionedThroughputExceeded", "resource": "arn:aws:x"}],
        },
        {
            "__type": "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException:http://internal/",
            "message": "no table",
        },
    ],
)
def test_error_is_that_of_botocore_with_its_members(model: Any, content: dict[str, Any]) -> None:
    error = read(content)
    response = {"body": json.dumps(content).encode(), "headers": {}, "status_code": 400}
    parser = create_parser("json")
    theirs = parser.parse(response, None)["Error"]
    assert (error.code, error.message) == (theirs["Code"], theirs["Message"])
    shape = model.shape_for_error_code(error.code)
    modelled = parser.parse({**response, "status_code": 200}, shape)
    assert error.members == {
        name: value for name, value in modelled.items() if name not in {"ResponseMetadata", "message", "Message"}
    }


@pytest.mark.parametrize(
    ("content", "error_type", "code"),
    [
        ({"__type": "A"}, "C", "A"),
        ({"__type": "ns#A:http://x/y#z", "code": "B"}, "C", "A"),
        ({"code": "ns#B"}, "C", "B"),
        ({}, "ns#C:http://internal", "C"),
        ({"__type": 7, "code": None}, "C", "C"),
        ({"__type": ""}, None, "400"),
        ({}, None, "400"),
    ],
)
def test_code_is_looked_for_in_type_code_and_header(content: Any, error_type: str | None, code: str) -> None:
    assert read(content, error_type=error_type).code == code


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"message": "a", "Message": "b"}, "a"),
        ({"Message": "b"}, "b"),
        ({"message": None, "Message": "b"}, "b"),
        ({}, ""),
    ],
)
def test_message_is_spelled_either_way(content: dict[str, Any], message: str) -> None:
    assert read({"__type": "A", **content}).message == message


@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"\xff\xfe", b"[]", b'"text"', b"[" * 100_000])
def test_body_that_is_no_error_of_aws_is_known_by_its_status(body: bytes) -> None:
    error = read_error(body, http_status=502)
    assert error == ("502", "AWS answered with HTTP status 502", {}, False)


@pytest.mark.parametrize(
    "content", [{"__type": 5}, {"message": ["x"]}, {"code": {}}, {}, {"message": "no"}, {"foo": 1}]
)
def test_object_whose_envelope_is_not_of_aws_is_known_for_it(content: dict[str, Any]) -> None:
    assert not read(content).is_of_aws


@pytest.mark.parametrize(
    "content", [{"__type": "A"}, {"code": "A", "message": "no"}, {"Message": None, "__type": ""}]
)
def test_object_with_an_envelope_is_of_aws(content: dict[str, Any]) -> None:
    assert read(content).is_of_aws


@pytest.mark.parametrize(
    "members",
    [
        {"Item": "text"},
        {"Item": {"id": {}}},
        {"Item": {"id": {"B": "not base64!"}}},
        {"Item": {"id": {"B": 7}}},
        {"CancellationReasons": "text"},
        {"CancellationReasons": [None]},
        {"CancellationReasons": [{"Item": []}]},
        {"ThrottlingReasons": 7},
        {"throttlingReasons": [7]},
    ],
)
def test_member_that_is_not_as_modelled_is_left_out_and_the_rest_holds(members: dict[str, Any]) -> None:
    error = read({"__type": "ConditionalCheckFailedException", "message": "failed", **members})
    assert error == ("ConditionalCheckFailedException", "failed", {}, True)


def test_item_nested_beyond_reason_does_no_harm() -> None:
    body = f'{{"__type": "ConditionalCheckFailedException", "Item": {{"id": {DEEP}}}}}'.encode()
    assert read_error(body, http_status=400).members == {}


@given(st.binary(max_size=300))
def test_any_body_can_be_read(body: bytes) -> None:
    assert read_error(body, http_status=500).code


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["__type", "code", "Item", "CancellationReasons", "ThrottlingReasons", "B", "M", "L", "BS"]
                ),
                inner,
            )
        ),
    )
)
def test_any_json_can_be_read(content: Any) -> None:
    assert read(content).code


@given(st.binary(max_size=300), st.integers(0, 2**32 - 1))
def test_body_is_intact_when_its_checksum_says_so(body: bytes, other: int) -> None:
    checksum = zlib.crc32(body)
    assert is_intact(body, str(checksum))
    assert is_intact(body, None)
    assert is_intact(body, str(other)) is (other == checksum)


@pytest.mark.parametrize("crc32", ["", "rubbish", "-1", "٣"])
def test_checksum_that_is_none_matches_nothing(crc32: str) -> None:
    assert not is_intact(b"{}", crc32)
