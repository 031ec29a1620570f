"""Sends one signed request through a pooled client, measures it, and translates how it fails."""

from __future__ import annotations

import asyncio
import time
from functools import cache
from typing import Any

from awsidecar_server.aws.call import AwsCall, AwsReply
from awsidecar_server.aws.clients import ClientPool
from awsidecar_server.aws.failures import from_sdk
from awsidecar_server.aws.retries import THROTTLING
from awsidecar_server.aws.signing import with_identity
from awsidecar_server.errors import AwsRejected, AwsUnreachable, DeadlineSpent
from awsidecar_server.identity.credentials import Credentials
from awsidecar_server.ops.telemetry import AwsMetrics, Telemetry


class Sender:
    """Performs calls with given credentials. Every failure leaves as an error of `awsidecar_server.errors`."""

    def __init__(self, clients: ClientPool, telemetry: Telemetry) -> None:
        self._clients = clients
        self._metrics = cache(lambda service, operation: AwsMetrics(telemetry, service, operation))

    async def send(self, call: AwsCall, credentials: Credentials | None) -> AwsReply:
        """Performs the call within its deadline; a cancelled call stops its work.

        Without credentials the request is unsigned, which only the operations that AWS takes unsigned allow.
        """
        deadline = asyncio.timeout_at(call.deadline)
        try:
            async with deadline:
                return await self._measured(call, credentials)
        except TimeoutError as spent:
            if not deadline.expired():  # somebody else's
                raise
            raise DeadlineSpent from spent

    async def _measured(self, call: AwsCall, credentials: Credentials | None) -> AwsReply:
        client = await self._clients.client(call.service, call.region)
        metrics: AwsMetrics = self._metrics(call.service, call.operation)
        started, outcome, attempts = time.perf_counter(), "cancelled", 1
        metrics.pool_in_use.inc()
        try:
            reply = await _request(client, call, credentials)
            outcome, attempts = "ok", reply.attempts
            return reply
        except AwsRejected as rejected:
            outcome, attempts = "rejected", rejected.attempts
            if rejected.code in THROTTLING:
                metrics.throttles.inc()
            raise
        except AwsUnreachable:
            outcome = "unreachable"
            raise
        finally:
            metrics.pool_in_use.dec()
            metrics.finished(outcome, time.perf_counter() - started, attempts)


async def _request(client: Any, call: AwsCall, credentials: Credentials | None) -> AwsReply:
    try:
        answer = await client._make_api_call(call.operation, with_identity(call.parameters, credentials))
    except Exception as failure:
        translated = from_sdk(failure, call)
        if translated is failure:
            raise
        raise translated from failure
    metadata = answer.pop("ResponseMetadata", {})
    return AwsReply(answer, str(metadata.get("RequestId", "")), int(metadata.get("RetryAttempts", 0)) + 1)
