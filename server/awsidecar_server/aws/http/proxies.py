"""The proxies on the way to AWS, as HTTPS_PROXY, HTTP_PROXY and NO_PROXY name them."""

from __future__ import annotations

import ipaddress
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from awsidecar_server.config import BadConfig

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where a proxy is, and what it wants to be told."""

    host: str
    port: int
    # The way to the proxy itself is encrypted.
    is_secure: bool
    authorization: str | None = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        return {"Proxy-Authorization": self.authorization} if self.authorization else {}


class Proxies:
    """Knows which origin is behind which proxy. What listens on this host is never behind one."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """The names in lower case win, as everywhere. Raises `BadConfig`, which never quotes a proxy's password."""
        self._by_scheme: dict[str, Proxy] = {}
        for scheme in _DEFAULT_PORTS:
            variable = f"{scheme}_proxy"
            # A CGI server sets HTTP_PROXY to a header of the client's (https://httpoxy.org).
            names = (variable,) if "REQUEST_METHOD" in environment else (variable, variable.upper())
            url = next((environment[name] for name in names if environment.get(name)), None)
            if url is not None:
                self._by_scheme[scheme] = _proxy(url, variable.upper())
        without = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
        self._without = frozenset(name.strip().lower().lstrip(".") for name in without.split(",") if name.strip())

    def __repr__(self) -> str:
        return f"<Proxies {', '.join(self._by_scheme) or 'none'}>"

    def of(self, scheme: str, host: str, port: int) -> Proxy | None:
        """The proxy to an origin; None for the direct way."""
        proxy = self._by_scheme.get(scheme)
        return None if proxy is None or _is_this_host(host) or self._is_excepted(host.lower(), port) else proxy

    def _is_excepted(self, host: str, port: int) -> bool:
        if not self._without.isdisjoint(("*", host, f"{host}:{port}")):
            return True
        labels = host.split(".")
        parents = (".".join(labels[first:]) for first in range(1, len(labels)))
        return any(parent in self._without or f"{parent}:{port}" in self._without for parent in parents)


def _proxy(url: str, variable: str) -> Proxy:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        if not parts.hostname:
            raise ValueError("no host")
    except (KeyError, ValueError):  # whose text may quote the password
        raise BadConfig(f"{variable}: is no proxy; for example {variable}=http://proxy.internal:3128") from None
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {b64encode(pair.encode()).decode()}"
    return Proxy(parts.hostname, port, parts.scheme == "https", authorization)


def _is_this_host(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
