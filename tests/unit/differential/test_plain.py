from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from tests.differential.plain import NoForm, python_of_struct, python_of_values, struct_of

VALUES: dict[str, Any] = {
    "text": {"S": "a"},
    "small": {"N": "0.5"},
    "large": {"N": "12345678901234567890"},
    "raw": {"B": b"\x00\xff"},
    "truth": {"BOOL": True},
    "nothing": {"NULL": True},
    "list": {"L": [{"N": "1"}, {"M": {"$N": {"S": "2"}}}]},
    "$map": {"M": {"$SS": {"L": []}}},
    "words": {"SS": ["b", "a"]},
    "numbers": {"NS": ["1", "12345678901234567890"]},
    "blobs": {"BS": [b"b", b"a"]},
}


def test_plain_json_and_the_sdk_mean_the_same() -> None:
    assert python_of_struct(struct_of(VALUES)) == python_of_values(VALUES)


def test_names_of_the_data_are_not_those_of_the_mapping() -> None:
    assert set(struct_of(VALUES).fields) == {*VALUES, "$$map"} - {"$map"}
    assert struct_of({"m": {"M": {"$N": {"S": "2"}}}}).fields["m"].struct_value.fields["$$N"].string_value == "2"


@pytest.mark.parametrize(
    ("plain", "value"),
    [
        ({"v": True}, {"N": "1"}),
        ({"v": 1}, {"BOOL": True}),
        ({"v": "1"}, {"N": "1"}),
        ({"v": {"$N": "1"}}, {"N": "1"}),  # a double holds it, so it must come as a number
        ({"v": 2.0**60}, {"N": str(2**60)}),  # and this it does not
        ({"v": {"$SS": ["1"]}}, {"NS": ["1"]}),
        ({"v": ["1"]}, {"SS": ["1"]}),
        ({"v": {"$B": "YQ=="}}, {"S": "a"}),
        ({"v": None}, {"S": ""}),
        ({"v": {"$$N": "1"}}, {"N": "1"}),
    ],
)
def test_values_of_two_types_are_never_the_same(plain: dict[str, Any], value: dict[str, Any]) -> None:
    struct = Struct()
    struct.update(plain)
    assert python_of_struct(struct) != python_of_values({"v": value})


@pytest.mark.parametrize("value", [{}, {"S": "a", "N": "1"}, {"NULL": False}, {"L": [{}]}, {"M": {"a": {}}}])
def test_what_plain_json_cannot_say_is_told(value: dict[str, Any]) -> None:
    with pytest.raises(NoForm):
        struct_of({"v": value})
