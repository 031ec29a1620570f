"""The handlers of the AWS operations of the contract: identify, decode, call, encode."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

from google.protobuf.message import Message

from awsidecar_server.api.contract import Rpc
from awsidecar_server.api.edge import Handler, Reply, Request
from awsidecar_server.aws.call import AwsCall, Carrier
from awsidecar_server.aws.idempotency import Nature, nature_of
from awsidecar_server.aws.json_calls import TOKENS, JsonCall
from awsidecar_server.aws.json_sender import JsonSender
from awsidecar_server.aws.lane import Lane
from awsidecar_server.bridge import Codec, UnreadableReply, codec_of, json_replies_of, json_requests_of
from awsidecar_server.errors import AwsRejected, AwsUnreachable, SidecarError
from awsidecar_server.identity.gate import Gate

ResultT = TypeVar("ResultT")

# What is larger is converted in a thread, so that the others' calls go on meanwhile (it takes about 20 ms per MiB).
_LARGE_BYTES = 128 * 1024
_converters = ThreadPoolExecutor(2, thread_name_prefix="convert")


def json_operation(rpc: Rpc, gate: Gate, lane: Lane, sender: JsonSender) -> Handler:
    """The handler of an operation that goes the sidecar's own way, in AWS's JSON."""
    requests, replies = json_requests_of(rpc.request), json_replies_of(rpc.response)
    service, name, token = rpc.aws_service, rpc.aws_operation, TOKENS.get(rpc.aws_operation)

    async def handle(request: Request) -> Reply:
        caller = await gate.identify(request.metadata)
        try:
            absent = {token: str(uuid4())} if token else {}
            written = await _converted(partial(requests.write, request.message, absent), request.size)
            call = JsonCall(service, name, written.body, written.members, request.region, request.deadline)
            answer = await lane.call(caller, partial(sender.post, call))
            try:
                message = await _converted(partial(replies.write, answer.body), len(answer.body))
            except UnreadableReply as unreadable:
                # AWS said that it has done it.
                wrote = nature_of(name, lambda: written.members) is not Nature.READ
                raise UnreadableReply(attempts=answer.attempts, ambiguous=wrote) from unreadable
        except (AwsRejected, SidecarError) as failure:
            failure.tier = caller.tier.value
            raise
        return Reply(message, caller.tier.value, answer.request_id, answer.attempts)

    return handle


def sdk_operation(rpc: Rpc, gate: Gate, lane: Lane, carrier: Carrier) -> Handler:
    """The handler of an operation that goes by way of the SDK: the reference."""
    requests, replies = codec_of(rpc.request), codec_of(rpc.response)
    service, name = rpc.aws_service, rpc.aws_operation

    async def handle(request: Request) -> Reply:
        caller = await gate.identify(request.metadata)
        try:
            parameters = await _converted(partial(requests.decode, request.message), request.size)
            call = AwsCall(service, name, parameters, request.region)
            answer = await lane.call(caller, partial(carrier.send, call))
            message = _encoded(replies, answer.members)
        except (AwsRejected, SidecarError) as failure:
            failure.tier = caller.tier.value
            raise
        return Reply(message, caller.tier.value, answer.request_id, answer.attempts)

    return handle


async def _converted(convert: Callable[[], ResultT], size: int) -> ResultT:
    if size < _LARGE_BYTES:
        return convert()
    return await asyncio.get_running_loop().run_in_executor(_converters, convert)


def _encoded(replies: Codec, members: Mapping[str, Any]) -> Message:
    try:
        return replies.encode(members)
    except (AttributeError, TypeError, ValueError) as unreadable:
        raise AwsUnreachable(
            "AWS's answer is not as its service model has it", cause="bad_response"
        ) from unreadable
