"""The handler of every AWS operation of the contract: identify, decode, call, encode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from awsidecar_server.api.contract import Rpc
from awsidecar_server.api.edge import Handler, Reply, Request
from awsidecar_server.aws.call import AwsCall
from awsidecar_server.aws.lane import Lane
from awsidecar_server.bridge import Codec, codec_of
from awsidecar_server.errors import AwsRejected, AwsUnreachable, SidecarError
from awsidecar_server.identity.gate import Gate


def operation(rpc: Rpc, gate: Gate, lane: Lane) -> Handler:
    """The handler of one RPC that names an AWS operation."""
    requests, replies = codec_of(rpc.request), codec_of(rpc.response)
    service, name = rpc.aws_service, rpc.aws_operation

    async def handle(request: Request) -> Reply:
        caller = await gate.identify(request.metadata)
        try:
            parameters = requests.decode(request.message)
            answer = await lane.call(caller, AwsCall(service, name, parameters, request.region))
            message = _encoded(replies, answer.members)
        except (AwsRejected, SidecarError) as failure:
            failure.tier = caller.tier.value
            raise
        return Reply(message, caller.tier.value, answer.request_id, answer.attempts)

    return handle


def _encoded(replies: Codec, members: Mapping[str, Any]) -> Message:
    try:
        return replies.encode(members)
    except (AttributeError, TypeError, ValueError) as unreadable:
        raise AwsUnreachable(
            "AWS's answer is not as its service model has it", cause="bad_response"
        ) from unreadable
