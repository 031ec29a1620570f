"""Sends one signed request through a pooled client, measures it, and translates how it fails."""

from __future__ import annotations

from functools import cache
from typing import Any

from awsidecar_server.aws.call import AwsCall, AwsReply
from awsidecar_server.aws.measurement import Measured
from awsidecar_server.aws.sdk.attempts import with_call
from awsidecar_server.aws.sdk.clients import ClientPool
from awsidecar_server.aws.sdk.failures import from_sdk
from awsidecar_server.aws.sdk.signing import with_identity
from awsidecar_server.aws.wording import request_id_of, without_secrets
from awsidecar_server.errors import AwsRejected
from awsidecar_server.identity.credentials import Credentials
from awsidecar_server.ops.telemetry import AwsMetrics, Telemetry


class Sender:
    """Performs calls with given credentials. Every failure leaves as an error of `awsidecar_server.errors`."""

    def __init__(self, clients: ClientPool, telemetry: Telemetry) -> None:
        self._clients = clients
        self._metrics = cache(lambda service, region, operation: AwsMetrics(telemetry, service, region, operation))

    async def send(self, call: AwsCall, credentials: Credentials | None) -> AwsReply:
        """Performs the call; a cancelled call stops its work.

        Without credentials the request is unsigned, which only the operations that AWS takes unsigned allow.
        """
        client = await self._clients.client(call.service, call.region)
        metrics: AwsMetrics = self._metrics(call.service, call.region, call.operation)
        with Measured(metrics):
            return await _request(client, call, credentials)


async def _request(client: Any, call: AwsCall, credentials: Credentials | None) -> AwsReply:
    parameters = with_call(with_identity(call.parameters, credentials), call)
    try:
        answer = await client._make_api_call(call.operation, parameters)
    except Exception as failure:
        translated = from_sdk(failure, call)
        if translated is failure:
            raise
        if isinstance(translated, AwsRejected) and credentials is not None:
            translated.message = without_secrets(translated.message, credentials)
        raise translated from failure
    metadata = answer.pop("ResponseMetadata", {})
    attempts = call.progress.attempts or int(metadata.get("RetryAttempts", 0)) + 1
    return AwsReply(answer, request_id_of(metadata), attempts)
