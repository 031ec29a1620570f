"""A gRPC server on the event loop: listeners, connections, calls, and their orderly end."""

from __future__ import annotations

import asyncio
import resource
import socket
import sys
from collections.abc import Mapping
from typing import Any

import structlog

from awsidecar_server.api import grpc_wire as wire
from awsidecar_server.api.grpc_call import Call, UnaryCall
from awsidecar_server.api.grpc_refusals import refuse, refuse_http, refuse_unknown, too_much_metadata
from awsidecar_server.api.grpc_stream_call import StreamCall
from awsidecar_server.http2.budget import Budget
from awsidecar_server.http2.connection import Connection
from awsidecar_server.http2.limits import Limits
from awsidecar_server.http2.request import Head
from awsidecar_server.http2.stream import Receiver, Stream

_log = structlog.get_logger()

_BACKLOG = 1024
# A sidecar has a handful of clients; more than this are a leak of somebody's, and so is more than half of the files that
# the process may open: the connections to AWS are files, too.
_MOST_CONNECTIONS = 4096
# How long a client has to hear that it should go elsewhere, before what it still sends is refused.
_GOAWAY_SECONDS = 0.1
# For the last answers to leave.
_CLOSING_SECONDS = 2.0

# From Python 3.13 on, the loop removes the path with the listener, which others may go on listening on.
_KEEP_PATH: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


class GrpcServer:
    """Serves gRPC methods over HTTP/2 without TLS, on as many sockets as it is given."""

    def __init__(
        self, *, max_message_bytes: int, max_metadata_bytes: int, max_streams: int, max_waiting_bytes: int
    ) -> None:
        """`max_metadata_bytes` bounds the fields of one request, `max_streams` the calls of one connection.

        `max_waiting_bytes` bounds what all connections together let wait: of requests that are not whole, and of
        responses that their callers have no room for.
        """
        self.loop = asyncio.get_running_loop()
        self.max_message_bytes = max_message_bytes
        self.budget = Budget(max_waiting_bytes)
        self._limits = Limits(max_streams, max_metadata_bytes)
        self._most_connections = _files_allow()
        self._is_turning_away = False
        self._methods: dict[str, Any] = {}
        self._listeners: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._calls: set[Call] = set()
        self._changed = asyncio.Event()

    # Methods

    def add_registered_method_handlers(self, service: str, methods: Mapping[str, Any]) -> None:
        """Adds the methods of a service, as gRPC's generated code does: `grpc.RpcMethodHandler`s by name."""
        for name, handler in methods.items():
            self._methods[f"/{service}/{name}"] = handler

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Does nothing: generated code gives the same methods a second time, for servers that know no names."""

    # Connections

    async def listen(self, bound: socket.socket) -> None:
        """Serves on a bound stream socket, which is the server's from now on."""
        bound.setblocking(False)
        if bound.family == socket.AF_UNIX:
            server = await self.loop.create_unix_server(
                self._connection, sock=bound, backlog=_BACKLOG, **_KEEP_PATH
            )
        else:
            server = await self.loop.create_server(self._connection, sock=bound, backlog=_BACKLOG)
        self._listeners.append(server)

    def _connection(self) -> asyncio.Protocol:
        if len(self._connections) >= self._most_connections:
            if not self._is_turning_away:
                _log.warning("too many connections; more are turned away", connections=len(self._connections))
            self._is_turning_away = True
            return _TurnedAway()
        self._is_turning_away = False
        connection = Connection(self, self._limits, self.budget, self._disconnected)
        self._connections.add(connection)
        return connection

    def _disconnected(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._changed.set()

    # Requests: the connections' acceptor

    def request(self, stream: Stream, head: Head) -> Receiver:
        """Takes a request whose body is still to come."""
        if head.method != "POST":
            return refuse_http(stream, 405)
        if not wire.header(head.fields, "content-type").startswith("application/grpc"):
            return refuse_http(stream, 415)
        handler = self._methods.get(head.path)
        if handler is None:
            return refuse_unknown(stream)
        try:
            call = (StreamCall if handler.request_streaming else UnaryCall)(self, stream, handler, head)
        except wire.Refused as refused:
            return refuse(stream, refused, head.path)
        self._calls.add(call)
        return call

    def too_large(self, stream: Stream) -> None:
        """Answers a request whose metadata are larger than is allowed."""
        refuse(stream, too_much_metadata(self._limits.header_list_bytes))

    def finished(self, call: Call) -> None:
        """Forgets a call."""
        self._calls.discard(call)
        if not self._calls:
            self._changed.set()

    # The end

    async def go_away(self) -> None:
        """Takes no more connections, and returns when clients have heard that they should send no more calls."""
        self._close_listeners()
        for connection in self._connections:
            connection.go_away(_GOAWAY_SECONDS)
        await asyncio.sleep(_GOAWAY_SECONDS)

    async def answered(self) -> None:
        """Returns when callers have taken the answers that are made; only after `go_away`."""
        for connection in list(self._connections):
            await connection.answered()

    async def stop(self) -> None:
        """Ends the calls that are left, and closes the connections when their answers are out, or soon."""
        self._close_listeners()
        for call in list(self._calls):
            call.cancel()
        deadline = self.loop.time() + _CLOSING_SECONDS
        try:
            async with asyncio.timeout_at(deadline):
                await self._until(lambda: not self._calls)
                for connection in list(self._connections):
                    connection.refuse_more()
                await self._until(lambda: not self._connections)
        except TimeoutError:
            for connection in list(self._connections):
                connection.abort()

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    async def _until(self, done: Any) -> None:
        while not done():
            self._changed.clear()
            await self._changed.wait()


def _files_allow() -> int:
    """How many connections are taken at once, by the files that the process may open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS if files == resource.RLIM_INFINITY else min(_MOST_CONNECTIONS, files // 2)


class _TurnedAway(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
