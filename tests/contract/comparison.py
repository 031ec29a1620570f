"""Compares the contract with AWS's service models, operation by operation, member by member, type by type."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, MethodOptions

from contract import Contract, Rpc, is_required, is_transparent, map_entry

Field = FieldDescriptorProto
# A service model, a shape and an operation of botocore, which has no types.
Model = Any
Shape = Any

PACKAGE = ".awsidecar.dynamodb.v1"
TIMESTAMP = ".google.protobuf.Timestamp"
SCALARS = {
    "string": Field.TYPE_STRING,
    "integer": Field.TYPE_INT32,
    "long": Field.TYPE_INT64,
    "boolean": Field.TYPE_BOOL,
    "double": Field.TYPE_DOUBLE,
    "float": Field.TYPE_FLOAT,
    "blob": Field.TYPE_BYTES,
}
READS = re.compile(r"(Get|List|Describe|Query|Scan|BatchGet|TransactGet|Search)(?=[A-Z]|$)")
KEY = re.compile(r"Keys?$|KeyList$")
# AWS tells an empty list (restore no index) from an absent one (restore all), and a repeated field cannot.
LISTS_WITH_PRESENCE = frozenset(
    {"GlobalSecondaryIndexOverride", "LocalSecondaryIndexOverride", "VectorIndexOverride"}
)


def differences(contract: Contract, models: Mapping[str, Model]) -> list[str]:
    """One line for each difference; empty when the contract is AWS's."""
    found: dict[str, None] = {}
    rpcs: dict[tuple[str, str], Rpc] = {}
    for rpc in contract.rpcs():
        operation = (rpc.aws_service, rpc.aws_operation)
        if operation in rpcs:
            found[f"{rpc.method.name}: {operation[1]} of {operation[0]} has another RPC already"] = None
        rpcs[operation] = rpc
    for service, model in models.items():
        comparison = Comparison(contract, model)
        for name in model.operation_names:
            mirror = rpcs.pop((service, name), None)
            if mirror is None:
                found[f"{service}: no RPC for the operation {name}"] = None
            else:
                found.update(dict.fromkeys(comparison.operation(mirror, model.operation_model(name))))
    for service, name in rpcs:
        found[f"{service}: AWS has no operation {name}"] = None
    return list(found)


def snake_case(member: str) -> str:
    """`SSEKMSKeyArn` -> `ssekms_key_arn`, `ReplicaARNs` -> `replica_arns`, `S3BucketSource` -> `s3_bucket_source`."""
    name = re.sub(r"([A-Z]+)s(?=[A-Z]|$)", lambda plural: plural[1].capitalize() + "s", member)
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


class Comparison:
    """Compares with one service model.

    Structures that a request can hold are plain maps and lists as far as protobuf has them; those that only responses
    hold keep the presence of an item by `Item` and `Key`.
    """

    def __init__(self, contract: Contract, model: Model) -> None:
        self._messages = contract.messages()
        self._sent = set(_structures_sent(model))
        self._seen: set[tuple[str, str]] = set()

    def operation(self, rpc: Rpc, operation: Model) -> Iterator[str]:
        method, name = rpc.method, operation.name
        if method.name != name:
            yield f"{method.name}: should be called {name}, as the operation"
        if method.client_streaming or method.server_streaming:
            yield f"{name}: streams, but an operation of AWS is one request and one response"
        has_no_effects = method.options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS
        if has_no_effects != bool(READS.match(name)):
            yield f"{name}: idempotency_level should {'not ' * has_no_effects}be NO_SIDE_EFFECTS"
        for type_name, suffix, shape in (
            (method.input_type, "Request", operation.input_shape),
            (method.output_type, "Response", operation.output_shape),
        ):
            if type_name != f"{PACKAGE}.{name}{suffix}":
                yield f"{name}: {type_name[1:]} should be {name}{suffix}"
            elif shape is not None:
                yield from self._structure(type_name, shape)
            elif self._messages[type_name].field:
                yield f"{name}{suffix}: has fields, but AWS has no members"

    def _structure(self, type_name: str, shape: Shape) -> Iterator[str]:
        if (type_name, shape.name) in self._seen:
            return
        self._seen.add((type_name, shape.name))
        message = self._messages.get(type_name)
        if message is None:
            yield f"{type_name}: no such message"
            return
        fields = {field.json_name: field for field in message.field}
        for member, member_shape in shape.members.items():
            field = fields.pop(member, None)
            if field is None:
                yield f"{message.name}: no field for the member {member} ({member_shape.type_name})"
            else:
                yield from self._member(message, field, shape, member)
        for field in fields.values():
            yield f"{message.name}.{field.name}: AWS has no member {field.json_name}"

    def _member(self, message: DescriptorProto, field: Field, owner: Shape, member: str) -> Iterator[str]:
        where, shape = f"{message.name}.{field.name}", owner.members[member]
        if field.name != snake_case(member):
            yield f"{where}: should be called {snake_case(member)}, after the member {member}"
        if is_required(field) != (member in owner.required_members):
            yield f"{where}: {member} is {'not ' * is_required(field)}required by AWS"
        if owner.name == "AttributeValue":
            yield from self._variant(where, message, field, shape)
        elif _is_item(shape) and owner.name not in self._sent:
            yield from self._wrapped_item(where, field, KEY.search(member) is not None, shape)
        elif member in LISTS_WITH_PRESENCE:
            yield from self._wrapped(where, field, shape)
        else:
            if shape.type_name in SCALARS and not field.proto3_optional:
                yield f"{where}: should be optional, so that its absence shows"
            if field.HasField("oneof_index") and not field.proto3_optional:
                yield f"{where}: stands in a oneof, but AWS has plain members"
            yield from self._value(where, message, field, shape)

    def _variant(self, where: str, message: DescriptorProto, field: Field, shape: Shape) -> Iterator[str]:
        """A member of AttributeValue, which is a oneof: lists and maps need a wrapper in it."""
        if field.proto3_optional or not field.HasField("oneof_index"):
            yield f"{where}: should stand in the oneof"
        if shape.type_name in {"list", "map"}:
            yield from self._wrapped(where, field, shape)
        else:
            yield from self._value(where, message, field, shape)

    def _value(self, where: str, message: DescriptorProto, field: Field, shape: Shape) -> Iterator[str]:
        """A value where protobuf has a list or a map of its own."""
        entry = map_entry(message, field)
        if shape.type_name == "map":
            if entry is None:
                yield f"{where}: should be a map"
            elif entry.field[0].type != Field.TYPE_STRING:
                yield f"{where}: the keys of the map should be string"
            else:
                yield from self._element(f"{where}{{}}", entry, entry.field[1], shape, shape.value)
        elif shape.type_name == "list":
            if entry is not None or field.label != Field.LABEL_REPEATED:
                yield f"{where}: should be repeated"
            else:
                yield from self._element(f"{where}[]", message, field, shape, shape.member)
        elif field.label == Field.LABEL_REPEATED:
            yield f"{where}: should not be repeated"
        else:
            yield from self._single(where, field, shape)

    def _element(
        self, where: str, message: DescriptorProto, field: Field, owner: Shape, shape: Shape
    ) -> Iterator[str]:
        """A value inside a list or a map, where protobuf has neither."""
        if _is_item(shape):
            yield from self._wrapped_item(where, field, KEY.search(owner.name) is not None, shape)
        elif shape.type_name in {"list", "map"}:
            yield from self._wrapped(where, field, shape)
        else:
            yield from self._single(where, field, shape)

    def _single(self, where: str, field: Field, shape: Shape) -> Iterator[str]:
        if shape.type_name in SCALARS:
            if field.type != SCALARS[shape.type_name]:
                yield f"{where}: should be {_type_name(SCALARS[shape.type_name])}, not {_described(field)}"
            return
        expected = TIMESTAMP if shape.type_name == "timestamp" else f"{PACKAGE}.{shape.name}"
        if field.type_name != expected:
            yield f"{where}: should be {expected[1:]}, not {_described(field)}"
        elif shape.type_name == "structure":
            yield from self._structure(expected, shape)

    def _wrapped_item(self, where: str, field: Field, is_key: bool, shape: Shape) -> Iterator[str]:
        expected = f"{PACKAGE}.{'Key' if is_key else 'Item'}"
        if field.type_name != expected:
            yield f"{where}: should be {expected[1:]}, not {_described(field)}"
        else:
            yield from self._wrapped(where, field, shape)

    def _wrapped(self, where: str, field: Field, shape: Shape) -> Iterator[str]:
        """A list or a map in a message of its own, which the codec sees through."""
        wrapper = self._messages.get(field.type_name)
        if wrapper is None:
            yield f"{where}: should be a message around a {shape.type_name}, not {_described(field)}"
        elif not is_transparent(wrapper):
            yield f"{wrapper.name}: should be transparent"
        elif len(wrapper.field) != 1:
            yield f"{wrapper.name}: is transparent, so it should have exactly one field"
        else:
            inside = f"{wrapper.name}.{wrapper.field[0].name}"
            yield from self._value(inside, wrapper, wrapper.field[0], shape)


def _structures_sent(model: Model) -> Iterator[str]:
    """The structures that the requests of a service hold, at any depth."""
    pending = [model.operation_model(name).input_shape for name in model.operation_names]
    seen = set()
    while pending:
        shape = pending.pop()
        if shape is None or shape.name in seen:
            continue
        seen.add(shape.name)
        if shape.type_name == "structure":
            yield shape.name
            pending += shape.members.values()
        elif shape.type_name in {"list", "map"}:
            pending.append(shape.member if shape.type_name == "list" else shape.value)


def _is_item(shape: Shape) -> bool:
    return bool(shape.type_name == "map" and shape.value.name == "AttributeValue")


def _type_name(kind: int) -> str:
    return Field.Type.Name(kind).removeprefix("TYPE_").lower()  # type: ignore[arg-type]


def _described(field: Field) -> str:
    return field.type_name[1:] or _type_name(field.type)
