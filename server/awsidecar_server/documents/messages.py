"""Whole messages of plain JSON as AWS's, and back: fields of the same name hold the same, in the form of their side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct

from awsidecar.dynamodb.v1.attribute_value_pb2 import Item
from awsidecar_server.bridge.faults import Fault
from awsidecar_server.documents.values import NotExact, to_attributes, to_struct
from awsidecar_server.errors import InvalidRequest, NumberNotExact

_LARGE_NUMBERS = "large_numbers"
# Whether a number that a double does not hold exactly may be text.
_LARGE_AS_TEXT = {"ERROR": False, "STRING": True}

# Takes the message, its counterpart, and the name of the field in both.
_Copy = Callable[[Any, Any, str], None]


class Requests:
    """Turns the requests of one RPC into those of its AWS operation."""

    def __init__(self, plain: Descriptor, aws: Descriptor) -> None:
        self._class = GetMessageClass(aws)
        # What is not AWS's is the sidecar's own, and does not go to AWS.
        self._copies = {
            field.name: _request_copy(field) for field in plain.fields if field.name in aws.fields_by_name
        }

    def of(self, message: Message) -> Message:
        """AWS's request; raises `InvalidRequest` naming the value at fault."""
        request = self._class()
        self.write(message, request)
        return request

    def write(self, message: Message, request: Message) -> None:
        """Writes AWS's request into an empty message; raises `InvalidRequest` naming the value at fault."""
        for field, _ in message.ListFields():
            copy = self._copies.get(field.name)
            if copy is None:
                continue
            try:
                copy(message, request, field.name)
            except Fault as fault:
                raise fault.within(f".{field.json_name}").as_request_error() from None


class Replies:
    """Turns the answers of an AWS operation into those of its RPC."""

    def __init__(self, plain: Descriptor, aws: Descriptor) -> None:
        self.aws_class = GetMessageClass(aws)
        self._class = GetMessageClass(plain)
        self._copies = {field.name: _reply_copy(aws.fields_by_name[field.name], plain) for field in plain.fields}

    def of(self, answer: Message, *, large_as_text: bool) -> Message:
        """The reply; raises `NumberNotExact` naming a number in an item that it may not write as text."""
        reply = self._class()
        for field, _ in answer.ListFields():
            copy = self._copies.get(field.name)
            if copy is None:
                continue
            try:
                copy(answer, reply, field.name, large_as_text)
            except NotExact as fault:
                raise NumberNotExact(fault.within(f".{field.json_name}").path) from None
        return reply


def allows_large_as_text(message: Any, path: str = "LargeNumbers") -> bool:
    """Whether the caller takes a number that a double does not hold exactly as text; `path` is where it says so."""
    if _LARGE_NUMBERS not in message.DESCRIPTOR.fields_by_name:
        return True  # a write, which is done by the time of its answer
    if not message.HasField(_LARGE_NUMBERS):
        return False
    allowed = _LARGE_AS_TEXT.get(message.large_numbers)
    if allowed is None:
        raise InvalidRequest.of(path, f"must be one of {', '.join(_LARGE_AS_TEXT)}")
    return allowed


def _request_copy(field: FieldDescriptor) -> _Copy:
    if field.message_type is None:
        return lambda message, request, name: setattr(request, name, getattr(message, name))
    if field.message_type.full_name == Struct.DESCRIPTOR.full_name:
        return lambda message, request, name: to_attributes(getattr(message, name), getattr(request, name))
    return lambda message, request, name: getattr(request, name).MergeFrom(getattr(message, name))


def _reply_copy(field: FieldDescriptor, plain: Descriptor) -> Callable[[Any, Any, str, bool], None]:
    if field.message_type is None:
        return lambda answer, reply, name, _: setattr(reply, name, getattr(answer, name))
    target = plain.fields_by_name[field.name].message_type
    if target is None or target.full_name != Struct.DESCRIPTOR.full_name:
        return lambda answer, reply, name, _: getattr(reply, name).CopyFrom(getattr(answer, name))
    if field.is_repeated:
        return _copy_items
    # A key that is no item is where to resume, which must be as it was.
    is_item = field.message_type.full_name == Item.DESCRIPTOR.full_name
    return _copy_item if is_item else _copy_key


def _copy_items(answer: Any, reply: Any, name: str, large_as_text: bool) -> None:
    target = getattr(reply, name)
    for place, item in enumerate(getattr(answer, name)):
        try:
            to_struct(item.attributes, target.add(), large_as_text=large_as_text)
        except NotExact as fault:
            raise fault.within(f"[{place}]") from None


def _copy_item(answer: Any, reply: Any, name: str, large_as_text: bool) -> None:
    target = getattr(reply, name)
    target.SetInParent()
    to_struct(getattr(answer, name).attributes, target, large_as_text=large_as_text)


def _copy_key(answer: Any, reply: Any, name: str, large_as_text: bool) -> None:
    _copy_item(answer, reply, name, large_as_text=True)
