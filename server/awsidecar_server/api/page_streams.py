"""The handlers of the streams of pages: identify the caller, for every page anew, and stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from awsidecar_server.api.calls import Request, Streamed, StreamHandler, Streaming
from awsidecar_server.contract import DYNAMODB_SERVICE
from awsidecar_server.dynamodb.page_reader import Scoping
from awsidecar_server.dynamodb.page_streams import PageStreams, Responses
from awsidecar_server.identity.gate import Gate
from awsidecar_server.operations import Scope


def page_stream_handlers(streams: PageStreams, gate: Gate) -> Mapping[str, Streaming]:
    """The handlers by the name of service and method."""
    own: Mapping[str, Callable[[Any, Scoping], Responses]] = {
        "QueryStream": streams.query,
        "ScanStream": streams.scan,
        "ExecuteStatementStream": streams.statement,
    }
    return {
        f"{DYNAMODB_SERVICE.full_name}/{name}": Streaming(_handler(stream, gate)) for name, stream in own.items()
    }


def _handler(stream: Callable[[Any, Scoping], Responses], gate: Gate) -> StreamHandler:
    async def handle(request: Request) -> Streamed:
        async def scoping() -> Scope:
            # A session that is closed, or has ended, while its stream goes on, gets no further page.
            caller = await gate.identify(request.metadata)
            return Scope(caller, request.region, request.deadline, request.progress)

        scope = await scoping()
        return Streamed(stream(request.message, scoping), scope.caller.tier.value)

    return handle
