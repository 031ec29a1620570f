"""Opens connections to AWS: addresses, TLS, and the proxies in between."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import NamedTuple

from aiohappyeyeballs import start_connection

from awsidecar_server.aws.http.connection import HttpConnection
from awsidecar_server.aws.http.messages import HttpFailure, request_head
from awsidecar_server.aws.http.names import Names
from awsidecar_server.aws.http.proxies import Proxies, Proxy
from awsidecar_server.aws.retries import Stage
from awsidecar_server.config import AwsConfig, BadConfig
from awsidecar_server.errors import Draining

# RFC 8305, 8: what the next address is given before the one after it is tried, too.
_NEXT_ADDRESS_SECONDS = 0.25

OnLost = Callable[[HttpConnection], None]


class Origin(NamedTuple):
    """Whom we speak with."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Dialer:
    """Opens connections on which a request can be sent. A failure is one of stage `UNSENT`."""

    def __init__(self, config: AwsConfig, proxies: Proxies, names: Names | None = None) -> None:
        """Raises `BadConfig` for a CA bundle that holds no certificate."""
        self._config = config
        self._proxies = proxies
        self._names = names or Names()
        # A bundle is read now, to be refused now. The system's CAs are read when they are first needed, which some
        # endpoints never do: it takes some 30 ms of CPU and 2 MB.
        self._trust: ssl.SSLContext | None = _trust(config.ca_bundle) if config.ca_bundle else None
        self._trusting = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Dialer {self._proxies!r}>"

    def proxy_of(self, origin: Origin) -> Proxy | None:
        return self._proxies.of(*origin)

    async def dial(self, origin: Origin, on_lost: OnLost) -> HttpConnection:
        """An open connection. `on_lost` is called when it has closed."""
        proxy = self.proxy_of(origin)
        peer = "AWS" if proxy is None else "the proxy to AWS"
        try:
            async with asyncio.timeout(self._config.connect_timeout_seconds):
                if proxy is None:
                    return await self._connect(origin.host, origin.port, origin.scheme == "https", on_lost)
                return await self._through(proxy, origin, on_lost)
        except Draining as closing:
            raise HttpFailure(Stage.UNSENT, "connect", "the sidecar has closed its connections to AWS") from closing
        except HttpFailure as failure:  # of the CONNECT
            if failure.stage is Stage.UNSENT:  # it was answered, and says so
                raise
            raise HttpFailure(Stage.UNSENT, "connect", "the proxy did not answer") from failure
        except TimeoutError as late:
            raise HttpFailure(Stage.UNSENT, "connect", f"{peer} could not be connected to in time") from late
        except ssl.SSLError as insecure:
            raise HttpFailure(Stage.UNSENT, "connect", "no secure connection to AWS could be made") from insecure
        except (OSError, RuntimeError, UnicodeError) as failure:  # uvloop's, and a name that is none
            raise HttpFailure(Stage.UNSENT, "connect", f"{peer} could not be connected to") from failure

    async def aclose(self) -> None:
        """Opens nothing more that a name is to be looked up for."""
        await self._names.aclose()

    async def _secure(self) -> ssl.SSLContext:
        """What makes a connection secure. Without a bundle in the configuration, the system's CAs are trusted."""
        async with self._trusting:
            if self._trust is None:
                self._trust = await asyncio.to_thread(_trust, None)
        return self._trust

    async def _connect(self, host: str, port: int, is_secure: bool, on_lost: OnLost) -> HttpConnection:
        loop = asyncio.get_running_loop()
        addresses = await self._names.addresses(host, port)
        plain = await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, loop=loop)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            _, connection = await loop.create_connection(lambda: HttpConnection(loop, on_lost), sock=plain)
        except BaseException:
            plain.close()
            raise
        if is_secure:
            await self._encrypt(connection, host)
        return connection

    async def _through(self, proxy: Proxy, origin: Origin, on_lost: OnLost) -> HttpConnection:
        """A connection to the proxy, that for a secure origin has been led on to it."""
        connection = await self._connect(proxy.host, proxy.port, proxy.is_secure, on_lost)
        if origin.scheme != "https":
            return connection
        try:
            await self._lead_on(connection, proxy, origin)
        except BaseException:
            connection.abort()
            raise
        await self._encrypt(connection, origin.host)
        return connection

    async def _lead_on(self, connection: HttpConnection, proxy: Proxy, origin: Origin) -> None:
        head = request_head("CONNECT", origin.authority, {"Host": origin.authority, **proxy.headers}, None)
        timeout = self._config.connect_timeout_seconds
        answer = await connection.exchange(head, read_timeout=timeout, to_connect=True)
        if not 200 <= answer.status < 300 or not connection.is_ready:
            message = f"the proxy did not lead on to AWS: HTTP status {answer.status}"
            raise HttpFailure(Stage.UNSENT, "connect", message)

    async def _encrypt(self, connection: HttpConnection, host: str) -> None:
        """Goes on in TLS. The connection knows what is below, and so what of a request has not left us yet."""
        loop = asyncio.get_running_loop()
        try:
            trust = await self._secure()
            if not connection.is_ready:  # it spoke first, which no peer does that speaks TLS
                raise ConnectionResetError("closed before the handshake")
            secure = await loop.start_tls(connection.transport, connection, trust, server_hostname=host)
            if secure is None:
                raise ConnectionResetError("closed during the handshake")
        except BaseException:
            connection.abort()
            raise
        connection.upgrade(secure)


def _trust(ca_bundle: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_bundle)
    except (OSError, ValueError) as problem:
        raise BadConfig(
            f"AWS_CA_BUNDLE: {ca_bundle!r} holds no CA certificates in PEM;"
            " for example AWS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt"
        ) from problem
    context.set_alpn_protocols(["http/1.1"])
    return context
