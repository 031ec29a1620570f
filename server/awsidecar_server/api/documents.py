"""The handlers of DocumentService: identify the caller, perform, answer; once, or page by page."""

from __future__ import annotations

from collections.abc import Mapping

from awsidecar_server.api.calls import Handler, Reply, Request, Streamed, StreamHandler, Streaming
from awsidecar_server.api.document_batches import document_batch_handlers
from awsidecar_server.api.metadata import conflict_attempts
from awsidecar_server.contract import DOCUMENT_SERVICE, aws_rpcs, rpcs
from awsidecar_server.documents.operations import DocumentOperation
from awsidecar_server.documents.pages import QUERY, SCAN, DocumentPages
from awsidecar_server.dynamodb.batches.work import Means
from awsidecar_server.dynamodb.page_streams import PageStreams
from awsidecar_server.identity.gate import Gate
from awsidecar_server.operations import Scope

# The AWS operation of each RPC, and the stream of its pages where it gives them.
_ONCE = {"Get": "GetItem", "Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem"}
_PAGED = {"Query": QUERY, "Scan": SCAN}


def document_handlers(means: Means, gate: Gate) -> Mapping[str, Handler | Streaming]:
    """The handlers by the name of service and method."""
    operations, streams = means.operations, PageStreams(means.operations, is_plain=True)
    aws = {rpc.aws_operation: rpc for rpc in aws_rpcs()}
    found: dict[str, Handler | Streaming] = {**document_batch_handlers(means, gate)}
    for rpc in rpcs(DOCUMENT_SERVICE):
        name = rpc.method
        if name in _PAGED:
            found[rpc.path] = Streaming(_pages(DocumentPages(rpc, aws[name], streams, _PAGED[name]), gate))
        elif name in _ONCE:
            operation = _ONCE[name]
            found[rpc.path] = _once(DocumentOperation(rpc, aws[operation], operations[operation]), gate)
    return found


def _once(operation: DocumentOperation, gate: Gate) -> Handler:
    async def handle(request: Request) -> Reply:
        caller = await gate.identify(request.metadata)
        conflicts = conflict_attempts(request.metadata)
        scope = Scope(caller, request.region, request.deadline, request.progress, conflicts)
        done = await operation.perform(request.message, scope, request.size)
        return Reply(done.message, caller.tier.value, done.request_id, done.attempts)

    return handle


def _pages(operation: DocumentPages, gate: Gate) -> StreamHandler:
    async def handle(request: Request) -> Streamed:
        async def scoping() -> Scope:
            # A session that is closed, or has ended, while its stream goes on, gets no further page.
            caller = await gate.identify(request.metadata)
            return Scope(caller, request.region, request.deadline, request.progress)

        tier = (await scoping()).caller.tier.value
        return Streamed(operation.pages(request.message, scoping, request.size), tier)

    return handle
