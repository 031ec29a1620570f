"""The one handler of all AWS operations of the contract: identify the caller, perform, answer."""

from __future__ import annotations

from awsidecar_server.api.calls import Handler, Reply, Request
from awsidecar_server.api.metadata import conflict_attempts
from awsidecar_server.identity.gate import Gate
from awsidecar_server.operations import Operation, Scope


def aws_handler(operation: Operation, gate: Gate) -> Handler:
    """The handler of an RPC that is an AWS operation."""

    async def handle(request: Request) -> Reply:
        caller = await gate.identify(request.metadata)
        conflicts = conflict_attempts(request.metadata)
        scope = Scope(caller, request.region, request.deadline, request.progress, conflicts)
        done = await operation.perform(request.message, scope, request.size)
        # The answer may still be lost, as one that is too large is.
        request.progress.absorb(done.progress)
        return Reply(done.message, caller.tier.value, done.request_id, done.attempts)

    return handle
