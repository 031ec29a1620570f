"""One compiled codec per message of the contract: protobuf message <-> the dict that an AWS SDK for Python takes.

The descriptor is all it needs: a field's `json_name` is AWS's member name, a message marked `transparent` stands for the
one value inside it, a field marked `required` must be there, and a `oneof` must have one member set. Numbers (`N`)
stay text, binary stays bytes, and a field that is absent is absent on the other side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from awsidecar.options.v1 import options_pb2
from awsidecar_server.errors import FieldViolation, InvalidRequest

Decode = Callable[[Any], Any]
# Sets field `name` of a message from an AWS value. Protobuf's lists, maps and messages are filled in place.
Assign = Callable[[Any, Any], None]

_TIMESTAMP = Timestamp.DESCRIPTOR.full_name


class _Fault(Exception):
    """A field at fault, on its way up: each level puts its own name in front of the path."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path: list[str] = []

    def within(self, step: str) -> _Fault:
        self.path.append(step)
        return self

    def as_request_error(self) -> InvalidRequest:
        path = "".join(reversed(self.path)).removeprefix(".")
        return InvalidRequest(f"{path}: {self.problem}", FieldViolation(path, self.problem), field=path)


class Codec:
    """Converts one message type both ways."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._name = descriptor.full_name
        self.message_class: type[Message] = GetMessageClass(descriptor)
        # The state below is written once, by `_compile`, and only read afterwards.
        self._decoders: dict[int, tuple[str, Decode]] = {}
        self._assigners: dict[str, Assign] = {}
        self._required: tuple[FieldDescriptor, ...] = ()
        self._oneofs: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"<Codec {self._name}>"

    def _compile(self, descriptor: Descriptor) -> None:
        for field in descriptor.fields:
            self._decoders[field.number] = (field.json_name, _decoder(field))
            self._assigners[field.json_name] = _assigner(field)
        self._required = tuple(f for f in descriptor.fields if f.GetOptions().Extensions[options_pb2.required])
        self._oneofs = tuple(
            (oneof.name, ", ".join(f.json_name for f in oneof.fields))
            for oneof in descriptor.oneofs
            if not oneof.name.startswith("_")  # protobuf's own, one for each `optional` scalar
        )

    def decode(self, message: Message) -> dict[str, Any]:
        """Returns AWS's parameters; raises `InvalidRequest` naming the field at fault."""
        try:
            return self._to_aws(message)
        except _Fault as fault:
            raise fault.as_request_error() from None

    def encode(self, members: Mapping[str, Any]) -> Message:
        """Returns the message for AWS's members. A member that the contract does not know is left out."""
        message = self.message_class()
        self._fill(message, members)
        return message

    def _to_aws(self, message: Message) -> dict[str, Any]:
        decoders = self._decoders
        members: dict[str, Any] = {}
        for field, value in message.ListFields():
            name, decode = decoders[field.number]
            try:
                members[name] = decode(value)
            except _Fault as fault:
                raise fault.within(f".{name}") from None
        for field in self._required:
            if field.json_name not in members:
                raise _Fault("is required").within(f".{field.json_name}")
        for name, choices in self._oneofs:
            if message.WhichOneof(name) is None:
                raise _Fault(f"has no value; set exactly one of {choices}")
        return members

    def _fill(self, message: Message, members: Mapping[str, Any]) -> None:
        assigners = self._assigners
        for name, value in members.items():
            assign = assigners.get(name)
            if assign is not None and value is not None:
                assign(message, value)


_codecs: dict[str, Codec] = {}


def codec_of(descriptor: Descriptor) -> Codec:
    """The codec of a message type, compiled at its first use."""
    found = _codecs.get(descriptor.full_name)
    if found is None:
        # Known before it is compiled, because message types may contain themselves.
        found = _codecs[descriptor.full_name] = Codec(descriptor)
        found._compile(descriptor)
    return found


@cache
def _transparent_field(descriptor: Descriptor) -> FieldDescriptor | None:
    """The only field of a transparent wrapper; None for any other message."""
    if not descriptor.GetOptions().Extensions[options_pb2.transparent]:
        return None
    (field,) = descriptor.fields
    return field


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _map_value(field: FieldDescriptor) -> FieldDescriptor:
    assert field.message_type is not None
    return field.message_type.fields_by_name["value"]


def _same(value: Any) -> Any:
    return value


# --- protobuf -> AWS ---------------------------------------------------------------------------------------------


def _decoder(field: FieldDescriptor) -> Decode:
    """Decodes the whole field: a map, a list or one value."""
    if _is_map(field):
        return _map_decoder(_value_decoder(_map_value(field)))
    if field.is_repeated:
        return _list_decoder(_value_decoder(field))
    return _value_decoder(field)


def _value_decoder(field: FieldDescriptor) -> Decode:
    """Decodes one value, whether it stands alone or in a list or map."""
    inner = field.message_type
    if inner is None:
        return _same
    if inner.full_name == _TIMESTAMP:
        return _decode_timestamp
    wrapped = _transparent_field(inner)
    if wrapped is not None:
        decode, name = _decoder(wrapped), wrapped.name
        return lambda value: decode(getattr(value, name))
    return codec_of(inner)._to_aws


def _map_decoder(decode: Decode) -> Decode:
    if decode is _same:
        return dict

    def decode_map(entries: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in entries.items():
            try:
                found[key] = decode(value)
            except _Fault as fault:
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
            except _Fault as fault:
                raise fault.within(f"[{len(found)}]") from None
        return found

    return decode_list


def _decode_timestamp(value: Timestamp) -> datetime:
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise _Fault("is not a time between the years 1 and 9999") from None


# --- AWS -> protobuf ---------------------------------------------------------------------------------------------


def _assigner(field: FieldDescriptor) -> Assign:
    name = field.name
    inner = field.message_type
    if _is_map(field):
        fill = _map_filler(_map_value(field))
    elif field.is_repeated:
        fill = _list_filler(field)
    elif inner is None:
        return lambda message, value: setattr(message, name, value)
    else:
        fill = _message_filler(inner)

    def assign(message: Any, value: Any) -> None:
        fill(getattr(message, name), value)

    if inner is None or _is_map(field) or field.is_repeated:
        return assign

    def assign_present(message: Any, value: Any) -> None:
        target = getattr(message, name)
        target.SetInParent()  # an empty message is present, too
        fill(target, value)

    return assign_present


def _message_filler(descriptor: Descriptor) -> Assign:
    """Fills a message that stands for one AWS value."""
    if descriptor.full_name == _TIMESTAMP:
        return lambda message, value: message.FromDatetime(value)
    wrapped = _transparent_field(descriptor)
    if wrapped is not None:
        return _assigner(wrapped)
    return codec_of(descriptor)._fill


def _map_filler(value_field: FieldDescriptor) -> Assign:
    if value_field.message_type is None:
        return lambda entries, value: entries.update(value)
    fill = _message_filler(value_field.message_type)

    def fill_map(entries: Any, values: Mapping[str, Any]) -> None:
        for key, value in values.items():
            fill(entries[key], value)  # reading a key of a message map adds it

    return fill_map


def _list_filler(field: FieldDescriptor) -> Assign:
    if field.message_type is None:
        return lambda target, values: target.extend(values)
    fill = _message_filler(field.message_type)

    def fill_list(target: Any, values: list[Any]) -> None:
        for value in values:
            fill(target.add(), value)

    return fill_list
