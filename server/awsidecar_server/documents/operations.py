"""Performs the operations on items that are asked and answered in plain JSON."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

from google.protobuf.message import Message

from awsidecar_server.bridge import UnreadableReply
from awsidecar_server.contract import DOCUMENT_SERVICE, Rpc, aws_rpcs, rpcs
from awsidecar_server.documents.messages import Replies, Requests, allows_large_as_text
from awsidecar_server.errors import SidecarError
from awsidecar_server.operations import Operations, Performed, Scope, converted

# The AWS operation that each RPC performs, once or for each page.
AWS_OPERATIONS = {
    "Get": "GetItem",
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "Query": "Query",
    "Scan": "Scan",
}


class DocumentOperation:
    """One RPC of DocumentService."""

    def __init__(self, rpc: Rpc, aws: Rpc, operations: Operations) -> None:
        self.rpc = rpc
        self._operation = operations[aws.aws_operation]
        self._requests = Requests(rpc.request, aws.request)
        self._replies = Replies(rpc.response, aws.response)

    async def perform(self, message: Message, scope: Scope, size: int) -> Performed:
        """Performs the AWS operation once. `size` is that of the message, in bytes."""
        try:
            large_as_text = allows_large_as_text(message)
            request = await converted(partial(self._requests.of, message), size)
            done = await self._operation.perform(request, scope, request.ByteSize())
            scope.progress.absorb(done.progress)
            _, reply = await self._read(done, large_as_text)
        except SidecarError as failure:
            failure.tier = scope.caller.tier.value
            raise
        return Performed(reply, done.request_id, done.attempts, done.progress)

    async def pages(self, message: Message, scope: Scope, size: int) -> AsyncGenerator[Message, None]:
        """Performs the AWS operation for each page until the last."""
        large_as_text = allows_large_as_text(message)
        request: Any = await converted(partial(self._requests.of, message), size)
        while True:
            done = await self._operation.perform(request, scope, request.ByteSize())
            scope.progress.absorb(done.progress)
            answer, reply = await self._read(done, large_as_text)
            yield reply
            if not answer.HasField("last_evaluated_key"):
                return
            request.exclusive_start_key.clear()
            request.exclusive_start_key.MergeFrom(answer.last_evaluated_key.attributes)

    async def _read(self, done: Performed, large_as_text: bool) -> tuple[Any, Message]:
        """AWS's answer, and the reply that it makes."""

        def read() -> tuple[Any, Message]:
            answer = done.read(self._replies.aws_class)
            return answer, self._replies.of(answer, large_as_text=large_as_text)

        try:
            return await converted(read, done.size)
        except UnreadableReply as unreadable:
            ambiguous = done.progress.is_ambiguous
            raise UnreadableReply(attempts=done.attempts, ambiguous=ambiguous) from unreadable


def document_operations(operations: Operations) -> list[DocumentOperation]:
    """Every RPC of DocumentService."""
    aws = {rpc.aws_operation: rpc for rpc in aws_rpcs()}
    return [DocumentOperation(rpc, aws[AWS_OPERATIONS[rpc.method]], operations) for rpc in rpcs(DOCUMENT_SERVICE)]
