"""The composition root: builds each object once, in order, on one exit stack."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import structlog

from awsidecar_server.api.credentials import CredentialsHandlers
from awsidecar_server.api.edge import Edge
from awsidecar_server.api.metadata import Regions
from awsidecar_server.api.server import Server
from awsidecar_server.aws.sdk.clients import ClientPool
from awsidecar_server.aws.directory import CognitoIdentity, SecurityTokens
from awsidecar_server.aws.lane import Lane
from awsidecar_server.aws.sdk.sender import Sender
from awsidecar_server.config import Config
from awsidecar_server.identity.cache import CredentialCache
from awsidecar_server.identity.clock import Clock, utc_now
from awsidecar_server.identity.cognito import CognitoExchange
from awsidecar_server.identity.gate import Gate
from awsidecar_server.identity.jwks import KeySet, fetch_over_http, jwks_url
from awsidecar_server.identity.service_account import ServiceAccountSource
from awsidecar_server.identity.sessions import SessionStore
from awsidecar_server.identity.sources import Sources
from awsidecar_server.identity.tokens import TokenVerifier
from awsidecar_server.ops.admin import AdminServer
from awsidecar_server.ops.telemetry import Telemetry
from awsidecar_server.version import VERSION

_log = structlog.get_logger()

# What nearly every call needs; made before the sidecar says that it is ready.
_WARM_SERVICES = ["dynamodb", "dynamodbstreams"]


class App:
    """A running sidecar. Entering starts it; leaving drains it."""

    def __init__(self, config: Config, environment: Mapping[str, str], *, clock: Clock = utc_now) -> None:
        self._config = config
        self._clock = clock
        self._closing = AsyncExitStack()
        self._ready = False
        telemetry = self.telemetry = Telemetry()
        telemetry.build.labels(VERSION).set(1)

        regions = Regions.of(config.aws)
        self._clients = ClientPool(config.aws, telemetry)
        sender = Sender(self._clients, telemetry)
        exchange, verifier = self._cognito(sender)
        self._sessions = SessionStore(config.identity, clock)
        telemetry.sessions_open.set_function(lambda: self._sessions.open_count)
        service_account = ServiceAccountSource(environment, config.identity.service_account, region=regions.default)
        sources = Sources(exchange, service_account)
        self._cache = CredentialCache(sources, config.identity, clock, telemetry.credential_event)
        telemetry.watch_expiry(self._cache.seconds_to_expiry)
        gate = Gate(verifier, self._sessions)
        lane = Lane(sender, self._cache)
        handlers = CredentialsHandlers(
            config=config.identity,
            gate=gate,
            sessions=self._sessions,
            provider=self._cache,
            exchange=exchange,
            tokens=SecurityTokens(lane, regions.default),
        )
        self.server = Server(config.listen, Edge(config.listen, regions, telemetry))
        self.server.add_services(gate, lane, handlers.handlers())
        self.admin = AdminServer(config.admin, telemetry, lambda: self._ready)

    def _cognito(self, sender: Sender) -> tuple[CognitoExchange | None, TokenVerifier | None]:
        config = self._config.cognito
        if not config.enabled:
            return None, None
        trusted = self._config.aws.ca_bundle
        tls = ssl.create_default_context(cafile=trusted) if trusted else None
        keys = KeySet(fetch_over_http(jwks_url(config), tls=tls), self._clock)
        self._closing.push_async_callback(keys.aclose)
        exchange = CognitoExchange(config, CognitoIdentity(sender, config.identity_region))
        self._closing.push_async_callback(exchange.aclose)
        return exchange, TokenVerifier(config, keys, self._clock)

    async def __aenter__(self) -> Self:
        try:
            self._closing.push_async_callback(self._clients.aclose)
            self._closing.push_async_callback(self._cache.aclose)
            await self.admin.start()
            self._closing.push_async_callback(self.admin.stop)
            await self.server.start()
            self._closing.push_async_callback(self.server.drain, self._config.shutdown.grace_seconds)
            assert self._config.aws.region is not None
            await self._clients.warm(_WARM_SERVICES, self._config.aws.region)
            await self.server.serving()
            self._ready = True
        except BaseException:
            await self._closing.aclose()
            raise
        _log.info("serving", grpc=self.server.addresses, admin=self.admin.address, version=VERSION)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ready = False
        _log.info("draining", grace_seconds=self._config.shutdown.grace_seconds)
        await self._closing.aclose()
        _log.info("stopped")
