"""The handlers of DocumentService: identify the caller, perform, answer; once, or page by page."""

from __future__ import annotations

from collections.abc import Iterable

from awsidecar_server.api.calls import Handler, Reply, Request, Streamed, StreamHandler, Streaming
from awsidecar_server.documents.operations import DocumentOperation
from awsidecar_server.identity.gate import Gate
from awsidecar_server.operations import Scope


def document_handlers(operations: Iterable[DocumentOperation], gate: Gate) -> dict[str, Handler | Streaming]:
    """The handlers by the path of their RPC."""
    return {
        operation.rpc.path: Streaming(_pages(operation, gate))
        if operation.rpc.gives_stream
        else _once(operation, gate)
        for operation in operations
    }


def _once(operation: DocumentOperation, gate: Gate) -> Handler:
    async def handle(request: Request) -> Reply:
        caller = await gate.identify(request.metadata)
        scope = Scope(caller, request.region, request.deadline, request.progress)
        done = await operation.perform(request.message, scope, request.size)
        return Reply(done.message, caller.tier.value, done.request_id, done.attempts)

    return handle


def _pages(operation: DocumentOperation, gate: Gate) -> StreamHandler:
    async def handle(request: Request) -> Streamed:
        caller = await gate.identify(request.metadata)
        scope = Scope(caller, request.region, request.deadline, request.progress)
        return Streamed(operation.pages(request.message, scope, request.size), caller.tier.value)

    return handle
