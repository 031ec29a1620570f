"""Plain Python values as DynamoDB attribute values, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Context, Decimal
from typing import Any, TypeAlias

from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue

Scalar: TypeAlias = bool | int | float | Decimal | str | bytes | bytearray | memoryview | None
Value: TypeAlias = (
    Scalar | Sequence["Value"] | Mapping[str, "Value"] | AbstractSet[str | bytes | int | float | Decimal]
)

# The limits of a DynamoDB number:
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
NUMBER_DIGITS = 38
SMALLEST_EXPONENT = -130
LARGEST_EXPONENT = 125

# Levels of lists and maps inside one another. Checked here because a value that contains itself has no end.
NESTING_LEVELS = 32

_NONZERO_DIGITS = frozenset("123456789")

_PLAIN_INTEGERS = 10**NUMBER_DIGITS
_INTEGER_BOUND = 10 ** (LARGEST_EXPONENT + 1)

# Its own context, so that the application's decimal context (precision, traps) changes nothing here. The precision
# holds every exact float, the longest of which has 767 digits.
_EXACT = Context(prec=1_100, Emin=-10_000, Emax=10_000, traps=[])


class Fault(Exception):
    """A value that cannot be sent. Its path is completed, innermost part first, on the way out."""

    def __init__(self, kind: type[TypeError | ValueError], problem: str) -> None:
        super().__init__(problem)
        self.kind = kind
        self.problem = problem
        self._parts: list[str | int] = []

    def at(self, part: str | int) -> Fault:
        self._parts.append(part)
        return self

    def error(self, start: str = "") -> TypeError | ValueError:
        path = start
        for part in reversed(self._parts):
            if isinstance(part, int):
                path += f"[{part}]"
            else:
                path += f".{part}" if path else part
        return self.kind(f"{path}: {self.problem}" if path else self.problem)


def fill_value(target: AttributeValue, value: object, level: int = 0) -> None:
    """Sets `target` to `value`; raises Fault when DynamoDB has no such value."""
    fill = _FILLERS.get(type(value)) or _filler_of_subclass(value)
    fill(target, value, level)


def plain_value(source: AttributeValue) -> Any:
    """Returns what `source` holds: integral numbers as int, other numbers as Decimal."""
    kind = source.WhichOneof("value")
    if kind is None:
        raise ValueError("the reply has an attribute value of a type that this client does not know")
    return _READERS[kind](source)


def plain_number(text: str) -> int | Decimal:
    """Returns a DynamoDB number exactly, as int when it is integral."""
    if text.removeprefix("-").isdecimal():
        return int(text)
    number = Decimal(text)
    if text[-1] in _NONZERO_DIGITS and "E" not in text and "e" not in text:
        return number  # its last digit is after the point
    return int(number) if number == number.to_integral_value(context=_EXACT) else number


def number_text(value: float | Decimal) -> str:
    """Returns the decimal text of a number that DynamoDB can hold exactly; raises Fault for any other."""
    if isinstance(value, bool):
        raise Fault(TypeError, "a bool is not a number")
    if isinstance(value, int) and -_PLAIN_INTEGERS < value < _PLAIN_INTEGERS:
        return str(int(value))
    if isinstance(value, int) and not -_INTEGER_BOUND < value < _INTEGER_BOUND:
        raise Fault(ValueError, "the number is beyond DynamoDB's range, which ends below 1E+126")
    number = Decimal(value)
    if not number.is_finite():
        raise Fault(ValueError, f"DynamoDB has no {number}")
    return _checked_text(number, is_float=isinstance(value, float))


def _checked_text(number: Decimal, *, is_float: bool) -> str:
    if not number:
        return "0"
    if not SMALLEST_EXPONENT <= number.adjusted() <= LARGEST_EXPONENT:
        raise Fault(ValueError, "the number is beyond DynamoDB's range, 1E-130 to below 1E+126")
    if _digit_count(number) <= NUMBER_DIGITS:
        return str(number)
    shortest = _EXACT.normalize(number)
    if _digit_count(shortest) <= NUMBER_DIGITS and shortest == number:
        return str(shortest)
    if is_float:
        raise Fault(
            ValueError,
            f"the float {float(number)!r} has no exact value in {NUMBER_DIGITS} digits;"
            f" use decimal.Decimal('{float(number)!r}')",
        )
    raise Fault(ValueError, f"the number has more than {NUMBER_DIGITS} significant digits")


def _digit_count(number: Decimal) -> int:
    return len(number.as_tuple().digits)


def _fill_null(target: AttributeValue, _value: object, _level: int) -> None:
    target.null = True


def _fill_bool(target: AttributeValue, value: bool, _level: int) -> None:
    target.bool = value


def _fill_number(target: AttributeValue, value: float | Decimal, _level: int) -> None:
    target.n = number_text(value)


def _fill_text(target: AttributeValue, value: str, _level: int) -> None:
    target.s = checked_text(value)


def _fill_bytes(target: AttributeValue, value: bytes | bytearray | memoryview, _level: int) -> None:
    target.b = bytes(value)


def _fill_list(target: AttributeValue, value: Sequence[object], level: int) -> None:
    _check_level(level)
    target.l.SetInParent()
    values = target.l.values
    for index, element in enumerate(value):
        try:
            fill_value(values.add(), element, level + 1)
        except Fault as fault:
            fault.at(index)
            raise


def _fill_map(target: AttributeValue, value: Mapping[object, object], level: int) -> None:
    _check_level(level)
    target.m.SetInParent()
    fill_attributes(target.m.entries, value, level + 1)


def fill_attributes(entries: Any, value: Mapping[object, object], level: int = 0) -> None:
    """Fills a protobuf map of attribute values."""
    for name, element in value.items():
        text = checked_text(name, what="an attribute name")
        try:
            fill_value(entries[text], element, level)
        except Fault as fault:
            fault.at(text)
            raise


def _fill_set(target: AttributeValue, value: AbstractSet[Any], _level: int) -> None:
    if not value:
        raise Fault(ValueError, "DynamoDB has no empty set; leave the attribute out")
    if all(isinstance(element, str) for element in value):
        target.ss.values.extend(checked_text(element) for element in value)
    elif all(isinstance(element, bytes | memoryview) for element in value):
        target.bs.values.extend(bytes(element) for element in value)
    elif all(isinstance(element, int | float | Decimal) and not isinstance(element, bool) for element in value):
        target.ns.values.extend(number_text(element) for element in value)
    else:
        kinds = ", ".join(sorted({type(element).__name__ for element in value}))
        raise Fault(TypeError, f"a set holds only strings, only numbers or only bytes, not {kinds}")


def _check_level(level: int) -> None:
    if level >= NESTING_LEVELS:
        raise Fault(ValueError, f"lists and maps nest deeper than {NESTING_LEVELS} levels")


def checked_text(value: object, what: str = "the value") -> str:
    """Returns `value` when it is text that UTF-8 can carry; raises Fault otherwise."""
    if not isinstance(value, str):
        raise Fault(TypeError, f"{what} must be a str, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Fault(ValueError, f"{what} has a lone surrogate, which UTF-8 cannot carry") from error
    return value


# By exact type, which is what nearly every value has. bool stands on its own, so it is never taken for an int.
_FILLERS: dict[type, Callable[[AttributeValue, Any, int], None]] = {
    type(None): _fill_null,
    bool: _fill_bool,
    int: _fill_number,
    float: _fill_number,
    Decimal: _fill_number,
    str: _fill_text,
    bytes: _fill_bytes,
    bytearray: _fill_bytes,
    memoryview: _fill_bytes,
    list: _fill_list,
    tuple: _fill_list,
    dict: _fill_map,
    set: _fill_set,
    frozenset: _fill_set,
}

# For subclasses (an enum of str, a named tuple, an ordered dict) and other mappings and sets.
_FILLERS_BY_FAMILY: tuple[tuple[Any, Callable[[AttributeValue, Any, int], None]], ...] = (
    (str, _fill_text),
    (int | float | Decimal, _fill_number),
    (bytes | bytearray | memoryview, _fill_bytes),
    (Mapping, _fill_map),
    (list | tuple, _fill_list),
    (AbstractSet, _fill_set),
)


def _filler_of_subclass(value: object) -> Callable[[AttributeValue, Any, int], None]:
    for family, fill in _FILLERS_BY_FAMILY:
        if isinstance(value, family):
            return fill
    raise Fault(TypeError, f"DynamoDB has no type for {type(value).__name__}")


_READERS: dict[str, Callable[[AttributeValue], Any]] = {
    "s": lambda source: source.s,
    "n": lambda source: plain_number(source.n),
    "b": lambda source: source.b,
    "bool": lambda source: source.bool,
    "null": lambda _: None,
    "l": lambda source: [element.s or plain_value(element) for element in source.l.values],
    "m": lambda source: plain_attributes(source.m.entries),
    "ss": lambda source: set(source.ss.values),
    "ns": lambda source: {plain_number(text) for text in source.ns.values},
    "bs": lambda source: set(source.bs.values),
}


def plain_attributes(entries: Mapping[str, AttributeValue]) -> dict[str, Any]:
    """Returns a protobuf map of attribute values as a dict."""
    plain: dict[str, Any] = {}
    # Shortcuts for pages of thousands of values. A text or number that is not empty says by itself that it is the member
    # which is set; and protobuf's `items` is a generator in Python.
    for name in entries:
        value = entries[name]
        if text := value.s:
            plain[name] = text
        elif number := value.n:
            plain[name] = plain_number(number)
        else:
            plain[name] = plain_value(value)
    return plain
