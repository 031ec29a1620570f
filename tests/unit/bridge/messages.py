"""Messages of the contract made from their descriptors, each beside the AWS parameters that it must stand for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from awsidecar.options.v1 import options_pb2
from awsidecar_server.contract import aws_rpcs

NUMBERS = [
    "0",
    "-0",
    "1.0",
    "1E3",
    "-12.50",
    "0" * 5,
    "9" * 38,
    "1E-130",
    "-9.9999999999999999999999999999999999999E+125",
]
_MOST_OTHERS = 4

_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: st.text(max_size=6) | st.sampled_from(NUMBERS),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=6),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False),
}
# To the microsecond, which is as far as a datetime of Python goes.
_TIMES = st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31, 23, 59, 59, 999_999))  # noqa: DTZ001


def all_messages() -> dict[str, Descriptor]:
    """Every message that an AWS operation of the contract takes or gives, however deep, by its full name."""
    found: dict[str, Descriptor] = {}

    def visit(descriptor: Descriptor) -> None:
        if descriptor.full_name in found or descriptor.file.package == "google.protobuf":
            return
        if not descriptor.GetOptions().map_entry:
            found[descriptor.full_name] = descriptor
        for field in descriptor.fields:
            if field.message_type is not None:
                visit(field.message_type)

    for rpc in aws_rpcs():
        visit(rpc.request)
        visit(rpc.response)
    return found


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def is_required(field: FieldDescriptor) -> bool:
    return bool(field.GetOptions().Extensions[options_pb2.required])


def is_transparent(descriptor: Descriptor) -> bool:
    return bool(descriptor.GetOptions().Extensions[options_pb2.transparent])


def choices(descriptor: Descriptor) -> list[FieldDescriptor]:
    """The members of the message's own oneof; protobuf's, one for each optional scalar, do not count."""
    return [f for one in descriptor.oneofs if not one.name.startswith("_") for f in one.fields]


@st.composite
def pairs(draw: st.DrawFn, descriptor: Descriptor, depth: int = 4) -> tuple[Message, Any]:
    """A message, and the AWS value that it stands for: made side by side, neither from the other."""
    message = GetMessageClass(descriptor)()
    return message, _fill(draw, message, descriptor, depth)


def _fill(draw: st.DrawFn, message: Any, descriptor: Descriptor, depth: int) -> Any:
    if descriptor.full_name == "google.protobuf.Timestamp":
        moment = draw(_TIMES).replace(tzinfo=UTC)
        message.FromDatetime(moment)
        return moment
    if is_transparent(descriptor):
        (field,) = descriptor.fields
        return _set(draw, message, field, depth, least=0)
    return {f.json_name: _set(draw, message, f, depth - 1, least=1) for f in _chosen(draw, descriptor, depth)}


def _chosen(draw: st.DrawFn, descriptor: Descriptor, depth: int) -> Iterator[FieldDescriptor]:
    alternatives = choices(descriptor)
    if alternatives:
        yield draw(st.sampled_from([f for f in alternatives if depth > 0 or f.message_type is None]))
    others: list[FieldDescriptor] = []
    for field in descriptor.fields:
        if is_required(field):
            yield field
        elif field not in alternatives and (depth > 0 or field.message_type is None):
            others.append(field)
    if others:
        yield from draw(st.lists(st.sampled_from(others), max_size=_MOST_OTHERS, unique_by=lambda f: f.number))


def _set(draw: st.DrawFn, message: Any, field: FieldDescriptor, depth: int, *, least: int) -> Any:
    """Sets the whole field. A bare list or map is given something: without, it would be absent."""
    if is_map(field):
        return _set_map(draw, getattr(message, field.name), field, depth, least)
    if field.is_repeated:
        size = draw(st.integers(least, 2 if depth > 0 else least))
        target = getattr(message, field.name)
        if field.message_type is not None:
            return [_fill(draw, target.add(), field.message_type, depth) for _ in range(size)]
        values = [draw(_SCALARS[field.type]) for _ in range(size)]
        target.extend(values)
        return values
    if field.message_type is not None:
        target = getattr(message, field.name)
        target.SetInParent()
        return _fill(draw, target, field.message_type, depth)
    value = draw(_SCALARS[field.type])
    setattr(message, field.name, value)
    return value


def _set_map(draw: st.DrawFn, entries: Any, field: FieldDescriptor, depth: int, least: int) -> dict[str, Any]:
    assert field.message_type is not None
    value_field = field.message_type.fields_by_name["value"]
    keys = draw(st.lists(st.text(max_size=4), min_size=least, max_size=2 if depth > 0 else least, unique=True))
    members: dict[str, Any] = {}
    for key in keys:
        if value_field.message_type is not None:
            members[key] = _fill(draw, entries[key], value_field.message_type, depth)
        else:
            members[key] = entries[key] = draw(_SCALARS[value_field.type])
    return members
