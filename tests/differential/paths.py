"""The two ways that each request takes: the AWS SDK straight to DynamoDB, and gRPC through the sidecar."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session
from google.rpc import error_details_pb2, status_pb2
from tests.differential.requests import Parameters, Request

from awsidecar.dynamodb.v1 import attribute_value_pb2
from awsidecar.errors.v1 import errors_pb2
from awsidecar_server.bridge import codec_of
from awsidecar_server.contract import DYNAMODB_SERVICE, rpcs

REGION = "us-east-1"
OF_AWS, OF_SIDECAR = "AWS", "the sidecar"
RPCS = {rpc.aws_operation: rpc for rpc in rpcs(DYNAMODB_SERVICE)}
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
        replies = codec_of(rpc.response)
        method: Any = self._channel.unary_unary(
            f"/{rpc.service}/{rpc.method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=replies.message_class.FromString,
        )
        message = codec_of(rpc.request).encode(request.parameters)
        try:
            return replies.decode(method(message, timeout=_CALL_SECONDS, metadata=_WITH_ALL_DETAILS))
        except grpc.RpcError as failure:
            return _read_refusal(failure)


def _read_refusal(failure: Any) -> Refusal:
    trailers = dict(failure.trailing_metadata() or ())
    if "grpc-status-details-bin" not in trailers:
        return Refusal(str(failure.code()), failure.details() or "", 0, refused_by="gRPC")
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    info, condition = error_details_pb2.ErrorInfo(), errors_pb2.ConditionalCheckFailed()
    canceled = errors_pb2.TransactionCanceled()
    for detail in status.details:
        for known in (info, condition, canceled):
            if detail.Is(known.DESCRIPTOR):
                detail.Unpack(known)
    if info.domain == "awsidecar":
        return Refusal(info.reason, status.message, 0, refused_by=OF_SIDECAR)
    return Refusal(
        info.metadata["aws_error_code"],
        status.message,
        int(info.metadata["http_status"]),
        _item_of(condition),
        tuple({"Code": one.code, "Message": one.message, "Item": _item_of(one)} for one in canceled.reasons),
    )


def _item_of(holder: Any) -> Any:
    assert not holder.item_omitted
    if not holder.HasField("item"):
        return None
    return {name: _VALUES.decode(value) for name, value in holder.item.attributes.items()}
