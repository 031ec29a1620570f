"""One value of DynamoDB as a value of JSON, and back, such that neither way loses anything.

The forms are those of `awsidecar/documents/v1/documents.proto`: a map with one name, `{"$SS": [...]}`, for what JSON has no
form for, and one `$` more in front of the names that begin with one.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from google.protobuf.struct_pb2 import NULL_VALUE, ListValue, Struct, Value

from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue
from awsidecar_server.bridge import UnreadableReply
from awsidecar_server.bridge.faults import Fault
from awsidecar_server.documents.numbers import double_of, text_of

# The mark of the mapping's own names.
_MARK = "$"
_NOT_FINITE = "is no number that DynamoDB has, which has neither NaN nor infinities"
_NOT_HELD = 'is a number that a double does not hold exactly; write it as text: {"$N": "12345678901234567890"}'


class NotExact(Fault):
    """A number of DynamoDB's that a double does not hold exactly, on its way up."""

    def __init__(self) -> None:
        super().__init__("a double does not hold this number exactly")


def to_attributes(struct: Struct, target: Any) -> None:
    """Writes all fields into a map of attribute values; raises `Fault` naming the value at fault."""
    fields = struct.fields
    for name in fields:
        try:
            _to_attribute(fields[name], target[_unmarked(name)])
        except Fault as fault:
            raise fault.within(f".{name}") from None


def to_struct(attributes: Mapping[str, AttributeValue], target: Struct, *, large_as_text: bool) -> None:
    """Writes all attributes into a struct. A number that a double does not hold exactly becomes text, or raises
    `NotExact` when the caller does not allow that.
    """
    fields = target.fields
    for name in attributes:
        try:
            _to_plain(attributes[name], fields[_marked(name)], large_as_text)
        except NotExact as fault:
            raise fault.within(f".{_marked(name)}") from None


def _marked(name: str) -> str:
    return _MARK + name if name.startswith(_MARK) else name


def _unmarked(name: str) -> str:
    if not name.startswith(_MARK):
        return name
    if name.startswith(_MARK * 2):
        return name[1:]
    kinds = ", ".join(_KINDS)
    raise Fault(
        f"is no name here: {kinds} stand alone in a map that is a value; a name of the data is {_MARK}{name}"
    )


def _to_attribute(value: Value, target: AttributeValue) -> None:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        target.s = value.string_value
    elif kind == "number_value":
        target.n = _number_text(value)
    elif kind == "bool_value":
        target.bool = value.bool_value
    elif kind == "null_value":
        target.null = True
    elif kind == "struct_value":
        _map_to_attribute(value.struct_value, target)
    elif kind == "list_value":
        target.l.SetInParent()
        for place, element in enumerate(value.list_value.values):
            try:
                _to_attribute(element, target.l.values.add())
            except Fault as fault:
                raise fault.within(f"[{place}]") from None
    else:
        raise Fault("has no value")


def _map_to_attribute(struct: Struct, target: AttributeValue) -> None:
    fields = struct.fields
    if len(fields) == 1:
        (name,) = fields
        write = _KINDS.get(name)
        if write is not None:
            try:
                write(fields[name], target)
            except Fault as fault:
                raise fault.within(f".{name}") from None
            return
    target.m.SetInParent()
    to_attributes(struct, target.m.entries)


def _number_text(value: Value) -> str:
    text = text_of(value.number_value)
    if text is None:
        raise Fault(_NOT_HELD if isfinite(value.number_value) else _NOT_FINITE)
    return text


def _number(value: Value) -> str:
    """Decimal text, which AWS reads, or a number."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        return _number_text(value)
    return _text(value, "is neither the text of a number nor a number")


def _binary(value: Value) -> bytes:
    try:
        return a2b_base64(_text(value, "is no base64 text"), strict_mode=True)
    except ValueError as wrong:
        raise Fault("is no base64 text") from wrong


def _text(value: Value, problem: str = "is no text") -> str:
    if value.WhichOneof("kind") != "string_value":
        raise Fault(problem)
    return value.string_value


def _elements(value: Value, read: Callable[[Value], Any], target: Any) -> None:
    if value.WhichOneof("kind") != "list_value":
        raise Fault("is no list")
    target.SetInParent()
    for place, element in enumerate(value.list_value.values):
        try:
            target.values.append(read(element))
        except Fault as fault:
            raise fault.within(f"[{place}]") from None


def _set_number(value: Value, target: AttributeValue) -> None:
    target.n = _number(value)


def _set_binary(value: Value, target: AttributeValue) -> None:
    target.b = _binary(value)


# What JSON has no form for, under the names that AWS gives the types.
_KINDS: Mapping[str, Callable[[Value, AttributeValue], None]] = {
    "$N": _set_number,
    "$B": _set_binary,
    "$SS": lambda value, target: _elements(value, _text, target.ss),
    "$NS": lambda value, target: _elements(value, _number, target.ns),
    "$BS": lambda value, target: _elements(value, _binary, target.bs),
}


def _to_plain(attribute: AttributeValue, target: Value, large_as_text: bool) -> None:
    kind = attribute.WhichOneof("value")
    if kind == "s":
        target.string_value = attribute.s
    elif kind == "n":
        _plain_number(attribute.n, target, large_as_text)
    elif kind == "bool":
        target.bool_value = attribute.bool
    elif kind == "null":
        target.null_value = NULL_VALUE
    elif kind == "m":
        target.struct_value.SetInParent()
        to_struct(attribute.m.entries, target.struct_value, large_as_text=large_as_text)
    elif kind == "l":
        _plain_list(attribute, target.list_value, large_as_text)
    elif kind == "b":
        target.struct_value.fields["$B"].string_value = _base64(attribute.b)
    elif kind == "ss":
        _plain_set("$SS", attribute.ss.values, target)
    elif kind == "ns":
        _plain_set("$NS", attribute.ns.values, target)
    elif kind == "bs":
        _plain_set("$BS", map(_base64, attribute.bs.values), target)
    else:
        raise UnreadableReply  # a type that DynamoDB has got since


def _plain_number(text: str, target: Value, large_as_text: bool) -> None:
    try:
        number = double_of(text)
    except ValueError as wrong:
        raise UnreadableReply from wrong
    if number is not None:
        target.number_value = number
    elif large_as_text:
        target.struct_value.fields["$N"].string_value = text
    else:
        raise NotExact


def _plain_list(attribute: AttributeValue, target: ListValue, large_as_text: bool) -> None:
    target.SetInParent()
    for place, element in enumerate(attribute.l.values):
        try:
            _to_plain(element, target.values.add(), large_as_text)
        except NotExact as fault:
            raise fault.within(f"[{place}]") from None


def _plain_set(name: str, elements: Any, target: Value) -> None:
    values = target.struct_value.fields[name].list_value
    values.SetInParent()
    for element in elements:
        values.values.add().string_value = element


def _base64(value: bytes) -> str:
    return b2a_base64(value, newline=False).decode("ascii")
