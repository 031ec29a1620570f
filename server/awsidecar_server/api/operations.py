"""The handler of every AWS operation of the contract: identify, decode, call, encode."""

from __future__ import annotations

from awsidecar_server.api.contract import Rpc
from awsidecar_server.api.edge import Handler, Reply, Request
from awsidecar_server.aws.call import AwsCall
from awsidecar_server.aws.lane import Lane
from awsidecar_server.bridge import codec_of
from awsidecar_server.identity.gate import Gate


def operation(rpc: Rpc, gate: Gate, lane: Lane) -> Handler:
    """The handler of one RPC that names an AWS operation."""
    requests, replies = codec_of(rpc.request), codec_of(rpc.response)
    service, name = rpc.aws_service, rpc.aws_operation

    async def handle(request: Request) -> Reply:
        caller = await gate.identify(request.metadata)
        parameters = requests.decode(request.message)
        answer = await lane.call(caller, AwsCall(service, name, parameters, request.region, request.deadline))
        return Reply(replies.encode(answer.members), caller.tier.value, answer.request_id, answer.attempts)

    return handle
