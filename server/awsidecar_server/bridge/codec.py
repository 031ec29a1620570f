"""One compiled codec per message of the contract: protobuf message <-> the dict that an AWS SDK for Python takes.

Requests are read by `parameters`, whose rules hold both ways: `json_name` is AWS's member name, a transparent message
stands for the one value inside it, binary stays bytes, and what is absent is absent on the other side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from awsidecar_server.bridge.descriptors import is_map, is_timestamp, map_value, transparent_field
from awsidecar_server.bridge.parameters import parameters_of

# Sets field `name` of a message from an AWS value. Protobuf's lists, maps and messages are filled in place.
Assign = Callable[[Any, Any], None]


class Codec:
    """Converts one message type both ways."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._name = descriptor.full_name
        self._parameters = parameters_of(descriptor)
        self.message_class: type[Message] = GetMessageClass(descriptor)
        # Written once, by `_compile`, and only read afterwards.
        self._assigners: dict[str, Assign] = {}

    def __repr__(self) -> str:
        return f"<Codec {self._name}>"

    def _compile(self, descriptor: Descriptor) -> None:
        for field in descriptor.fields:
            self._assigners[field.json_name] = _assigner(field)

    def decode(self, message: Message) -> dict[str, Any]:
        """Returns AWS's parameters; raises `InvalidRequest` naming the field at fault."""
        return self._parameters.of(message)

    def encode(self, members: Mapping[str, Any]) -> Message:
        """Returns the message for AWS's members. A member that the contract does not know is left out."""
        message = self.message_class()
        self._fill(message, members)
        return message

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


def _assigner(field: FieldDescriptor) -> Assign:
    name = field.name
    inner = field.message_type
    if is_map(field):
        fill = _map_filler(map_value(field))
    elif field.is_repeated:
        fill = _list_filler(field)
    elif inner is None:
        return lambda message, value: setattr(message, name, value)
    else:
        fill = _message_filler(inner)

    def assign(message: Any, value: Any) -> None:
        fill(getattr(message, name), value)

    if inner is None or is_map(field) or field.is_repeated:
        return assign

    def assign_present(message: Any, value: Any) -> None:
        target = getattr(message, name)
        target.SetInParent()  # an empty message is present, too
        fill(target, value)

    return assign_present


def _message_filler(descriptor: Descriptor) -> Assign:
    """Fills a message that stands for one AWS value."""
    if is_timestamp(descriptor):
        return lambda message, value: message.FromDatetime(value)
    wrapped = transparent_field(descriptor)
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
