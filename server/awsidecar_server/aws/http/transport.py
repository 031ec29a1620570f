"""The HTTP to AWS: one request, one answer, over pooled connections that are kept alive.

Nothing is followed, unpacked, remembered or sent twice: AWS's answers need none of it, and a repeated write is for
`retries` alone to decide. docs/adr/0009-http-client.md says why this is no library.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import NamedTuple
from urllib.parse import urlsplit

from awsidecar_server.aws.http.dialer import Dialer, Origin
from awsidecar_server.aws.http.messages import HttpAnswer, HttpFailure, request_head
from awsidecar_server.aws.http.places import Places
from awsidecar_server.aws.http.pool import Connections, HttpPool
from awsidecar_server.aws.http.proxies import Proxies
from awsidecar_server.aws.retries import Stage
from awsidecar_server.config import AwsConfig

# The URLs in use: endpoints, whose cache has this size, too.
_MAX_TARGETS = 1024
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PATH = re.compile(r"/[!-~]*", re.ASCII)


class _Target(NamedTuple):
    """What a URL says."""

    origin: Origin
    path: str


class _Route(NamedTuple):
    """The way to an origin."""

    pool: HttpPool
    # What a proxy that forwards requests wants besides the path, and to be told; else empty.
    prefix: str
    headers: Mapping[str, str]


class HttpTransport:
    """Posts to AWS. One for each process, to be made and used in its event loop."""

    def __init__(self, config: AwsConfig, environment: Mapping[str, str]) -> None:
        """The environment names the proxies. Raises `BadConfig` for proxies and a CA bundle of no use."""
        self._dialer = Dialer(config, Proxies(environment))
        self._pool_size = config.pool_size
        self._places = Places(config.max_connections)
        self._read_timeout = config.read_timeout_seconds
        self._attempt_timeout = config.attempt_timeout_seconds
        self._routes: dict[Origin, _Route] = {}
        self._is_closed = False

    def __repr__(self) -> str:
        in_use, idle = self.connections
        return f"<HttpTransport {len(self._routes)} origins, {in_use} connections in use, {idle} idle>"

    @property
    def connections(self) -> Connections:
        """Those to all origins."""
        each = [route.pool.connections for route in self._routes.values()]
        return Connections(sum(one.in_use for one in each), sum(one.idle for one in each))

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        deadline: float | None = None,
        on_sending: Callable[[], None] | None = None,
    ) -> HttpAnswer:
        """Sends one request, once, and takes its answer, whatever the status. The headers include `Host`.

        Raises `HttpFailure`. `deadline` is on the event loop's clock. `on_sending` is called when a connection is
        there, before the first byte leaves. Cancelling closes the connection.
        """
        origin, path = _target(url)
        route = self._routes.get(origin) or self._open_route(origin)
        if route.headers:
            headers = {**headers, **route.headers}
        head = request_head("POST", route.prefix + path, headers, len(body))
        pool = route.pool
        connection = await pool.acquire(deadline)
        try:
            if on_sending is not None:
                on_sending()
            return await connection.exchange(
                head,
                body,
                read_timeout=self._read_timeout,
                total_timeout=self._attempt_timeout,
                deadline=deadline,
            )
        finally:
            pool.release(connection)

    async def aclose(self) -> None:
        """Closes all connections; requests in progress fail."""
        self._is_closed = True
        await self._dialer.aclose()
        await asyncio.gather(*[route.pool.aclose() for route in self._routes.values()])

    def _open_route(self, origin: Origin) -> _Route:
        if self._is_closed:
            raise HttpFailure(Stage.UNSENT, "connect", "the sidecar has closed its connections to AWS")
        # Origins come and go with accounts and regions; what nobody uses is not kept.
        for unused in [known for known, route in self._routes.items() if route.pool.is_empty]:
            del self._routes[unused]
        pool = HttpPool(partial(self._dialer.dial, origin), self._pool_size, self._places)
        proxy = self._dialer.proxy_of(origin)
        if proxy is not None and origin.scheme == "http":
            route = _Route(pool, f"http://{origin.authority}", proxy.headers)
        else:
            route = _Route(pool, "", {})
        self._routes[origin] = route
        return route


@lru_cache(_MAX_TARGETS)
def _target(url: str) -> _Target:
    parts = urlsplit(url)
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or not _PATH.fullmatch(path):
        raise ValueError(f"{url!r} is no URL to post to")
    return _Target(Origin(parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme]), path)
