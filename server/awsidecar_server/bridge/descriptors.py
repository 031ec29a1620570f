"""What the bridge asks of descriptors: which messages stand for something else, and what is in them."""

from __future__ import annotations

from functools import cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from awsidecar.options.v1 import options_pb2

_TIMESTAMP = Timestamp.DESCRIPTOR.full_name


def is_timestamp(descriptor: Descriptor) -> bool:
    return descriptor.full_name == _TIMESTAMP


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def map_value(field: FieldDescriptor) -> FieldDescriptor:
    """The field of a map's values."""
    assert field.message_type is not None
    return field.message_type.fields_by_name["value"]


def is_required(field: FieldDescriptor) -> bool:
    return bool(field.GetOptions().Extensions[options_pb2.required])


@cache
def transparent_field(descriptor: Descriptor) -> FieldDescriptor | None:
    """The only field of a transparent wrapper; None for any other message."""
    if not descriptor.GetOptions().Extensions[options_pb2.transparent]:
        return None
    (field,) = descriptor.fields
    return field


def oneofs(descriptor: Descriptor) -> tuple[OneofDescriptor, ...]:
    """The oneofs of the contract; protobuf has others of its own, one for each `optional` scalar."""
    return tuple(oneof for oneof in descriptor.oneofs if not oneof.name.startswith("_"))


def choice(descriptor: Descriptor) -> OneofDescriptor | None:
    """The oneof that is all there is in a message, as in an attribute value; None for any other message."""
    found = oneofs(descriptor)
    return found[0] if len(found) == 1 and len(found[0].fields) == len(descriptor.fields) else None
