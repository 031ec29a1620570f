"""The sockets that gRPC is served on."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

# A client whose host or network is gone says no goodbye. What listens passes this on to its connections.
_KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}.items()
        if hasattr(socket, name)  # TCP_KEEPIDLE has another name on macOS
    ),
]

# For a lock that is held for a moment.
_LOCK_TRIES = 50
_LOCK_PAUSE_SECONDS = 0.02


class BindError(Exception):
    """An address that cannot be served on."""


def bind_tcp(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A socket that listens on an address of this host; raises `BindError` naming the setting when it is taken.

    With `reuse_port`, others may listen on the same port who say that, too; the kernel deals the connections out.
    """
    with _refusing(host, port), ExitStack() as undoing:
        bound = undoing.enter_context(_bound(host, port, reuse_port=reuse_port))
        # Bound is not served yet: of two that bind, the second finds out when it listens.
        bound.listen()
        undoing.pop_all()
    return bound


def reserve_tcp(host: str, port: int) -> socket.socket:
    """A socket that keeps a port for those who bind it with `reuse_port`, and to which nobody can connect.

    Raises `BindError` when somebody else listens on the port, or keeps it in this way.
    """
    if port:
        # As one who shares with nobody: with the option of those who do, we would join a stranger.
        bind_tcp(host, port).close()
    with _refusing(host, port):
        reserved = _bound(host, port, reuse_port=True)
    # From here on, the trial of another one fails, though nobody listens yet.
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return reserved


def _bound(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with ExitStack() as undoing:
        bound = undoing.enter_context(socket.socket(family, kind, protocol))
        # A port whose last connections are still closing is free.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(reuse_port))
        for level, option, value in _KEEPALIVE:
            bound.setsockopt(level, option, value)
        if family == socket.AF_INET6:
            with suppress(OSError):
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind(address)
        undoing.pop_all()
    return bound


@contextmanager
def _refusing(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as taken:
        shown = f"[{host}]" if ":" in host else host
        raise BindError(
            f"AWSIDECAR_LISTEN_PORT: {shown}:{port} cannot be served on (is it taken?); "
            "for example AWSIDECAR_LISTEN_PORT=50052"
        ) from taken


def bind_unix(path: str) -> socket.socket:
    """A Unix socket, whose group decides who may call; raises `BindError`."""
    bound = socket.socket(socket.AF_UNIX)
    try:
        with _alone_in(os.path.dirname(os.path.abspath(path))):
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


@contextmanager
def _alone_in(directory: str) -> Iterator[None]:
    """Of two sidecars, one at a time: one that is bound and does not listen yet looks dead, and would be removed."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        for _ in range(_LOCK_TRIES):
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(_LOCK_PAUSE_SECONDS)  # the loop has nothing else to do yet
        else:
            raise OSError(f"{directory} is locked")
        yield
    finally:
        os.close(descriptor)


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
