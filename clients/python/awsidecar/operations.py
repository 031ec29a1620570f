"""The operations of the AWS services in the contract, made from the service descriptors."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from awsidecar.credentials.v1 import credentials_pb2
from awsidecar.dynamodb.v1 import dynamodb_service_pb2, streams_service_pb2
from awsidecar.messages import converter, map_value_field
from awsidecar.options.v1 import options_pb2
from awsidecar.pages import PAGINGS, Paging
from awsidecar.values import Fault

# AWS's idempotency tokens: the same one, sent again within some minutes, does nothing twice.
_TOKEN_MEMBERS = ("ClientRequestToken", "ClientToken")

# Lists and maps that AWS sends only when asked for; all others of a reply are there even when empty.
_ONLY_WHEN_ASKED = {"ConsumedCapacity", "ItemCollectionMetrics"}


@dataclass(frozen=True, slots=True)
class Method:
    """One gRPC method."""

    name: str
    path: str
    request_class: type[Message]
    response_class: type[Message]
    # Whether the contract says that calling it twice is calling it once.
    is_read: bool
    # Whether the caller sends a stream of requests, and whether it gets one of responses.
    takes_stream: bool = False
    gives_stream: bool = False

    @classmethod
    def of(cls, descriptor: MethodDescriptor) -> Method:
        level = descriptor.GetOptions().idempotency_level
        return cls(
            name=descriptor.name,
            path=f"/{descriptor.containing_service.full_name}/{descriptor.name}",
            request_class=GetMessageClass(descriptor.input_type),
            response_class=GetMessageClass(descriptor.output_type),
            is_read=level == MethodOptions.NO_SIDE_EFFECTS,
            takes_stream=descriptor.client_streaming,
            gives_stream=descriptor.server_streaming,
        )


@dataclass(frozen=True, slots=True)
class Operation:
    """One AWS operation: its method, and how its parameters and its reply look in Python."""

    method: Method
    attribute: str
    request: Descriptor
    response: Descriptor
    token_member: str | None
    paging: Paging | None
    empty_members: Mapping[str, type]

    @classmethod
    def of(cls, descriptor: MethodDescriptor) -> Operation:
        members = {field.json_name for field in descriptor.input_type.fields}
        return cls(
            method=Method.of(descriptor),
            attribute=snake_case(descriptor.name),
            request=descriptor.input_type,
            response=descriptor.output_type,
            token_member=next((name for name in _TOKEN_MEMBERS if name in members), None),
            paging=PAGINGS.get(descriptor.name),
            empty_members={field.json_name: _empty(field) for field in always_there(descriptor.output_type)},
        )

    def encode(self, parameters: Mapping[str, object]) -> Message:
        """Returns the request; raises TypeError or ValueError naming the parameter at fault.

        An idempotency token is made here, once for each call of the application: whatever sends the request again
        sends the same token.
        """
        if self.token_member is not None and self.token_member not in parameters:
            parameters = {**parameters, self.token_member: str(uuid.uuid4())}
        request = self.method.request_class()
        try:
            converter(self.request).fill(request, parameters)
        except Fault as fault:
            raise fault.error() from fault
        return request

    def decode(self, response: Message, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the reply under AWS's member names, with `ResponseMetadata`."""
        reply: dict[str, Any] = {name: empty() for name, empty in self.empty_members.items()}
        reply.update(converter(self.response).plain(response))
        reply["ResponseMetadata"] = facts
        return reply


def always_there(response: Descriptor) -> list[FieldDescriptor]:
    """Returns the lists and maps that a reply has even when they are empty."""
    return [field for field in response.fields if field.is_repeated and field.json_name not in _ONLY_WHEN_ASKED]


def snake_case(name: str) -> str:
    """`DescribeTimeToLive` -> `describe_time_to_live`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def operations_of(service: ServiceDescriptor) -> dict[str, Operation]:
    """Returns the AWS operations of one service by name, in the order of the contract."""
    methods = (method for method in service.methods if method.GetOptions().HasExtension(options_pb2.aws))
    return {method.name: Operation.of(method) for method in methods}


def own_methods_of(service: ServiceDescriptor) -> dict[str, Method]:
    """Returns the sidecar's own methods of one service by name, in the order of the contract."""
    methods = (method for method in service.methods if not method.GetOptions().HasExtension(options_pb2.aws))
    return {method.name: Method.of(method) for method in methods}


def _empty(field: FieldDescriptor) -> type:
    return dict if map_value_field(field) is not None else list


_DYNAMODB = dynamodb_service_pb2.DESCRIPTOR.services_by_name["DynamoDbService"]
_STREAMS = streams_service_pb2.DESCRIPTOR.services_by_name["DynamoDbStreamsService"]
_CREDENTIALS = credentials_pb2.DESCRIPTOR.services_by_name["CredentialsService"]

DYNAMODB = operations_of(_DYNAMODB)
STREAMS = operations_of(_STREAMS)
# What the sidecar has beside DynamoDB's operations.
OWN = own_methods_of(_DYNAMODB)
CREDENTIALS = own_methods_of(_CREDENTIALS)
METHODS = (
    *(operation.method for operation in (*DYNAMODB.values(), *STREAMS.values())),
    *OWN.values(),
    *CREDENTIALS.values(),
)
