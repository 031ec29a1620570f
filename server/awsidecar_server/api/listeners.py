"""The sockets that gRPC is served on."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress


class BindError(Exception):
    """An address that cannot be served on."""


def bind_tcp(host: str, port: int) -> socket.socket:
    """A socket on an address of this host; raises `BindError` naming the setting when it is taken."""
    shown = f"[{host}]" if ":" in host else host
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        try:
            # A port whose last connections are still closing is free.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                with suppress(OSError):
                    bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            bound.bind(address)
            # Bound is not served yet: of two that bind, the second finds out when it listens.
            bound.listen()
        except OSError:
            bound.close()
            raise
    except OSError as taken:
        raise BindError(
            f"AWSIDECAR_LISTEN_PORT: {shown}:{port} cannot be served on (is it taken?); "
            "for example AWSIDECAR_LISTEN_PORT=50052"
        ) from taken
    return bound


def bind_unix(path: str) -> socket.socket:
    """A Unix socket, whose group decides who may call; raises `BindError`."""
    bound = socket.socket(socket.AF_UNIX)
    try:
        _remove_dead_socket(path)
        bound.bind(path)
        os.chmod(path, 0o660)
        bound.listen()
    except OSError as refused:
        bound.close()
        raise BindError(
            f"AWSIDECAR_LISTEN_UNIX_SOCKET: {path!r} cannot be served on; "
            "for example AWSIDECAR_LISTEN_UNIX_SOCKET=/run/awsidecar.sock"
        ) from refused
    return bound


def address_of(bound: socket.socket) -> str:
    """As a gRPC client names it."""
    if bound.family == socket.AF_UNIX:
        return f"unix:{bound.getsockname()}"
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
