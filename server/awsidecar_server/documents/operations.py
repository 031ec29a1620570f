"""Performs the operations on items that are asked and answered in plain JSON."""

from __future__ import annotations

from functools import partial

from google.protobuf.message import Message

from awsidecar_server.bridge import UnreadableReply
from awsidecar_server.contract import Rpc
from awsidecar_server.documents.messages import Replies, Requests, allows_large_as_text
from awsidecar_server.errors import SidecarError
from awsidecar_server.operations import Operation, Performed, Scope, converted


class DocumentOperation:
    """An RPC of DocumentService that is one AWS operation."""

    def __init__(self, rpc: Rpc, aws: Rpc, operation: Operation) -> None:
        self._operation = operation
        self._requests = Requests(rpc.request, aws.request)
        self._replies = Replies(rpc.response, aws.response)

    async def perform(self, message: Message, scope: Scope, size: int) -> Performed:
        """Performs the operation once. `size` is that of the message, in bytes."""
        try:
            large_as_text = allows_large_as_text(message)
            request = await converted(partial(self._requests.of, message), size)
            done = await self._operation.perform(request, scope, request.ByteSize())
            scope.progress.absorb(done.progress)
            reply = await self._read(done, large_as_text=large_as_text)
        except SidecarError as failure:
            failure.tier = scope.caller.tier.value
            raise
        return Performed(reply, done.request_id, done.attempts, done.progress)

    async def _read(self, done: Performed, *, large_as_text: bool) -> Message:
        def read() -> Message:
            return self._replies.of(done.read(self._replies.aws_class), large_as_text=large_as_text)

        try:
            return await converted(read, done.size)
        except UnreadableReply as unreadable:
            ambiguous = done.progress.is_ambiguous
            raise UnreadableReply(attempts=done.attempts, ambiguous=ambiguous) from unreadable
