"""The handlers of the RPCs that wait for a state."""

from __future__ import annotations

from awsidecar_server.api.calls import Request, Streamed, StreamHandler, Streaming
from awsidecar_server.contract import DYNAMODB_SERVICE
from awsidecar_server.dynamodb.waiters import WAITERS, Waiter
from awsidecar_server.dynamodb.waiting import Waiting
from awsidecar_server.identity.gate import Gate
from awsidecar_server.operations import Scope


def waiter_handlers(waiting: Waiting, gate: Gate) -> dict[str, Streaming]:
    """By the path of the RPC. A drain ends them, because what they wait for may take hours."""

    def handler(waiter: Waiter) -> StreamHandler:
        async def handle(request: Request) -> Streamed:
            async def scoping() -> Scope:
                # A session that is closed, or has ended, while it waits, is told no further state.
                caller = await gate.identify(request.metadata)
                return Scope(caller, request.region, request.deadline, request.progress)

            tier = (await scoping()).caller.tier.value
            return Streamed(waiting.states(waiter.wait(request.message), scoping), tier)

        return handle

    return {
        f"{DYNAMODB_SERVICE.full_name}/{name}": Streaming(handler(waiter), endless=True)
        for name, waiter in WAITERS.items()
    }
