"""The services of the contract, read from their descriptors: adding an AWS operation is adding an RPC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, ServiceDescriptor

from awsidecar.credentials.v1 import credentials_pb2
from awsidecar.dynamodb.v1 import dynamodb_service_pb2, streams_service_pb2
from awsidecar.options.v1 import options_pb2

AWS_SERVICES: tuple[ServiceDescriptor, ...] = (
    dynamodb_service_pb2.DESCRIPTOR.services_by_name["DynamoDbService"],
    streams_service_pb2.DESCRIPTOR.services_by_name["DynamoDbStreamsService"],
)
CREDENTIALS_SERVICE: ServiceDescriptor = credentials_pb2.DESCRIPTOR.services_by_name["CredentialsService"]


@dataclass(frozen=True, slots=True)
class Rpc:
    """One RPC of the contract. `aws_service` and `aws_operation` are empty for the sidecar's own."""

    service: str
    method: str
    request: Descriptor
    response: Descriptor
    aws_service: str
    aws_operation: str


def rpcs(service: ServiceDescriptor) -> Iterator[Rpc]:
    """Every RPC of a service, in the order of the contract."""
    for method in service.methods:
        aws = method.GetOptions().Extensions[options_pb2.aws]
        yield Rpc(service.full_name, method.name, method.input_type, method.output_type, aws.service, aws.operation)
