"""The pool of AWS clients: one per service and region, made once, shared by all callers, closed together."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from functools import partial
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import aioboto3
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession

from awsidecar_server.aws.sdk.answers import AnswerParsers
from awsidecar_server.aws.sdk.attempts import count_attempts
from awsidecar_server.aws.sdk.signing import NoCredentialProvider, carry_identity
from awsidecar_server.aws.sdk.transport import DirectSession
from awsidecar_server.config import AwsConfig
from awsidecar_server.errors import Draining
from awsidecar_server.ops.telemetry import Telemetry
from awsidecar_server.version import VERSION

# Clients are bounded by the regions a configuration allows times the services of the contract, and by this.
_MAX_CLIENTS = 256
# An idle connection is dropped before AWS's front ends drop it (about 20 s), so that none is found dead.
_KEEPALIVE_SECONDS = 15


class ClientPool:
    """Makes and keeps aioboto3 clients that have no credentials of their own.

    The state is the table of clients, in being or being made: a client is made by one task, which everyone who
    asks meanwhile awaits, shielded.
    """

    def __init__(self, config: AwsConfig, telemetry: Telemetry) -> None:
        self._config = config
        self._telemetry = telemetry
        self._clients: dict[tuple[str, str], asyncio.Task[Any]] = {}
        self._closing = AsyncExitStack()
        self._is_closed = False
        self._session: aioboto3.Session | None = None

    def __repr__(self) -> str:
        return f"<ClientPool {len(self._clients)} clients>"

    async def client(self, service: str, region: str) -> Any:
        """The client for a service (by its SDK name) in a region."""
        key = (service, region)
        task = self._clients.get(key)
        if task is None:
            if self._is_closed:
                raise Draining
            if len(self._clients) >= _MAX_CLIENTS:
                raise RuntimeError(f"more than {_MAX_CLIENTS} AWS clients")
            task = self._clients[key] = asyncio.create_task(self._make(service, region))
            task.add_done_callback(lambda done: self._forget_failed(key, done))
        return await asyncio.shield(task)

    async def warm(self, services: list[str], region: str) -> None:
        """Makes clients before they are needed: the first of a service costs about 100 ms of the event loop."""
        for service in services:
            await self.client(service, region)

    async def aclose(self) -> None:
        self._is_closed = True
        for task in self._clients.values():
            task.cancel()
        await asyncio.gather(*self._clients.values(), return_exceptions=True)
        self._clients.clear()
        await self._closing.aclose()

    def _forget_failed(self, key: tuple[str, str], task: asyncio.Task[Any]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._clients.pop(key, None)

    async def _make(self, service: str, region: str) -> Any:
        if self._session is None:
            self._session = await asyncio.to_thread(_new_session)
        session: Any = self._session
        loader = session._session.get_component("data_loader")
        await asyncio.to_thread(loader.load_service_model, service, "service-2")
        config, endpoint_url = self._config, self._endpoint(service)
        context = session.client(
            service,
            region_name=region,
            endpoint_url=endpoint_url,
            verify=config.ca_bundle,
            config=AioConfig(
                connector_args={"keepalive_timeout": _KEEPALIVE_SECONDS},
                http_session_cls=partial(DirectSession, total_seconds=config.attempt_timeout_seconds),
                max_pool_connections=config.pool_size,
                connect_timeout=config.connect_timeout_seconds,
                read_timeout=config.read_timeout_seconds,
                retries={"mode": "standard", "total_max_attempts": config.max_attempts},
                use_fips_endpoint=config.use_fips,
                use_dualstack_endpoint=config.use_dualstack,
                # HTTPS_PROXY and NO_PROXY are heeded, but what listens on this host is never behind a proxy.
                proxies={} if _is_on_this_host(endpoint_url) else None,
                # Endpoints come from our configuration only, account ids from nowhere: the client serves all accounts.
                ignore_configured_endpoint_urls=True,
                account_id_endpoint_mode="disabled",
                # AWS validates, and its message is the one that callers know.
                parameter_validation=False,
                user_agent_extra=f"awsidecar/{VERSION}",
            ),
        )
        client = await self._closing.enter_async_context(context)
        carry_identity(client.meta.events)
        count_attempts(client.meta.events, self._telemetry, service)
        self._telemetry.aws_pool_size.labels(service, region).set(config.pool_size)
        return client

    def _endpoint(self, service: str) -> str | None:
        config = self._config
        own = {
            "dynamodb": config.endpoint_url_dynamodb,
            "dynamodbstreams": config.endpoint_url_dynamodb_streams,
            "sts": config.endpoint_url_sts,
            "cognito-identity": config.endpoint_url_cognito_identity,
        }
        return own.get(service) or config.endpoint_url


def _is_on_this_host(endpoint_url: str | None) -> bool:
    host = urlsplit(endpoint_url or "").hostname
    return host in ("localhost", "127.0.0.1", "::1")


def _new_session() -> aioboto3.Session:
    # Neither a profile nor a file of the SDK's has a say: what there is to configure is in our own configuration.
    nowhere = dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
    regional = {"sts_regional_endpoints": (None, None, "regional", None)}
    core = AioSession(session_vars={"profile": (None, None, None, None), **nowhere, **regional})
    # Newer service models than the SDK's own release, so that new operations and members pass; and no other's.
    loader = core.get_component("data_loader")
    loader.search_paths[:] = [str(files("awsidecar_server.aws") / "models"), loader.BUILTIN_DATA_PATH]
    core.register_component("credential_provider", NoCredentialProvider())
    core.register_component("response_parser_factory", AnswerParsers())
    return aioboto3.Session(botocore_session=core)
