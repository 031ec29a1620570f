"""Replies of AWS's JSON protocol as protobuf wire bytes, written from the parsed JSON without messages in between.

Writers are compiled once per message from its descriptor. A reply of another shape than the contract's is refused as a
whole; members that the contract does not know are left out, and null is absence.
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from awsidecar_server.bridge import wire
from awsidecar_server.bridge.attributes import ChoiceMap, Choices, Write
from awsidecar_server.bridge.descriptors import choice, is_map, is_timestamp, map_value, transparent_field
from awsidecar_server.bridge.pages import PIECE_BYTES, LongList
from awsidecar_server.errors import AwsUnreachable

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# How AWS writes the numbers that JSON has no word for.
_BEYOND_JSON = ("NaN", "Infinity", "-Infinity")


class UnreadableReply(AwsUnreachable):
    """AWS answered something that is not a reply of the operation."""

    def __init__(self, *, attempts: int = 0, ambiguous: bool = False) -> None:
        super().__init__(
            "AWS's answer could not be read", cause="bad_response", attempts=attempts, ambiguous=ambiguous
        )


class JsonReplies:
    """Writes the replies of one message type."""

    def __init__(self, descriptor: Descriptor, piece_bytes: int = PIECE_BYTES) -> None:
        self._write = _message_writer(descriptor)
        self._has_members = bool(descriptor.fields)
        self._write_items: Write | None = None
        for field in descriptor.fields:
            choices = _choices_of_items(field)
            if choices is not None:
                self._items = LongList(field.json_name, (*choices.texts, *choices.others), piece_bytes)
                self._write_items = _field_writer(field)

    def write(self, body: bytes) -> bytes:
        """Returns the message's wire bytes; raises `UnreadableReply` for anything but such a reply."""
        try:
            if self._write_items is not None and self._items.is_long(body):
                with suppress(ValueError):  # to be read as a whole
                    return self._in_pieces(body, self._write_items)
            # Nothing at all is the answer of operations that answer nothing.
            return self._write(orjson.loads(body) if body or self._has_members else {})
        # A value of the wrong JSON type has no method of the right one, or is refused by a check. What nests too deep
        # ends as RecursionError.
        except (AttributeError, OSError, OverflowError, RecursionError, TypeError, ValueError) as wrong:
            raise UnreadableReply from wrong

    def _in_pieces(self, body: bytes, write_items: Write) -> bytes:
        rest, pieces = self._items.taken_out(body)
        return b"".join([*map(write_items, pieces), self._write(rest)])


@cache
def json_replies_of(descriptor: Descriptor) -> JsonReplies:
    """The writer of a message type, compiled at its first use."""
    return JsonReplies(descriptor)


# Each message type is compiled once. It is known before its fields are, because message types may contain themselves.
_members: dict[str, dict[str, Write]] = {}
_choices: dict[str, Choices] = {}


def _message_writer(descriptor: Descriptor) -> Write:
    """Writes the content of a message, without tag or size."""
    writers = _members.get(descriptor.full_name)
    if writers is None:
        writers = _members[descriptor.full_name] = {}
        writers.update((field.json_name, _field_writer(field)) for field in descriptor.fields)

    def write_message(members: Mapping[str, Any]) -> bytes:
        parts = []
        for name, value in members.items():
            if value is not None and name in writers:
                parts.append(writers[name](value))
        return b"".join(parts)

    return write_message


def _choices_of(descriptor: Descriptor) -> Choices:
    found = _choices.get(descriptor.full_name)
    if found is None:
        found = _choices[descriptor.full_name] = Choices()
        texts = [field for field in descriptor.fields if field.type == field.TYPE_STRING]
        found.texts.update((field.json_name, wire.tag(field.number, wire.DELIMITED)) for field in texts)
        # After the texts, which maps of these choices ask for when they are made.
        others = [field for field in descriptor.fields if field not in texts]
        found.others.update((field.json_name, _field_writer(field)) for field in others)
    return found


def _choices_of_items(field: FieldDescriptor) -> Choices | None:
    """What the items of a list of items hold; None for any other field."""
    if not field.is_repeated or is_map(field) or field.message_type is None:
        return None
    attributes = transparent_field(field.message_type)
    if attributes is None or not is_map(attributes):
        return None
    value = map_value(attributes).message_type
    return _choices_of(value) if value is not None and choice(value) else None


def _field_writer(field: FieldDescriptor) -> Write:
    """Writes a whole field, with its tags: a map, a list or one value."""
    if is_map(field):
        return _map_writer(field)
    if field.is_repeated:
        return _list_writer(field)
    return _value_writer(field)


def _value_writer(field: FieldDescriptor) -> Write:
    """Writes one value with its tag, whether it stands alone or in a list or map."""
    wire_type, write = wire.wire_type(field), _content_writer(field)
    head = wire.tag(field.number, wire_type)
    if wire_type == wire.DELIMITED:
        return wire.delimited(head, write)
    return lambda value: head + write(value)


def _content_writer(field: FieldDescriptor) -> Write:
    """Writes one value without its tag."""
    inner = field.message_type
    if inner is None:
        return _SCALARS[field.type]
    if is_timestamp(inner):
        return _timestamp
    wrapped = transparent_field(inner)
    if wrapped is not None:
        return _field_writer(wrapped)
    return _choices_of(inner).write if choice(inner) else _message_writer(inner)


def _map_writer(field: FieldDescriptor) -> Write:
    value_field = map_value(field)
    if value_field.message_type is not None and choice(value_field.message_type):
        return ChoiceMap(field.number, _choices_of(value_field.message_type)).write
    write_key, write_value = wire.delimited(wire.tag(1, wire.DELIMITED), _text), _value_writer(value_field)

    def content(entry: tuple[str, Any]) -> bytes:
        name, value = entry
        return write_key(name) + write_value(value)

    write_entry = wire.delimited(wire.tag(field.number, wire.DELIMITED), content)

    def write_map(entries: Mapping[str, Any]) -> bytes:
        return b"".join([write_entry(entry) for entry in entries.items()])

    return write_map


def _list_writer(field: FieldDescriptor) -> Write:
    if field.message_type is not None and choice(field.message_type):
        return _choices_of(field.message_type).list_writer(field.number)
    is_packed = wire.wire_type(field) != wire.DELIMITED
    write = _content_writer(field) if is_packed else _value_writer(field)

    def write_list(values: Any) -> bytes:
        if type(values) is not list:
            raise TypeError("no list")
        return b"".join([write(value) for value in values])

    return wire.delimited(wire.tag(field.number, wire.DELIMITED), write_list) if is_packed else write_list


# --- one value -----------------------------------------------------------------------------------------------------


def _text(value: Any) -> bytes:
    text: bytes = value.encode()  # of all that JSON has, only text can be encoded
    return text


def _binary(value: Any) -> bytes:
    return a2b_base64(value, strict_mode=True)


def _bool(value: Any) -> bytes:
    if type(value) is not bool:
        raise TypeError("no bool")
    return b"\x01" if value else b"\x00"


def _integer(bits: int) -> Write:
    bound = 1 << (bits - 1)

    def write_integer(value: Any) -> bytes:
        if type(value) is not int or not -bound <= value < bound:
            raise TypeError(f"no integer of {bits} bits")
        return wire.signed(value)

    return write_integer


def _double(value: Any) -> bytes:
    if type(value) not in {float, int} and value not in _BEYOND_JSON:
        raise TypeError("no number")
    return wire.double(float(value))


def _timestamp(value: Any) -> bytes:
    """Epoch seconds, rounded to the microsecond as AWS's SDKs for Python do it, or a time in ISO 8601."""
    since = _moment(value) - _EPOCH
    return (
        wire.tag(1, wire.VARINT)
        + wire.signed(since.days * 86_400 + since.seconds)
        + wire.tag(2, wire.VARINT)
        + wire.varint(since.microseconds * 1_000)
    )


def _moment(value: Any) -> datetime:
    if type(value) in {int, float}:
        return datetime.fromtimestamp(value, UTC)
    if type(value) is not str:
        raise TypeError("no time")
    try:
        return datetime.fromtimestamp(float(value), UTC)
    except ValueError:
        moment = datetime.fromisoformat(value)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


_SCALARS: dict[int, Callable[[Any], bytes]] = {
    FieldDescriptor.TYPE_BOOL: _bool,
    FieldDescriptor.TYPE_BYTES: _binary,
    FieldDescriptor.TYPE_DOUBLE: _double,
    FieldDescriptor.TYPE_INT32: _integer(32),
    FieldDescriptor.TYPE_INT64: _integer(64),
    FieldDescriptor.TYPE_STRING: _text,
}
