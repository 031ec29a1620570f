"""The composition root: builds each object once, in order, on one exit stack."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

import structlog

from awsidecar_server.api.admission import Admission
from awsidecar_server.api.batches import batch_handlers
from awsidecar_server.api.credentials import CredentialsHandlers
from awsidecar_server.api.documents import document_handlers
from awsidecar_server.api.edge import Edge
from awsidecar_server.api.metadata import Regions
from awsidecar_server.api.operations import aws_handler
from awsidecar_server.api.page_streams import page_stream_handlers
from awsidecar_server.api.server import Server
from awsidecar_server.api.waiters import waiter_handlers
from awsidecar_server.api.watches import watch_handlers
from awsidecar_server.aws.call import Carrier
from awsidecar_server.aws.deferred import DeferredSdk
from awsidecar_server.aws.directory import CognitoIdentity, SecurityTokens
from awsidecar_server.aws.http import HttpTransport
from awsidecar_server.aws.json_sender import JsonSender
from awsidecar_server.aws.lane import Lane
from awsidecar_server.config import Config
from awsidecar_server.contract import CREDENTIALS_SERVICE, Rpc, aws_rpcs
from awsidecar_server.dynamodb.batches.work import Means
from awsidecar_server.dynamodb.capacity import CapacityMeter
from awsidecar_server.dynamodb.changes.watches import Watches
from awsidecar_server.dynamodb.page_streams import PageStreams
from awsidecar_server.dynamodb.table_keys import TableKeys
from awsidecar_server.dynamodb.waiting import Waiting
from awsidecar_server.identity.cache import CredentialCache
from awsidecar_server.identity.clock import Clock, utc_now
from awsidecar_server.identity.cognito import CognitoExchange
from awsidecar_server.identity.gate import Gate
from awsidecar_server.identity.service_account import ServiceAccountSource
from awsidecar_server.identity.sessions import LocalSessions, Sessions, SessionStore
from awsidecar_server.identity.sources import Sources
from awsidecar_server.operations import JsonOperation, Operation, Operations, SdkOperation
from awsidecar_server.ops.admin import AdminServer
from awsidecar_server.ops.telemetry import Telemetry
from awsidecar_server.version import VERSION

if TYPE_CHECKING:
    from awsidecar_server.identity.tokens import TokenVerifier

_log = structlog.get_logger()

# Whose clients are made before the sidecar says that it is ready.
_WARM_SERVICES = ["dynamodb", "dynamodbstreams"]


class App:
    """A running sidecar. Entering starts it; leaving drains it.

    With `share` it is a worker beside others: `share` makes the sessions of its store those of all, the port and the
    `unix_socket` are shared with them, and the operations HTTP server is the supervisor's.
    """

    def __init__(
        self,
        config: Config,
        environment: Mapping[str, str],
        *,
        clock: Clock = utc_now,
        share: Callable[[SessionStore], Sessions] | None = None,
        unix_socket: socket.socket | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._is_worker = share is not None
        self._closing = AsyncExitStack()
        self._ready = False
        telemetry = self.telemetry = Telemetry()
        telemetry.build.labels(VERSION).set(1)

        regions = Regions.of(config.aws)
        self._sdk = DeferredSdk(config.aws, telemetry)
        self._transport = HttpTransport(config.aws, environment)
        self._json = JsonSender(config.aws, self._transport, telemetry)
        exchange, verifier = self._cognito(self._sdk if self._uses_sdk else self._json)
        self._sessions = SessionStore(config.identity, clock)
        telemetry.sessions_open.set_function(lambda: self._sessions.open_count)
        service_account = ServiceAccountSource(environment, config.identity.service_account, region=regions.default)
        sources = Sources(exchange, service_account)
        self._cache = CredentialCache(sources, config.identity, clock, telemetry.credential_event)
        telemetry.watch_expiry(self._cache.seconds_to_expiry)
        gate = Gate(verifier, self._sessions)
        sessions = share(self._sessions) if share else LocalSessions(self._sessions)
        lane = Lane(self._cache, sessions.accepted)
        handlers = CredentialsHandlers(
            config=config.identity,
            gate=gate,
            sessions=sessions,
            provider=self._cache,
            exchange=exchange,
            tokens=SecurityTokens(lane, self._sdk, regions.default),
        )
        self.server = self._serving(gate, lane, regions, handlers, unix_socket)
        self.admin = AdminServer(config.admin, telemetry, self._is_ready)

    async def _is_ready(self) -> bool:
        return self._ready

    @property
    def _uses_sdk(self) -> bool:
        return self._config.aws.lane == "sdk"

    def _operation(self, lane: Lane, rpc: Rpc) -> Operation:
        return SdkOperation(rpc, lane, self._sdk) if self._uses_sdk else JsonOperation(rpc, lane, self._json)

    def _serving(
        self,
        gate: Gate,
        lane: Lane,
        regions: Regions,
        handlers: CredentialsHandlers,
        unix_socket: socket.socket | None,
    ) -> Server:
        listen = self._config.listen
        capacity = CapacityMeter(self.telemetry)
        operations = Operations(aws_rpcs(), lambda rpc: capacity.metered(rpc, self._operation(lane, rpc)))
        self._table_keys = TableKeys(operations, min(self._config.aws.pool_size, self._config.aws.max_connections))
        means = Means(operations, self._table_keys)
        admission = Admission(listen)
        edge = Edge(admission, regions, self.telemetry)
        server = Server(listen, admission, edge, reuse_port=self._is_worker, unix_socket=unix_socket)
        server.add_services(
            lambda rpc: aws_handler(operations[rpc.aws_operation], gate),
            {
                **{f"{CREDENTIALS_SERVICE.full_name}/{name}": one for name, one in handlers.handlers().items()},
                **waiter_handlers(Waiting(operations), gate),
                **page_stream_handlers(PageStreams(operations), gate),
                **document_handlers(means, gate),
                **batch_handlers(means, gate),
                **watch_handlers(Watches(operations, self._clock), gate),
            },
        )
        return server

    def _cognito(self, carrier: Carrier) -> tuple[CognitoExchange | None, TokenVerifier | None]:
        config = self._config.cognito
        if not config.enabled:
            return None, None
        # With them come PyJWT, cryptography and aiohttp, which only Cognito needs.
        from awsidecar_server.identity.jwks import KeySet, fetch_over_http, jwks_url
        from awsidecar_server.identity.tokens import TokenVerifier

        trusted = self._config.aws.ca_bundle
        tls = ssl.create_default_context(cafile=trusted) if trusted else None
        keys = KeySet(fetch_over_http(jwks_url(config), tls=tls), self._clock)
        self._closing.push_async_callback(keys.aclose)
        exchange = CognitoExchange(config, CognitoIdentity(carrier, config.identity_region))
        self._closing.push_async_callback(exchange.aclose)
        return exchange, TokenVerifier(config, keys, self._clock)

    async def __aenter__(self) -> Self:
        try:
            self._closing.push_async_callback(self._sdk.aclose)
            self._closing.push_async_callback(self._transport.aclose)
            self._closing.push_async_callback(self._cache.aclose)
            self._closing.push_async_callback(self._table_keys.aclose)
            if not self._is_worker:
                await self.admin.start()
                self._closing.push_async_callback(self.admin.stop)
            await self.server.start()
            self._closing.push_async_callback(self.server.drain, self._config.shutdown.grace_seconds)
            assert self._config.aws.region is not None
            if self._uses_sdk:
                await self._sdk.warm(_WARM_SERVICES, self._config.aws.region)
            await self.server.serving()
            self._ready = True
        except BaseException:
            await self._closing.aclose()
            raise
        admin = {} if self._is_worker else {"admin": self.admin.address}
        _log.info("serving", grpc=self.server.addresses, **admin, version=VERSION)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ready = False
        _log.info("draining", grace_seconds=self._config.shutdown.grace_seconds)
        await self._closing.aclose()
        _log.info("stopped")
