"""The sidecar's gRPC server: the services of the contract, health, reflection, and the addresses."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from awsidecar_server.api.admission import Admission
from awsidecar_server.api.calls import Handler, Streaming
from awsidecar_server.api.edge import Edge
from awsidecar_server.api.grpc_server import GrpcServer
from awsidecar_server.api.listeners import address_of, bind_tcp, bind_unix
from awsidecar_server.config import ListenConfig
from awsidecar_server.contract import SERVICES, Rpc, rpcs

_KIB = 1024
# A message this much over the limit still arrives, and is answered with a typed error instead of gRPC's own.
_MESSAGE_HEADROOM_BYTES = 4 * 1024 * _KIB
# gRPC's own are 8 and 16 KiB, which an ID token with many groups outgrows.
_METADATA_BYTES = 64 * _KIB
# Calls that are one too many get a typed refusal; a connection bears as many of those besides.
_REFUSED_STREAMS = 1000


class Server:
    """Serves the contract. Health is NOT_SERVING until `serving` and after `draining`.

    With `reuse_port`, the TCP port is one that other processes of this sidecar listen on, too. A `unix_socket` that is
    handed over listens already, and is theirs, too.
    """

    def __init__(
        self,
        config: ListenConfig,
        admission: Admission,
        edge: Edge,
        *,
        reuse_port: bool = False,
        unix_socket: socket.socket | None = None,
    ) -> None:
        self._config = config
        self._admission = admission
        self._edge = edge
        self._reuse_port = reuse_port
        self._handed_over = unix_socket
        self._health = health.aio.HealthServicer()
        self._server = GrpcServer(
            max_message_bytes=config.max_message_bytes + _MESSAGE_HEADROOM_BYTES,
            max_metadata_bytes=_METADATA_BYTES,
            max_streams=config.max_in_flight + _REFUSED_STREAMS,
            # A single message is never too much, though a connection may have less than half: it has its own limit.
            max_waiting_bytes=max(config.max_in_flight_bytes, 4 * config.max_message_bytes),
        )
        # The addresses that are served on, once started.
        self.addresses: list[str] = []

    def add_services(self, operation: Callable[[Rpc], Handler], own: Mapping[str, Handler | Streaming]) -> None:
        """Adds every service of the contract, and health and reflection.

        `operation` makes the handler of an AWS operation; `own` has those of the sidecar's own RPCs, by the name of
        service and method: `awsidecar.credentials.v1.CredentialsService/WhoAmI`.
        """
        for service in SERVICES:
            methods = {}
            for rpc in rpcs(service):
                handler = operation(rpc) if rpc.aws_operation else own[rpc.path]
                edge = self._edge
                methods[rpc.method] = (
                    edge.stream(rpc, handler) if isinstance(handler, Streaming) else edge.method(rpc, handler)
                )
            self._server.add_registered_method_handlers(service.full_name, methods)
        server: Any = self._server  # what the generated code asks of `grpc.aio.Server`
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self._config.is_loopback:  # reflection tells the whole contract, so it is not shown to a network
            names = [service.full_name for service in SERVICES]
            servicer = reflection.aio.ReflectionServicer([*names, health.SERVICE_NAME, reflection.SERVICE_NAME])
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)

    async def start(self) -> None:
        """Binds and accepts calls; raises `BindError` naming the address that is taken."""
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        bound = [bind_tcp(self._config.host, self._config.port, reuse_port=self._reuse_port)]
        if self._handed_over:
            bound.append(self._handed_over)
        elif self._config.unix_socket:
            try:
                bound.append(bind_unix(self._config.unix_socket))
            except BaseException:
                bound[0].close()
                raise
        for listening in bound:
            self.addresses.append(address_of(listening))
            await self._server.listen(listening)

    async def serving(self) -> None:
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def drain(self, grace_seconds: float) -> None:
        """Refuses new calls at once, and returns when the accepted ones have finished or the grace is over."""
        self._admission.drain()
        await self._health.enter_graceful_shutdown()
        if self._config.unix_socket and not self._handed_over:
            # While it listens: by the end of the drain it may be the socket of a successor.
            with suppress(FileNotFoundError):
                os.unlink(self._config.unix_socket)
        # Calls that cross the word on their way are taken over, and turned away when no more can come.
        await self._server.go_away()
        self._admission.turn_away()
        # Watches of health and open reflections end when their clients like, which nobody waits for.
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._admission.idle()
                await self._server.answered()
        self._admission.stop()
        await self._server.stop()

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in ("", *(service.full_name for service in SERVICES)):
            await self._health.set(name, status)
