"""Which parameters a message of the contract can carry: what cannot be said through it is not compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from awsidecar_server.bridge.descriptors import (
    choice,
    is_map,
    is_required,
    is_timestamp,
    map_value,
    transparent_field,
)


def can_carry(descriptor: Descriptor, members: Mapping[str, Any]) -> bool:
    """False for members that the contract does not have, for values of two kinds, for empty lists and maps.

    A list or map that is empty is absent in protobuf. Where it is required, its absence is refused, which is compared.
    """
    if choice(descriptor) is not None and len(members) > 1:
        return False
    fields = {field.json_name: field for field in descriptor.fields}
    return all(name in fields and _field_can_carry(fields[name], value) for name, value in members.items())


def _field_can_carry(field: FieldDescriptor, value: Any) -> bool:
    if not field.is_repeated:
        return _can_carry_one(field, value)
    if not value:
        containing = field.containing_type
        is_whole_message = containing is not None and transparent_field(containing) is not None
        return is_whole_message or is_required(field)
    if is_map(field):
        return all(_can_carry_one(map_value(field), one) for one in value.values())
    return all(_can_carry_one(field, one) for one in value)


def _can_carry_one(field: FieldDescriptor, value: Any) -> bool:
    inner = field.message_type
    if inner is None or is_timestamp(inner):
        return True
    wrapped = transparent_field(inner)
    return _field_can_carry(wrapped, value) if wrapped is not None else can_carry(inner, value)


def without_empty_lists(descriptor: Descriptor, members: Mapping[str, Any]) -> dict[str, Any]:
    """A reply without the lists and maps that are empty, as the contract says it; other members as they are."""
    fields = {field.json_name: field for field in descriptor.fields}
    found: dict[str, Any] = {}
    for name, value in members.items():
        field = fields.get(name)
        if field is not None and field.is_repeated and not value:
            continue
        found[name] = _without_empty_lists(field, value) if field is not None else value
    return found


def _without_empty_lists(field: FieldDescriptor, value: Any) -> Any:
    held = map_value(field) if is_map(field) else field
    inner = held.message_type
    if inner is None or is_timestamp(inner) or choice(inner) is not None or transparent_field(inner) is not None:
        return value  # of an item, each list and map is a value that can be empty
    if is_map(field):
        return {key: without_empty_lists(inner, one) for key, one in value.items()}
    if field.is_repeated:
        return [without_empty_lists(inner, one) for one in value]
    return without_empty_lists(inner, value)
