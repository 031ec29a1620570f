"""The contract as plain descriptors, read from the generated stubs: easy to compare, and easy to damage in a test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
)

from awsidecar.options.v1 import options_pb2

PROTO = Path(__file__).parents[2] / "proto"


@dataclass(frozen=True)
class Rpc:
    """One RPC, and the AWS operation that it names."""

    method: MethodDescriptorProto
    aws_service: str
    aws_operation: str


class Contract:
    """All files of the contract, indexed by what a comparison asks for."""

    def __init__(self, files: list[FileDescriptorProto]) -> None:
        self.files = files

    @classmethod
    def from_stubs(cls) -> Contract:
        files = []
        for path in sorted(PROTO.rglob("*.proto")):
            stub = ".".join(path.relative_to(PROTO).with_suffix("").parts) + "_pb2"
            file = FileDescriptorProto()
            import_module(stub).DESCRIPTOR.CopyToProto(file)
            files.append(file)
        return cls(files)

    def rpcs(self) -> Iterator[Rpc]:
        """The RPCs that are AWS operations; the others are the sidecar's own."""
        for file in self.files:
            for service in file.service:
                for method in service.method:
                    if method.options.HasExtension(options_pb2.aws):
                        aws = method.options.Extensions[options_pb2.aws]
                        yield Rpc(method, aws.service, aws.operation)

    def messages(self) -> dict[str, DescriptorProto]:
        """Each message by its full name, with the leading dot that references have."""
        return {f".{file.package}.{message.name}": message for file in self.files for message in file.message_type}


def is_transparent(message: DescriptorProto) -> bool:
    return message.options.Extensions[options_pb2.transparent]


def is_required(field: FieldDescriptorProto) -> bool:
    return field.options.Extensions[options_pb2.required]


def map_entry(message: DescriptorProto, field: FieldDescriptorProto) -> DescriptorProto | None:
    """The key and the value of a map field; None for any other field."""
    for nested in message.nested_type:
        if nested.options.map_entry and field.type_name.endswith(f".{message.name}.{nested.name}"):
            return nested
    return None
