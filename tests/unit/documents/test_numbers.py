from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.documents.documents import DOUBLES, numbers

from awsidecar_server.documents.numbers import double_of, text_of

LARGEST_WHOLE = 2**53 - 1


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (5.0, "5"),
        (-42.0, "-42"),
        (0.1, "0.1"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e-130, "1e-130"),
        (float(LARGEST_WHOLE), "9007199254740991"),
        (float(-LARGEST_WHOLE), "-9007199254740991"),
    ],
)
def test_double_is_written_as_the_shortest_decimal_that_means_it(number: float, text: str) -> None:
    assert text_of(number) == text


@pytest.mark.parametrize(
    "number",
    [2.0**53, -(2.0**53), 2.0**53 + 2, 12345678901234567890.0, 6.022e23, 1.7e308, math.inf, -math.inf, math.nan],
)
def test_double_that_may_stand_for_another_whole_number_is_not_written(number: float) -> None:
    """Whoever typed 9007199254740993 has sent 9007199254740992."""
    assert text_of(number) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0.0),
        ("-0", 0.0),
        ("7", 7.0),
        ("1.50", 1.5),
        ("1E3", 1000.0),
        ("0.1", 0.1),
        ("1E-130", 1e-130),
        ("9007199254740991", float(LARGEST_WHOLE)),
    ],
)
def test_number_that_a_double_holds_is_that_double(text: str, number: float) -> None:
    assert double_of(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "9007199254740992",
        "9007199254740993",
        "-9007199254740993",
        "36028797018963970",
        "12345678901234567890",
        "1E+125",
        "0.12345678901234567",
        "0.1000000000000000055511151231257827",
        "3.14159265358979323846",
    ],
)
def test_number_that_a_double_does_not_hold_is_none(text: str) -> None:
    assert double_of(text) is None


@pytest.mark.parametrize("text", ["", "five", "0x10", "1 2"])
def test_text_that_is_no_number_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        double_of(text)


@given(DOUBLES)
def test_every_double_within_the_bounds_comes_back(number: float) -> None:
    text = text_of(number)
    assert text is not None
    assert double_of(text) == number


@given(numbers())
def test_number_is_the_same_after_a_double_or_has_none(text: str) -> None:
    number = double_of(text)
    if number is not None:
        assert Decimal(text_of(number) or "nan") == Decimal(text)
        assert Decimal(repr(number)) == Decimal(text)


@given(st.integers(-(10**15) + 1, 10**15 - 1), st.integers(-90, 0))
def test_fifteen_digits_are_always_held(digits: int, exponent: int) -> None:
    assert double_of(f"{digits}E{exponent}") is not None


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_every_whole_number_within_the_bounds_is_held(number: int) -> None:
    assert double_of(str(number)) == number
    assert text_of(float(number)) == str(number)
