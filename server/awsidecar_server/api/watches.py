"""The handler of WatchTable."""

from __future__ import annotations

from typing import Any

from awsidecar_server.api.calls import Request, Streamed, Streaming
from awsidecar_server.contract import DYNAMODB_SERVICE
from awsidecar_server.dynamodb.changes.watches import Watches
from awsidecar_server.identity.gate import Gate
from awsidecar_server.operations import Scope


def watch_handlers(watches: Watches, gate: Gate) -> dict[str, Streaming]:
    """By the path of the RPC. A drain ends its calls, which go on elsewhere with their checkpoints."""

    async def handle(request: Request) -> Streamed:
        caller = await gate.identify(request.metadata)
        scope = Scope(caller, request.region, request.deadline)
        message: Any = request.message

        async def verify() -> None:
            # A session that has been closed, or has ended, gets no more.
            await gate.identify(request.metadata)

        return Streamed(watches.messages(message, scope, verify), caller.tier.value)

    return {f"{DYNAMODB_SERVICE.full_name}/WatchTable": Streaming(handle, endless=True)}
