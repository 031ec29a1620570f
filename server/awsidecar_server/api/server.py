"""The gRPC server: methods from the contract, health, reflection, and the listeners."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable, Mapping

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from awsidecar_server.api.admission import Admission
from awsidecar_server.api.calls import Handler, Streaming
from awsidecar_server.api.edge import Edge
from awsidecar_server.config import ListenConfig
from awsidecar_server.contract import SERVICES, Rpc, rpcs

_KIB = 1024
# A message this much over the limit still arrives, and is answered with a typed error instead of gRPC's own.
_MESSAGE_HEADROOM_BYTES = 4 * 1024 * _KIB
# gRPC's own are 8 and 16 KiB, which an ID token with many groups outgrows.
_METADATA_SOFT_BYTES = 32 * _KIB
_METADATA_HARD_BYTES = 64 * _KIB

# Longer than a call is on its way from a client on this host to its handler.
_TAKE_OVER_SECONDS = 0.1
# For the answers of the last calls to leave.
_LAST_ANSWERS_SECONDS = 0.2


class BindError(Exception):
    """An address that cannot be served on."""


class Server:
    """Serves the contract. Health is NOT_SERVING until `serving` and after `draining`."""

    def __init__(self, config: ListenConfig, admission: Admission, edge: Edge) -> None:
        self._config = config
        self._admission = admission
        self._edge = edge
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=server_options(config))
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
            self._add(service.full_name, methods)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if self._config.is_loopback:  # reflection tells the whole contract, so it is not shown to a network
            names = [service.full_name for service in SERVICES]
            reflection.enable_server_reflection(
                [*names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server
            )

    def _add(self, service: str, methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]]) -> None:
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))

    async def start(self) -> None:
        """Binds and accepts calls; raises `BindError` naming the address that is taken."""
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        try:
            port = self._server.add_insecure_port(f"{host}:{self._config.port}")
        except RuntimeError as taken:
            raise BindError(
                f"AWSIDECAR_LISTEN_PORT: {host}:{self._config.port} cannot be served on (is it taken?); "
                "for example AWSIDECAR_LISTEN_PORT=50052"
            ) from taken
        self.addresses.append(f"{host}:{port}")
        if self._config.unix_socket:
            self._bind_unix(self._config.unix_socket)
        await self._server.start()

    def _bind_unix(self, path: str) -> None:
        try:
            _remove_dead_socket(path)
            self._server.add_insecure_port(f"unix:{path}")
            # The socket's group decides who may call.
            os.chmod(path, 0o660)
        except (RuntimeError, OSError) as refused:
            raise BindError(
                f"AWSIDECAR_LISTEN_UNIX_SOCKET: {path!r} cannot be served on; "
                "for example AWSIDECAR_LISTEN_UNIX_SOCKET=/run/awsidecar.sock"
            ) from refused
        self.addresses.append(f"unix:{path}")

    async def serving(self) -> None:
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def drain(self, grace_seconds: float) -> None:
        """Refuses new calls at once, and returns when the accepted ones have finished or the grace is over."""
        self._admission.drain()
        await self._health.enter_graceful_shutdown()
        # gRPC cancels what has arrived and is not handed over when it stops, and clients do not retry what is
        # cancelled. So calls are taken over first, and answered when gRPC has told its clients to go elsewhere.
        await asyncio.sleep(_TAKE_OVER_SECONDS)
        stopping = asyncio.ensure_future(self._server.stop(grace_seconds))
        await asyncio.sleep(0)
        self._admission.turn_away()
        # Watches of health and open reflections end when their clients like, which nobody waits for.
        await asyncio.wait(
            {stopping, asyncio.ensure_future(self._admission.idle())}, return_when=asyncio.FIRST_COMPLETED
        )
        await self._server.stop(_LAST_ANSWERS_SECONDS)
        await stopping

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in ("", *(service.full_name for service in SERVICES)):
            await self._health.set(name, status)


def server_options(config: ListenConfig) -> list[tuple[str, int]]:
    """The options of a gRPC server: sizes, ports and handshakes."""
    return [
        ("grpc.max_receive_message_length", config.max_message_bytes + _MESSAGE_HEADROOM_BYTES),
        ("grpc.max_send_message_length", config.max_message_bytes + _MESSAGE_HEADROOM_BYTES),
        ("grpc.max_metadata_size", _METADATA_SOFT_BYTES),
        ("grpc.absolute_max_metadata_size", _METADATA_HARD_BYTES),
        # Two sidecars must not share a port without knowing.
        ("grpc.so_reuseport", 0),
        # A connection that says nothing is not kept for gRPC's two minutes.
        ("grpc.server_handshake_timeout_ms", 10_000),
    ]


def _remove_dead_socket(path: str) -> None:
    """Removes the socket that a crashed sidecar left. One that still answers, or any other file, is left alone."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise OSError(f"{path} is being served on")
