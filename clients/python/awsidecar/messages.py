"""Contract messages as plain dicts under AWS's member names, by converters compiled once from the descriptors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cache
from math import isfinite
from typing import Any, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from awsidecar.options.v1 import options_pb2
from awsidecar.values import Fault, checked_text, fill_attributes, fill_value, plain_attributes, plain_value

# Sets one field of a message from a plain value.
Writer: TypeAlias = Callable[[Any, object], None]
# Fills a whole message that stands for one plain value.
Filler: TypeAlias = Callable[[Any, object], None]
# Turns what protobuf holds into a plain value.
Reader: TypeAlias = Callable[[Any], Any]

_ATTRIBUTE_VALUE = "awsidecar.dynamodb.v1.AttributeValue"
_TIMESTAMP = "google.protobuf.Timestamp"

_INTEGER_BITS = {FieldDescriptor.TYPE_INT32: 32, FieldDescriptor.TYPE_INT64: 64}


class Converter:
    """Converts one message type; made by `converter`, once each."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._writers = {field.json_name: _writer(field) for field in descriptor.fields}
        self._readers = {field.number: (field.json_name, _reader(field)) for field in descriptor.fields}

    def fill(self, message: Any, members: object) -> None:
        """Sets `message` from a mapping of AWS members; raises Fault naming the member at fault."""
        if not isinstance(members, Mapping):
            raise Fault(TypeError, f"must be a mapping, not {type(members).__name__}")
        for name, value in members.items():
            writer = self._writers.get(name)
            if writer is None:
                raise Fault(TypeError, f"there is no such member{self._suggestion(name)}").at(str(name))
            try:
                writer(message, value)
            except Fault as fault:
                fault.at(name)
                raise

    def plain(self, message: Any) -> dict[str, Any]:
        """Returns the members that are present."""
        readers = self._readers
        members: dict[str, Any] = {}
        for field, value in message.ListFields():
            name, read = readers[field.number]
            members[name] = read(value)
        return members

    def _suggestion(self, name: object) -> str:
        close = get_close_matches(str(name), self._writers, n=1)
        return f"; did you mean {close[0]}?" if close else ""


@cache
def converter(descriptor: Descriptor) -> Converter:
    """Returns the converter of a message type."""
    return Converter(descriptor)


def is_transparent(descriptor: Descriptor) -> bool:
    """Whether AWS sees the only field of this message in its place."""
    return bool(descriptor.GetOptions().Extensions[options_pb2.transparent])


def map_value_field(field: FieldDescriptor) -> FieldDescriptor | None:
    """Returns the field of a map's values, or None when the field is no map."""
    entry = field.message_type
    return entry.fields_by_name["value"] if entry is not None and entry.GetOptions().map_entry else None


def _writer(field: FieldDescriptor) -> Writer:
    name = field.name
    value_field = map_value_field(field)
    if value_field is not None:
        write_map = _map_writer(value_field)
        return lambda message, value: write_map(getattr(message, name), value)
    if field.is_repeated:
        write_list = _list_writer(field)
        return lambda message, value: write_list(getattr(message, name), value)
    if field.message_type is not None:
        fill = _filler(field.message_type)

        def write_message(message: Any, value: object) -> None:
            part = getattr(message, name)
            part.SetInParent()  # so that an empty one is present too
            fill(part, value)

        return write_message
    check = _scalar_check(field)
    return lambda message, value: setattr(message, name, check(value))


def _map_writer(value_field: FieldDescriptor) -> Writer:
    descriptor = value_field.message_type
    if descriptor is not None and descriptor.full_name == _ATTRIBUTE_VALUE:
        return lambda entries, value: fill_attributes(entries, _mapping(value))
    if descriptor is None:
        check = _scalar_check(value_field)

        def set_entry(entries: Any, name: str, value: object) -> None:
            entries[name] = check(value)
    else:
        fill = _filler(descriptor)

        def set_entry(entries: Any, name: str, value: object) -> None:
            fill(entries[name], value)

    def write(entries: Any, value: object) -> None:
        for name, element in _mapping(value).items():
            text = checked_text(name, what="a key")
            try:
                set_entry(entries, text, element)
            except Fault as fault:
                fault.at(text)
                raise

    return write


def _list_writer(field: FieldDescriptor) -> Writer:
    append: Writer
    if field.message_type is None:
        check = _scalar_check(field)

        def append(elements: Any, value: object) -> None:
            elements.append(check(value))
    else:
        fill = _filler(field.message_type)

        def append(elements: Any, value: object) -> None:
            fill(elements.add(), value)

    def write(elements: Any, value: object) -> None:
        if not isinstance(value, list | tuple):
            raise Fault(TypeError, f"must be a list or a tuple, not {type(value).__name__}")
        for index, element in enumerate(value):
            try:
                append(elements, element)
            except Fault as fault:
                fault.at(index)
                raise

    return write


def _filler(descriptor: Descriptor) -> Filler:
    if descriptor.full_name == _ATTRIBUTE_VALUE:
        return fill_value
    if descriptor.full_name == _TIMESTAMP:
        return _fill_timestamp
    if is_transparent(descriptor):
        return _writer(descriptor.fields[0])
    # Looked up when used, so that a message type may contain itself.
    return lambda message, value: converter(descriptor).fill(message, value)


def _reader(field: FieldDescriptor) -> Reader:
    value_field = map_value_field(field)
    if value_field is not None:
        descriptor = value_field.message_type
        if descriptor is None:
            return dict
        if descriptor.full_name == _ATTRIBUTE_VALUE:
            return plain_attributes
        read_entry = _message_reader(descriptor)
        return lambda entries: {name: read_entry(entries[name]) for name in entries}
    if field.message_type is None:
        return list if field.is_repeated else _as_it_is
    read = _message_reader(field.message_type)
    return (lambda elements: [read(element) for element in elements]) if field.is_repeated else read


def _message_reader(descriptor: Descriptor) -> Reader:
    if descriptor.full_name == _ATTRIBUTE_VALUE:
        return plain_value
    if descriptor.full_name == _TIMESTAMP:
        return plain_timestamp
    if is_transparent(descriptor):
        name = descriptor.fields[0].name
        read = _reader(descriptor.fields[0])
        return lambda message: read(getattr(message, name))
    return lambda message: converter(descriptor).plain(message)


def _as_it_is(value: Any) -> Any:
    return value


def _mapping(value: object) -> Mapping[object, object]:
    if not isinstance(value, Mapping):
        raise Fault(TypeError, f"must be a mapping, not {type(value).__name__}")
    return value


def _scalar_check(field: FieldDescriptor) -> Callable[[object], object]:
    if field.type == FieldDescriptor.TYPE_STRING:
        return checked_text
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _checked_bool
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return _checked_double
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _checked_bytes
    bound = 1 << (_INTEGER_BITS[field.type] - 1)
    return lambda value: _checked_integer(value, bound)


def _checked_bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise Fault(TypeError, f"must be a bool, not {type(value).__name__}")
    return value


def _checked_double(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Fault(TypeError, f"must be a float, not {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError as error:
        raise Fault(ValueError, "must fit a float") from error
    if not isfinite(number):
        raise Fault(ValueError, "must be a finite number")
    return number


def _checked_bytes(value: object) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise Fault(TypeError, f"must be bytes, not {type(value).__name__}")
    return bytes(value)


def _checked_integer(value: object, bound: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Fault(TypeError, f"must be an int, not {type(value).__name__}")
    if not -bound <= value < bound:
        raise Fault(ValueError, f"must lie between {-bound} and {bound - 1}")
    return value


def _fill_timestamp(target: Any, value: object) -> None:
    if not isinstance(value, datetime):
        raise Fault(TypeError, f"must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise Fault(ValueError, "must be a datetime with a time zone, for example datetime.now(UTC)")
    target.FromDatetime(value)


def plain_timestamp(source: Any) -> datetime:
    """Returns a protobuf Timestamp as a datetime in UTC."""
    moment: datetime = source.ToDatetime(tzinfo=UTC)
    return moment
