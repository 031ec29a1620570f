"""Posts requests over pooled connections. It follows no redirect, keeps no cookie, and repeats nothing by itself."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

import aiohttp

from awsidecar_server.config import AwsConfig

# An idle connection is dropped before AWS's front ends drop it (about 20 s), so that none is found dead.
_KEEPALIVE_SECONDS = 15
_LONGEST_BODY_BYTES = 64 * 1024 * 1024


class HttpAnswer:
    """A whole answer. Names of headers are in any case."""

    __slots__ = ("_headers", "body", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self._headers = headers
        self.body = body

    def header(self, name: str) -> str | None:
        return self._headers.get(name)


class HttpFailure(Exception):
    """No answer. `cause` is that of `AwsUnreachable`; `is_unsent`: no byte of the request has left us."""

    def __init__(self, cause: str, *, is_unsent: bool) -> None:
        super().__init__(cause)
        self.cause = cause
        self.is_unsent = is_unsent


class HttpTransport:
    def __init__(self, config: AwsConfig) -> None:
        self._config = config
        self._session: aiohttp.ClientSession | None = None
        self._direct: aiohttp.ClientSession | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        session = self._session or self._open()
        try:
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                return HttpAnswer(response.status, response.headers, await response.read())
        except aiohttp.ClientConnectorError as failed:
            raise HttpFailure("connect", is_unsent=True) from failed
        except aiohttp.ConnectionTimeoutError as failed:
            raise HttpFailure("connect", is_unsent=True) from failed
        except TimeoutError as failed:
            raise HttpFailure("timeout", is_unsent=False) from failed
        except aiohttp.ClientError as failed:
            raise HttpFailure("connection_lost", is_unsent=False) from failed

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        config = self._config
        tls = ssl.create_default_context(cafile=config.ca_bundle)
        connector = aiohttp.TCPConnector(limit=config.pool_size, keepalive_timeout=_KEEPALIVE_SECONDS, ssl=tls)
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=config.connect_timeout_seconds, sock_read=config.read_timeout_seconds
        )
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )
        return self._session
