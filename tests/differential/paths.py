"""The two ways that each request takes: the AWS SDK straight to DynamoDB, and gRPC through the sidecar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self

import grpc
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from tests.differential.requests import Parameters, Request

from awsidecar.dynamodb.v1 import attribute_value_pb2
from awsidecar.errors.v1 import errors_pb2
from awsidecar_server.bridge import codec_of
from awsidecar_server.contract import DOCUMENT_SERVICE, DYNAMODB_SERVICE, Rpc, rpcs

REGION = "us-east-1"
OF_AWS, OF_SIDECAR = "AWS", "the sidecar"
RPCS = {rpc.aws_operation: rpc for rpc in rpcs(DYNAMODB_SERVICE) if rpc.aws_operation}
# The sidecar's own beside them, by their names.
STREAMS = {rpc.method: rpc for rpc in rpcs(DYNAMODB_SERVICE) if not rpc.aws_operation}
DOCUMENTS = {rpc.method: rpc for rpc in rpcs(DOCUMENT_SERVICE)}
_MIB = 1024 * 1024
_CHANNEL = [
    ("grpc.max_send_message_length", 32 * _MIB),
    ("grpc.max_receive_message_length", 32 * _MIB),
    # Whole items come with refusals, in the trailers.
    ("grpc.max_metadata_size", 4 * _MIB),
    ("grpc.absolute_max_metadata_size", 4 * _MIB),
]
_WITH_ALL_DETAILS = (("x-awsidecar-max-details-bytes", str(_MIB)),)
_CALL_SECONDS = 60
_VALUES = codec_of(attribute_value_pb2.AttributeValue.DESCRIPTOR)


@dataclass(frozen=True)
class Refusal:
    """An error as far as the two ways can both tell it."""

    code: str
    message: str
    http_status: int
    # Of a failed condition; of a cancelled transaction, a reason for each action.
    item: Any = None
    reasons: tuple[Any, ...] = ()
    refused_by: str = field(default=OF_AWS, compare=False)


Outcome = Parameters | Refusal


class Pages(NamedTuple):
    """What a read gave until its end, or until it was refused."""

    pages: list[Any]
    refusal: Refusal | None = None


class Streamed(NamedTuple):
    """The messages of a stream, and how it failed."""

    responses: list[Any]
    refusal: Refusal | None = None


class Direct:
    """DynamoDB by way of botocore, which checks nothing itself and repeats nothing."""

    def __init__(self, endpoint: str, access_key_id: str) -> None:
        self._client = Session().create_client(
            "dynamodb",
            endpoint_url=endpoint,
            region_name=REGION,
            aws_access_key_id=access_key_id,
            aws_secret_access_key="any-secret-will-do",
            config=Config(
                parameter_validation=False, retries={"total_max_attempts": 1}, read_timeout=_CALL_SECONDS
            ),
        )
        self._methods = {operation: name for name, operation in self._client.meta.method_to_api_mapping.items()}

    def close(self) -> None:
        self._client.close()

    def send(self, request: Request) -> Outcome:
        try:
            reply = getattr(self._client, self._methods[request.operation])(**request.parameters)
        except ClientError as failure:
            return _as_refusal(failure.response)
        return _members(reply)

    def pages(self, request: Request) -> Pages:
        """All pages of a read, as botocore itself goes from one to the next where it knows how."""
        pages: list[Any] = []
        try:
            pages.extend(map(_members, self._replies(request)))
        except ClientError as failure:
            return Pages(pages, _as_refusal(failure.response))
        return Pages(pages)

    def _replies(self, request: Request) -> Iterator[Parameters]:
        name = self._methods[request.operation]
        if self._client.can_paginate(name):
            yield from self._client.get_paginator(name).paginate(**request.parameters)
            return
        parameters = request.parameters
        while True:
            reply = getattr(self._client, name)(**parameters)
            yield reply
            if not reply.get("NextToken"):
                return
            parameters = {**parameters, "NextToken": reply["NextToken"]}


def _members(reply: Parameters) -> Parameters:
    return {name: value for name, value in reply.items() if name != "ResponseMetadata"}


def _as_refusal(response: Parameters) -> Refusal:
    return Refusal(
        response["Error"].get("Code", ""),
        response["Error"].get("Message", ""),
        response["ResponseMetadata"]["HTTPStatusCode"],
        response.get("Item"),
        tuple(
            {"Code": one.get("Code", ""), "Message": one.get("Message") or "", "Item": one.get("Item")}
            for one in response.get("CancellationReasons", ())
        ),
    )


class ThroughSidecar:
    """DynamoDB by way of a running sidecar: messages out of the same parameters, and back."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.insecure_channel(target, options=_CHANNEL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def send(self, request: Request) -> Outcome:
        rpc = RPCS[request.operation]
        reply = self.call(rpc, codec_of(rpc.request).encode(request.parameters))
        return reply if isinstance(reply, Refusal) else codec_of(rpc.response).decode(reply)

    def call(self, rpc: Rpc, message: Message) -> Any:
        """The response, or a refusal."""
        try:
            return self._method("unary_unary", rpc)(message, timeout=_CALL_SECONDS, metadata=_WITH_ALL_DETAILS)
        except grpc.RpcError as failure:
            return _read_refusal(failure)

    def stream(self, rpc: Rpc, messages: Sequence[Message]) -> Streamed:
        """The stream that answers these messages: one, where the RPC takes one."""
        method = self._method("stream_stream" if rpc.takes_stream else "unary_stream", rpc)
        asked = iter(messages) if rpc.takes_stream else messages[0]
        responses: list[Any] = []
        try:
            responses.extend(method(asked, timeout=_CALL_SECONDS, metadata=_WITH_ALL_DETAILS))
        except grpc.RpcError as failure:
            return Streamed(responses, _read_refusal(failure))
        return Streamed(responses)

    def _method(self, kind: str, rpc: Rpc) -> Any:
        return getattr(self._channel, kind)(
            f"/{rpc.path}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(rpc.response).FromString,
        )


def _read_refusal(failure: Any) -> Refusal:
    trailers = dict(failure.trailing_metadata() or ())
    if "grpc-status-details-bin" not in trailers:
        return Refusal(str(failure.code()), failure.details() or "", 0, refused_by="gRPC")
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    return refusal_of(status.message, status.details)


def refusal_of(message: str, details: Iterable[Any]) -> Refusal:
    """What a status says, or the failure of one element of a batch."""
    info, condition = error_details_pb2.ErrorInfo(), errors_pb2.ConditionalCheckFailed()
    canceled = errors_pb2.TransactionCanceled()
    for detail in details:
        for known in (info, condition, canceled):
            if detail.Is(known.DESCRIPTOR):
                detail.Unpack(known)
    if info.domain == "awsidecar":
        return Refusal(info.reason, message, 0, refused_by=OF_SIDECAR)
    return Refusal(
        info.metadata["aws_error_code"],
        message,
        int(info.metadata["http_status"]),
        _item_of(condition),
        tuple({"Code": one.code, "Message": one.message, "Item": _item_of(one)} for one in canceled.reasons),
    )


def _item_of(holder: Any) -> Any:
    assert not holder.item_omitted
    if not holder.HasField("item"):
        return None
    return values_of(holder.item)


def values_of(item: Any) -> Parameters:
    """An item of the contract as the SDK has it."""
    return {name: _VALUES.decode(value) for name, value in item.attributes.items()}


@dataclass(frozen=True)
class Ways:
    """The ways of a run. Direct and through the sidecar, the same tables are others, in a database of their own."""

    direct: Direct
    sidecar: ThroughSidecar
    # Straight to the tables that the sidecar works on.
    behind_sidecar: Direct
