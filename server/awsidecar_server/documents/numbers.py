"""Numbers between DynamoDB, which has 38 decimal digits, and JSON's readers, which have a double."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from math import isfinite

# From here on the double next to a whole number is another whole number, so that nobody can tell which one was meant.
# https://developer.mozilla.org/docs/Web/JavaScript/Reference/Global_Objects/Number/MAX_SAFE_INTEGER
_BEYOND_WHOLE = 2.0**53


def text_of(number: float) -> str | None:
    """The decimal text of a double; None when it stands for no one number that DynamoDB has.

    Fractions become the shortest decimal that means the same double, which is what was typed or computed.
    """
    if not isfinite(number) or abs(number) >= _BEYOND_WHOLE:
        return None
    return str(int(number)) if number.is_integer() else repr(number)


def double_of(text: str) -> float | None:
    """The double that `text_of` makes this number of; None when there is none. Raises ValueError for no number."""
    number = float(text)
    back = text_of(number)
    if back is None:
        return None
    if back == text:
        return number
    try:
        return number if Decimal(back) == Decimal(text) else None
    except InvalidOperation as wrong:
        raise ValueError("no decimal number") from wrong
