from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dynamodb.fake_batches import attributes

from awsidecar.dynamodb.v1.attribute_value_pb2 import (
    AttributeValue,
    AttributeValueList,
    AttributeValueMap,
    NumberSet,
)
from awsidecar_server.dynamodb.key_values import key_of, number, same_items, scalars

NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, min_value="-1E120", max_value="1E120").filter(
    lambda one: len(one.as_tuple().digits) <= 38
)


@pytest.mark.parametrize(
    "same",
    [
        ["1", "1.0", "01", "1E0", "0.1E1", "10E-1", "+1"],
        ["0", "0.0", "-0", "0E9"],
        ["-1.50", "-15E-1"],
        ["1E+3", "1000"],
    ],
)
def test_numbers_are_the_same_however_they_are_written(same: list[str]) -> None:
    assert len({number(text) for text in same}) == 1


@given(NUMBERS, NUMBERS)
def test_two_numbers_are_the_same_exactly_when_they_are_equal(one: Decimal, other: Decimal) -> None:
    assert (number(str(one)) == number(str(other))) == (one == other)


@pytest.mark.parametrize("text", ["", "one", "NaN", "-Infinity", "1E"])
def test_what_is_no_number_stays_as_it_is(text: str) -> None:
    assert number(text) == text


def test_more_digits_than_dynamodb_has_are_not_looked_at() -> None:
    """A request may have millions of them, while other callers wait."""
    assert number("1" * 38 + "000.00") == "1" * 38 + "E3"
    assert number("1" * 39) == "1" * 39
    assert number("1e" + "9" * 30) == "1e" + "9" * 30


def test_a_key_is_all_of_its_attributes_with_their_types() -> None:
    item = attributes(pk="1", sk=2, other="x")
    assert key_of(item, ("pk", "sk")) == key_of(attributes(sk=2, pk="1"), ("sk", "pk"))
    assert key_of(item, ("pk", "gone")) is None
    assert (
        key_of(attributes(pk="1"), ("pk",))
        != key_of(attributes(pk=1), ("pk",))
        != key_of(attributes(pk=b"1"), ("pk",))
    )
    assert key_of(attributes(pk=["1"]), ("pk",)) is None


def test_only_what_may_be_of_a_key_is_a_scalar() -> None:
    item = attributes(s="", n=1, b=b"x", ss=["a"])
    item["flag"] = AttributeValue(bool=True)
    assert [name for name, _ in scalars(item)] == ["b", "n", "s"]


def test_items_are_the_same_whatever_the_order_in_their_sets() -> None:
    assert same_items(attributes(a=["x", "y"])) == same_items(attributes(a=["y", "x"]))
    assert same_items(attributes(a=["x"])) != same_items(attributes(a="x"))


def _listed(*texts: str) -> AttributeValue:
    return AttributeValue(l=AttributeValueList(values=[AttributeValue(s=text) for text in texts]))


def _mapped(text: str) -> AttributeValue:
    return AttributeValue(m=AttributeValueMap(entries={"a": AttributeValue(n=text)}))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (AttributeValue(bool=True), AttributeValue(bool=False)),
        (AttributeValue(bool=True), AttributeValue(null=True)),
        (AttributeValue(s="1"), AttributeValue(n="1")),
        (AttributeValue(ns=NumberSet(values=["1", "2"])), AttributeValue(ns=NumberSet(values=["1", "3"]))),
        (_listed("a", "b"), _listed("b", "a")),
        (_mapped("1"), _mapped("2")),
    ],
)
def test_items_with_another_value_are_others(one: AttributeValue, other: AttributeValue) -> None:
    assert same_items({"a": one}) == same_items({"a": one})
    assert same_items({"a": one}) != same_items({"a": other})
