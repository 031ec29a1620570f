"""Plain values and attribute values."""

from __future__ import annotations

import enum
import math
from collections import OrderedDict
from decimal import Context, Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue
from awsidecar.values import Fault, fill_value, number_text, plain_number, plain_value

decimals = st.builds(
    lambda digits, exponent, sign: Decimal((sign, tuple(int(digit) for digit in str(digits)), exponent)),
    st.integers(min_value=0, max_value=10**38 - 1),
    st.integers(min_value=-130, max_value=88),
    st.sampled_from([0, 1]),
)
integers = st.integers(min_value=-(10**38) + 1, max_value=10**38 - 1)
numbers = integers | decimals
texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | numbers | texts | st.binary()
sets = (
    st.frozensets(texts, min_size=1) | st.frozensets(numbers, min_size=1) | st.frozensets(st.binary(), min_size=1)
)
values = st.recursive(scalars | sets, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=30)


def round_trip(value: object) -> Any:
    sent = AttributeValue()
    fill_value(sent, value)
    return plain_value(AttributeValue.FromString(sent.SerializeToString()))


def problem_of(value: object) -> str:
    with pytest.raises(Fault) as caught:
        fill_value(AttributeValue(), value)
    return str(caught.value.error("Item"))


def kinds(value: object) -> object:
    """The types inside a value, so that True is not taken for 1."""
    if isinstance(value, dict):
        return {name: kinds(element) for name, element in value.items()}
    if isinstance(value, list):
        return [kinds(element) for element in value]
    if isinstance(value, Decimal):
        return int if value == value.to_integral_value() else Decimal
    if isinstance(value, set | frozenset):
        return set
    return type(value)


@given(values)
def test_every_value_comes_back_equal_and_of_its_type(value: object) -> None:
    back = round_trip(value)
    assert back == value
    assert kinds(back) == kinds(value)


@given(numbers)
def test_number_text_is_exact_and_within_the_limits(number: int | Decimal) -> None:
    text = number_text(number)
    assert Decimal(text) == number
    assert len(Decimal(text).as_tuple().digits) <= 38


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_taken_exactly_or_not_at_all(number: float) -> None:
    exact = Decimal(number)
    digits = len(Context(prec=1_100).normalize(exact).as_tuple().digits)
    fits = not number or (digits <= 38 and -130 <= exact.adjusted() <= 125)
    if fits:
        assert Decimal(number_text(number)) == exact
    else:
        with pytest.raises(Fault):
            number_text(number)


def test_an_inexact_float_is_refused_with_the_remedy() -> None:
    assert problem_of(0.1) == ("Item: the float 0.1 has no exact value in 38 digits; use decimal.Decimal('0.1')")
    assert round_trip(0.5) == Decimal("0.5")
    assert round_trip(-3.0) == -3


@pytest.mark.parametrize(
    "number", [math.nan, math.inf, -math.inf, Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity")]
)
def test_nan_and_infinity_are_refused(number: object) -> None:
    assert "DynamoDB has no" in problem_of(number)


@pytest.mark.parametrize(
    "number",
    [10**126, -(10**126), Decimal("1E+126"), Decimal("9E-131"), 10**5000, Decimal("1E-9999999")],
    ids=lambda number: f"{type(number).__name__}",
)
def test_numbers_beyond_the_range_are_refused(number: object) -> None:
    assert "beyond DynamoDB's range" in problem_of(number)


@pytest.mark.parametrize("number", [10**38 + 1, Decimal("1." + "1" * 38)])
def test_more_than_38_digits_are_refused(number: object) -> None:
    assert "more than 38 significant digits" in problem_of(number)


@pytest.mark.parametrize(
    "number", [10**125, -(10**38), Decimal("9.9E+125"), Decimal("1E-130"), Decimal("1." + "0" * 60), Decimal("-0")]
)
def test_numbers_at_the_edge_are_taken(number: int | Decimal) -> None:
    assert round_trip(number) == number


def test_the_applications_decimal_context_changes_nothing() -> None:
    with localcontext(prec=3):
        assert round_trip(Decimal("1.23456789")) == Decimal("1.23456789")
        assert round_trip(10**60) == 10**60


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("1.0", 1),
        ("1E3", 1000),
        ("-0.5", Decimal("-0.5")),
        ("1E-130", Decimal("1E-130")),
        ("-7E+2", -700),
    ],
)
def test_a_number_is_an_int_when_integral(text: str, number: int | Decimal) -> None:
    assert plain_number(text) == number
    assert type(plain_number(text)) is type(number)


def test_true_is_a_bool_and_no_number() -> None:
    assert round_trip(True) is True
    assert "only numbers" in problem_of({1, 2.5, "a"})
    assert problem_of({True}) == "Item: a set holds only strings, only numbers or only bytes, not bool"


def test_subclasses_and_other_containers_are_taken_for_what_they_are() -> None:
    class Color(enum.StrEnum):
        RED = "red"

    class Level(enum.IntEnum):
        LOW = 1

    value = OrderedDict(color=Color.RED, level=Level.LOW, data=bytearray(b"x"), view=memoryview(b"y"), pair=(1, 2))
    assert round_trip(value) == {"color": "red", "level": 1, "data": b"x", "view": b"y", "pair": [1, 2]}
    assert round_trip({"a": 1}.keys()) == {"a"}


def test_plain_values_are_never_taken_for_typed_ones() -> None:
    assert round_trip({"S": "x"}) == {"S": "x"}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"tags": ["a", "b", object()]}, "Item.tags[2]: DynamoDB has no type for object"),
        ({"a": {"b": set()}}, "Item.a.b: DynamoDB has no empty set; leave the attribute out"),
        ({"a": {1: "x"}}, "Item.a: an attribute name must be a str, not int"),
        ({"a": {"x", b"y"}}, "Item.a: a set holds only strings, only numbers or only bytes, not bytes, str"),
        ({"a": ["\ud800"]}, "Item.a[0]: the value has a lone surrogate, which UTF-8 cannot carry"),
        ([[[math.nan]]], "Item[0][0][0]: DynamoDB has no NaN"),
    ],
)
def test_the_path_of_a_bad_value_is_named(value: object, problem: str) -> None:
    assert problem_of(value) == problem


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"deeper": inner}])
def test_values_nest_up_to_32_levels(wrap: Any) -> None:
    value: Any = "leaf"
    for _ in range(32):
        value = wrap(value)
    assert round_trip(value) == value
    assert "nest deeper than 32 levels" in problem_of(wrap(value))


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert "nest deeper than 32 levels" in problem_of(loop)


def test_a_value_of_unknown_type_in_a_reply_is_no_null() -> None:
    with pytest.raises(ValueError, match="does not know"):
        plain_value(AttributeValue())
