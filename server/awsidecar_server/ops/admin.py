"""The operations HTTP server: `/metrics`, `/livez`, `/readyz`.

Three pages that anyone may read need no web framework, whose import would cost more memory than all sessions together.
Each connection asks once and in good time, and there are not many of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from awsidecar_server.config import AdminConfig, BadConfig

_LONGEST_HEAD_BYTES = 16 * 1024
_ASKING_SECONDS = 5.0
_MAX_CONNECTIONS = 64
_TEXT = "text/plain; charset=utf-8"
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


class Metrics(Protocol):
    """What `/metrics` shows."""

    async def page(self) -> tuple[bytes, str]:
        """The scrape, and its content type."""


class AdminServer:
    """Serves the operator. Liveness says that the event loop turns, and never asks AWS."""

    def __init__(self, config: AdminConfig, metrics: Metrics, is_ready: Callable[[], Awaitable[bool]]) -> None:
        self._config = config
        self._metrics = metrics
        self._is_ready = is_ready
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self.address = ""

    async def start(self) -> None:
        """Binds and serves; raises `BadConfig` naming the address that is taken."""
        host, port = self._config.host, self._config.port
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=_LONGEST_HEAD_BYTES)
        except (OSError, UnicodeError) as refused:
            raise BadConfig(
                f"AWSIDECAR_ADMIN_PORT: {host}:{port} cannot be served on (is it taken?); "
                "for example AWSIDECAR_ADMIN_PORT=9465"
            ) from refused
        bracketed = f"[{host}]" if ":" in host else host
        self.address = f"{bracketed}:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        # Who is connected and asks nothing would end by itself in seconds, which is longer than the process has.
        for connection in self._connections:
            connection.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            if len(self._connections) <= _MAX_CONNECTIONS:
                async with asyncio.timeout(_ASKING_SECONDS):
                    writer.write(await self._answer(await reader.readuntil(b"\r\n\r\n")))
                    await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError, TimeoutError):
            return  # nobody who could be told
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _answer(self, head: bytes) -> bytes:
        line = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(line) != 3 or not line[2].startswith("HTTP/1."):
            return _response(400, _TEXT, b"this is HTTP/1.1\n")
        method, target, _ = line
        if method not in ("GET", "HEAD"):
            return _response(405, _TEXT, b"pages here are read\n")
        answer = await self._page(target.partition("?")[0])
        return answer if method == "GET" else answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"

    async def _page(self, path: str) -> bytes:
        if path == "/metrics":
            body, content_type = await self._metrics.page()
            return _response(200, content_type, body)
        if path == "/livez":
            return _response(200, _TEXT, b"alive\n")
        if path == "/readyz":
            is_ready = await self._is_ready()
            return _response(200, _TEXT, b"ready\n") if is_ready else _response(503, _TEXT, b"not ready\n")
        return _response(404, _TEXT, b"there are /metrics, /livez and /readyz\n")


def _response(status: int, content_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + body
