"""Protobuf's wire format, as far as the bridge writes it itself: https://protobuf.dev/programming-guides/encoding/"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

VARINT = 0
FIXED64 = 1
DELIMITED = 2

_DOUBLE = Struct("<d")
_WORD = (1 << 64) - 1

# Sizes up to here, which nearly all are, are looked up.
_SMALL = 1 << 12


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


_VARINTS = [_varint(value) for value in range(_SMALL)]


def varint(value: int) -> bytes:
    """An integer that is not negative."""
    return _VARINTS[value] if value < _SMALL else _varint(value)


def signed(value: int) -> bytes:
    """An int32 or int64; negative ones take ten bytes."""
    return varint(value & _WORD)


def double(value: float) -> bytes:
    return _DOUBLE.pack(value)


def tag(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def wire_type(field: FieldDescriptor) -> int:
    """How one value of the field is written."""
    if field.type in {field.TYPE_INT32, field.TYPE_INT64, field.TYPE_BOOL}:
        return VARINT
    return FIXED64 if field.type == field.TYPE_DOUBLE else DELIMITED


def delimited(head: bytes, write: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Writes a whole field of text, bytes or a message: the tag, the size, and what `write` gives."""

    def write_field(value: Any) -> bytes:
        content = write(value)
        return head + varint(len(content)) + content

    return write_field
