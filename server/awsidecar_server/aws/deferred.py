"""The SDK's way to AWS, brought in when it is first needed: it costs a fifth of a second and some 30 MiB."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING

from awsidecar_server.aws.call import AwsCall, AwsReply
from awsidecar_server.config import AwsConfig
from awsidecar_server.identity.credentials import Credentials
from awsidecar_server.ops.telemetry import Telemetry

if TYPE_CHECKING:
    from awsidecar_server.aws.sdk.clients import ClientPool
    from awsidecar_server.aws.sdk.sender import Sender


class DeferredSdk:
    """A carrier that becomes the SDK's at its first call."""

    def __init__(self, config: AwsConfig, telemetry: Telemetry) -> None:
        self._config = config
        self._telemetry = telemetry
        self._sdk: tuple[ClientPool, Sender] | None = None

    async def send(self, call: AwsCall, credentials: Credentials | None) -> AwsReply:
        _, sender = await self._loaded()
        return await sender.send(call, credentials)

    async def warm(self, services: list[str], region: str) -> None:
        """Makes clients before they are needed."""
        clients, _ = await self._loaded()
        await clients.warm(services, region)

    async def aclose(self) -> None:
        if self._sdk is not None:
            await self._sdk[0].aclose()

    async def _loaded(self) -> tuple[ClientPool, Sender]:
        if self._sdk is None:
            # In a thread, for the calls that are being served meanwhile.
            module = await asyncio.to_thread(importlib.import_module, "awsidecar_server.aws.sdk.sender")
            if self._sdk is None:
                clients = module.ClientPool(self._config, self._telemetry)
                self._sdk = clients, module.Sender(clients, self._telemetry)
        return self._sdk
