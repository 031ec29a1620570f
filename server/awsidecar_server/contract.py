"""The services of the contract, read from their descriptors: adding an AWS operation is adding an RPC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, ServiceDescriptor

from awsidecar.credentials.v1 import credentials_pb2
from awsidecar.documents.v1 import document_service_pb2
from awsidecar.dynamodb.v1 import dynamodb_service_pb2, streams_service_pb2
from awsidecar.options.v1 import options_pb2

DYNAMODB_SERVICE: ServiceDescriptor = dynamodb_service_pb2.DESCRIPTOR.services_by_name["DynamoDbService"]
STREAMS_SERVICE: ServiceDescriptor = streams_service_pb2.DESCRIPTOR.services_by_name["DynamoDbStreamsService"]
# The services with AWS's operations, which may have RPCs of the sidecar's own beside them.
AWS_SERVICES = (DYNAMODB_SERVICE, STREAMS_SERVICE)
CREDENTIALS_SERVICE: ServiceDescriptor = credentials_pb2.DESCRIPTOR.services_by_name["CredentialsService"]
DOCUMENT_SERVICE: ServiceDescriptor = document_service_pb2.DESCRIPTOR.services_by_name["DocumentService"]
SERVICES = (*AWS_SERVICES, CREDENTIALS_SERVICE, DOCUMENT_SERVICE)


@dataclass(frozen=True, slots=True)
class Rpc:
    """One RPC of the contract. `aws_service` and `aws_operation` are empty for the sidecar's own."""

    service: str
    method: str
    request: Descriptor
    response: Descriptor
    aws_service: str = ""
    aws_operation: str = ""
    # Whether the caller sends a stream of requests, and whether it gets one of responses.
    takes_stream: bool = False
    gives_stream: bool = False

    @property
    def path(self) -> str:
        """As gRPC names it, without the leading slash."""
        return f"{self.service}/{self.method}"


def rpcs(service: ServiceDescriptor) -> Iterator[Rpc]:
    """Every RPC of a service, in the order of the contract."""
    for method in service.methods:
        aws = method.GetOptions().Extensions[options_pb2.aws]
        yield Rpc(
            service.full_name,
            method.name,
            method.input_type,
            method.output_type,
            aws.service,
            aws.operation,
            method.client_streaming,
            method.server_streaming,
        )


def aws_rpcs() -> Iterator[Rpc]:
    """Every AWS operation of the contract."""
    return (rpc for service in AWS_SERVICES for rpc in rpcs(service) if rpc.aws_operation)
