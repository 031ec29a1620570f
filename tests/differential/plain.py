"""Values of the AWS SDK as plain JSON, and what both become in Python: the tests' own reading of the mapping."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import Binary, TypeDeserializer
from google.protobuf.struct_pb2 import Struct, Value

# From here on, the double next to a whole number is another one.
_BEYOND_WHOLE = 2**53
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,15})?")


class NoForm(Exception):
    """There is no plain JSON for a value: it has no type, two of them, or `NULL` that is false."""


def struct_of(members: Mapping[str, Any]) -> Struct:
    """An item or a key as a caller writes it."""
    struct = Struct()
    for name, value in members.items():
        struct.fields[_marked(name)].CopyFrom(_plain(value))
    return struct


def _marked(name: str) -> str:
    return f"${name}" if name.startswith("$") else name


def _plain(value: Any) -> Value:
    if len(value) != 1 or value == {"NULL": False}:
        raise NoForm
    ((kind, held),) = value.items()
    plain = Value()
    if kind == "M":
        plain.struct_value.CopyFrom(struct_of(held))
    elif kind == "L":
        plain.list_value.SetInParent()
        plain.list_value.values.extend(map(_plain, held))
    elif kind == "NULL":
        plain.null_value = 0  # type: ignore[assignment]
    elif kind == "BOOL":
        plain.bool_value = held
    elif kind == "S":
        plain.string_value = held
    elif kind == "N" and _is_plain_number(held):
        plain.number_value = float(held)
    else:
        _special(plain.struct_value.fields[f"${kind}"], held)
    return plain


def _is_plain_number(text: str) -> bool:
    """Whether a JSON number means this very text: emulators keep that of a nested number as it comes."""
    if not _NUMBER.fullmatch(text) or not is_exact(Decimal(text)):
        return False
    number = float(text)
    return text == (str(int(number)) if number.is_integer() else repr(number))


def _special(target: Value, held: Any) -> None:
    if isinstance(held, list):
        target.list_value.SetInParent()
        for one in held:
            _special(target.list_value.values.add(), one)
    else:
        target.string_value = b64encode(held).decode() if isinstance(held, bytes) else held


def is_exact(number: Decimal) -> bool:
    """Whether a double holds a number as the documentation says."""
    return abs(number) < _BEYOND_WHOLE and Decimal(repr(float(number))) == number


class _Deserializer(TypeDeserializer):  # type: ignore[misc]
    """With all digits of a number: boto3 refuses zeros behind the thirty-eighth."""

    def _deserialize_n(self, value: str) -> Decimal:
        return Decimal(value)


def python_of_values(members: Mapping[str, Any]) -> dict[str, Any]:
    """An item of the SDK, as boto3 reads it, with the type of each value."""
    read = _Deserializer().deserialize
    return {name: _typed(read(value)) for name, value in members.items()}


def _typed(value: Any) -> Any:
    """Such that equal values of two types are not equal: `True` and 1, a number and its text."""
    if isinstance(value, dict):
        return {name: _typed(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_typed(one) for one in value]
    if isinstance(value, set):
        return "set", frozenset(_element(one) for one in value)
    if isinstance(value, Decimal):
        return ("number", value) if is_exact(value) else ("text of a number", value)
    if isinstance(value, bool):
        return "truth", value
    return bytes(value.value) if isinstance(value, Binary) else value


def _element(value: Any) -> Any:
    return bytes(value.value) if isinstance(value, Binary) else value


def python_of_struct(struct: Struct) -> dict[str, Any]:
    """The same, of plain JSON."""
    return {name.removeprefix("$"): _python(value) for name, value in struct.fields.items()}


def _python(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _python_of_map(value.struct_value)
    if kind == "list_value":
        return [_python(one) for one in value.list_value.values]
    if kind == "number_value":
        return "number", Decimal(repr(value.number_value))
    if kind == "bool_value":
        return "truth", value.bool_value
    return None if kind == "null_value" else value.string_value


def _python_of_map(struct: Struct) -> Any:
    if len(struct.fields) == 1:
        ((name, held),) = struct.fields.items()
        if name == "$N":
            return "text of a number", Decimal(held.string_value)
        if name == "$B":
            return b64decode(held.string_value, validate=True)
        if name in _SETS:
            return "set", frozenset(_SETS[name](one.string_value) for one in held.list_value.values)
    return python_of_struct(struct)


_SETS: dict[str, Any] = {"$SS": str, "$NS": Decimal, "$BS": lambda text: b64decode(text, validate=True)}


def has_large_number(value: Any) -> bool:
    """Whether a number in it is no double's; those of sets are text in any case."""
    if isinstance(value, dict):
        return any(map(has_large_number, value.values()))
    if isinstance(value, list):
        return any(map(has_large_number, value))
    return isinstance(value, tuple) and value[0] == "text of a number"
