"""Performs the AWS operations of the contract for a caller: protobuf in, protobuf out, by one of the two ways to AWS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar, cast
from uuid import uuid4

from google.protobuf.message import Message

from awsidecar_server.aws.call import AwsCall, Carrier
from awsidecar_server.aws.json_calls import TOKENS, JsonCall
from awsidecar_server.aws.json_sender import JsonSender
from awsidecar_server.aws.lane import Lane
from awsidecar_server.aws.progress import Progress
from awsidecar_server.bridge import Codec, UnreadableReply, codec_of, json_replies_of, json_requests_of
from awsidecar_server.bridge.depth import parse
from awsidecar_server.contract import Rpc
from awsidecar_server.errors import AwsRejected, AwsUnreachable, SidecarError
from awsidecar_server.identity.credentials import Caller

ResultT = TypeVar("ResultT")
MessageT = TypeVar("MessageT", bound=Message)

# What is larger is converted in a thread, so that the others' calls go on meanwhile (it takes about 20 ms per MiB).
_LARGE_BYTES = 128 * 1024
_converters = ThreadPoolExecutor(2, thread_name_prefix="convert")


@dataclass(frozen=True, slots=True)
class Scope:
    """For whom a call is made, in which region, and until when."""

    caller: Caller
    region: str
    # On the event loop's clock. None: the caller set no deadline.
    deadline: float | None = None
    # Of whatever the calls are made for. It absorbs each call that fails or is cut.
    progress: Progress = field(default_factory=Progress, compare=False)
    # How often a call is tried that is in another transaction's way; 0: once. The SDK's way knows of no such thing.
    conflict_attempts: int = 0


@dataclass(frozen=True, slots=True)
class Performed:
    """What AWS answered."""

    # A message, or one that is written already.
    message: Message | bytes = field(repr=False)
    request_id: str
    attempts: int
    progress: Progress = field(default_factory=Progress, compare=False)

    @property
    def size(self) -> int:
        """Of the answer, in bytes."""
        return len(self.message) if isinstance(self.message, bytes) else self.message.ByteSize()

    def read(self, message_class: type[MessageT]) -> MessageT:
        """The answer as a message of the operation's response class."""
        if isinstance(self.message, bytes):
            return cast(MessageT, parse(message_class, self.message))
        assert isinstance(self.message, message_class)
        return self.message


class Operation(Protocol):
    """One AWS operation. Errors are those of `awsidecar_server.errors`, and name the tier that signed."""

    async def perform(self, message: Message, scope: Scope, size: int) -> Performed:
        """Performs the operation once, retries included. `size` is that of the message, in bytes."""


class JsonOperation:
    """An operation that goes the sidecar's own way, in AWS's JSON."""

    def __init__(self, rpc: Rpc, lane: Lane, sender: JsonSender) -> None:
        self._service, self._name = rpc.aws_service, rpc.aws_operation
        self._lane = lane
        self._sender = sender
        self._requests, self._replies = json_requests_of(rpc.request), json_replies_of(rpc.response)
        self._token = TOKENS.get(rpc.aws_operation)

    async def perform(self, message: Message, scope: Scope, size: int) -> Performed:
        with _noted(scope) as progress:
            absent = {self._token: str(uuid4())} if self._token else {}
            written = await converted(partial(self._requests.write, message, absent), size)
            body, members = written.body, written.members
            call = JsonCall(
                self._service,
                self._name,
                body,
                members,
                scope.region,
                scope.deadline,
                progress,
                scope.conflict_attempts,
            )
            answer = await self._lane.call(scope.caller, partial(self._sender.post, call))
            try:
                reply = await converted(partial(self._replies.write, answer.body), len(answer.body))
            except UnreadableReply as unreadable:
                raise UnreadableReply(attempts=answer.attempts, ambiguous=progress.is_ambiguous) from unreadable
        return Performed(reply, answer.request_id, answer.attempts, progress)


class SdkOperation:
    """An operation that goes by way of the SDK: the reference."""

    def __init__(self, rpc: Rpc, lane: Lane, carrier: Carrier) -> None:
        self._service, self._name = rpc.aws_service, rpc.aws_operation
        self._lane = lane
        self._carrier = carrier
        self._requests, self._replies = codec_of(rpc.request), codec_of(rpc.response)

    async def perform(self, message: Message, scope: Scope, size: int) -> Performed:
        with _noted(scope) as progress:
            parameters = await converted(partial(self._requests.decode, message), size)
            call = AwsCall(self._service, self._name, parameters, scope.region, progress)
            answer = await self._lane.call(scope.caller, partial(self._carrier.send, call))
            reply = _encoded(self._replies, answer.members)
        return Performed(reply, answer.request_id, answer.attempts, progress)


class Operations:
    """The AWS operations by name, for what makes several calls of one RPC."""

    def __init__(self, rpcs: Iterable[Rpc], operation: Callable[[Rpc], Operation]) -> None:
        self._by_name: Mapping[str, Operation] = {rpc.aws_operation: operation(rpc) for rpc in rpcs}

    def __getitem__(self, name: str) -> Operation:
        return self._by_name[name]

    async def call(self, name: str, message: Message, scope: Scope, response_class: type[MessageT]) -> MessageT:
        """Performs an operation and reads its answer."""
        return (await self[name].perform(message, scope, message.ByteSize())).read(response_class)


@contextmanager
def _noted(scope: Scope) -> Iterator[Progress]:
    """Gives the progress of one call; however the call fails, it is noted for whom it was made and as whom."""
    progress = Progress()
    try:
        yield progress
    except BaseException as failure:  # cancelled, above all
        scope.progress.absorb(progress)
        if isinstance(failure, AwsRejected | SidecarError):
            failure.tier = scope.caller.tier.value
        raise


async def converted(convert: Callable[[], ResultT], size: int) -> ResultT:
    """What `convert` gives, which is called in a thread when it is about many bytes."""
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
