"""Protobuf requests as AWS parameters: what is required, what must have a value, and how a fault names its place.

The descriptor is all it needs: a field's `json_name` is AWS's member name, a message marked `transparent` stands for the
one value inside it, a field marked `required` must be there, and a `oneof` must have one member set. A field that is
absent is absent on the other side, and numbers (`N`) stay text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from awsidecar_server.bridge.descriptors import (
    choice,
    is_map,
    is_required,
    is_timestamp,
    map_value,
    oneofs,
    transparent_field,
)
from awsidecar_server.bridge.faults import Fault

Decode = Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Leaves:
    """How the values look that have no form of their own in JSON."""

    binary: Callable[[bytes], Any] = _same
    double: Callable[[float], Any] = _same
    moment: Callable[[datetime], Any] = _same


# As an AWS SDK for Python takes them: bytes, floats and datetimes.
PLAIN = Leaves()


class Parameters:
    """Converts the requests of one message type, all in the same form."""

    def __init__(self, descriptor: Descriptor, leaves: Leaves) -> None:
        self._name = descriptor.full_name
        self._leaves = leaves
        # The state below is written once, by `_compile`, and only read afterwards.
        self._decoders: dict[int, tuple[str, Decode]] = {}
        self._required: tuple[str, ...] = ()
        self._oneofs: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"<Parameters {self._name}>"

    def of(self, message: Message) -> dict[str, Any]:
        """Returns AWS's parameters; raises `InvalidRequest` naming the field at fault."""
        try:
            return self._decode(message)
        except Fault as fault:
            raise fault.as_request_error() from None

    def _compile(self, descriptor: Descriptor) -> None:
        for field in descriptor.fields:
            self._decoders[field.number] = (field.json_name, _decoder(field, self._leaves))
        self._required = tuple(f.json_name for f in descriptor.fields if is_required(f))
        self._oneofs = tuple((oneof.name, _choices(oneof.fields)) for oneof in oneofs(descriptor))

    def _decode(self, message: Message) -> dict[str, Any]:
        decoders = self._decoders
        members: dict[str, Any] = {}
        for field, value in message.ListFields():
            name, decode = decoders[field.number]
            try:
                members[name] = decode(value)
            except Fault as fault:
                raise fault.within(f".{name}") from None
        for name in self._required:
            if name not in members:
                raise Fault("is required").within(f".{name}")
        for name, choices in self._oneofs:
            if message.WhichOneof(name) is None:
                raise _no_value(choices)
        return members


_known: dict[tuple[str, Leaves], Parameters] = {}


def parameters_of(descriptor: Descriptor, leaves: Leaves = PLAIN) -> Parameters:
    """The converter of a message type, compiled at its first use."""
    key = (descriptor.full_name, leaves)
    found = _known.get(key)
    if found is None:
        # Known before it is compiled, because message types may contain themselves.
        found = _known[key] = Parameters(descriptor, leaves)
        found._compile(descriptor)
    return found


def _choices(fields: Sequence[FieldDescriptor]) -> str:
    return ", ".join(field.json_name for field in fields)


def _no_value(choices: str) -> Fault:
    return Fault(f"has no value; set exactly one of {choices}")


def _decoder(field: FieldDescriptor, leaves: Leaves) -> Decode:
    """Decodes the whole field: a map, a list or one value."""
    if is_map(field):
        return _map_decoder(_value_decoder(map_value(field), leaves))
    if field.is_repeated:
        return _list_decoder(_value_decoder(field, leaves))
    return _value_decoder(field, leaves)


def _value_decoder(field: FieldDescriptor, leaves: Leaves) -> Decode:
    """Decodes one value, whether it stands alone or in a list or map."""
    inner = field.message_type
    if inner is None:
        if field.type == field.TYPE_BYTES:
            return leaves.binary
        return leaves.double if field.type == field.TYPE_DOUBLE else _same
    if is_timestamp(inner):
        return lambda value: leaves.moment(_moment(value))
    wrapped = transparent_field(inner)
    if wrapped is not None:
        decode, name = _decoder(wrapped, leaves), wrapped.name
        return lambda value: decode(getattr(value, name))
    return _choice_decoder(inner, leaves) if choice(inner) else parameters_of(inner, leaves)._decode


_choice_decoders: dict[tuple[str, Leaves], Decode] = {}


def _choice_decoder(descriptor: Descriptor, leaves: Leaves) -> Decode:
    """Decodes a message that is one oneof. Nearly every message of a request is an attribute value, so it pays."""
    key = (descriptor.full_name, leaves)
    found = _choice_decoders.get(key)
    if found is not None:
        return found
    oneof = choice(descriptor)
    assert oneof is not None
    which, choices = oneof.name, _choices(oneof.fields)
    decoders: dict[str, tuple[str, Decode]] = {}

    def decode_choice(message: Any) -> dict[str, Any]:
        kind = message.WhichOneof(which)
        if kind is None:
            raise _no_value(choices)
        name, decode = decoders[kind]
        if decode is _same:
            return {name: getattr(message, kind)}
        try:
            return {name: decode(getattr(message, kind))}
        except Fault as fault:
            raise fault.within(f".{name}") from None

    # Known before its members are, because they may contain it.
    _choice_decoders[key] = decode_choice
    decoders.update((field.name, (field.json_name, _decoder(field, leaves))) for field in oneof.fields)
    return decode_choice


def _map_decoder(decode: Decode) -> Decode:
    if decode is _same:
        return dict

    def decode_map(entries: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key in entries:  # protobuf's `items` is a generator in Python, and slower
            try:
                found[key] = decode(entries[key])
            except Fault as fault:
                raise fault.within(f".{key}") from None
        return found

    return decode_map


def _list_decoder(decode: Decode) -> Decode:
    if decode is _same:
        return list

    def decode_list(values: Any) -> list[Any]:
        found: list[Any] = []
        for value in values:
            try:
                found.append(decode(value))
            except Fault as fault:
                raise fault.within(f"[{len(found)}]") from None
        return found

    return decode_list


def _moment(value: Timestamp) -> datetime:
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Fault("is not a time between the years 1 and 9999") from None
