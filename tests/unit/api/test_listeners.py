from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from awsidecar_server.api import listeners
from awsidecar_server.api.listeners import BindError, address_of, bind_tcp, bind_unix, reserve_tcp

HOST = "127.0.0.1"


@pytest.fixture
def reserved() -> Iterator[int]:
    """A port that is reserved."""
    with reserve_tcp(HOST, 0) as holding:
        yield holding.getsockname()[1]


def test_reserved_port_may_be_shared_by_those_who_say_so(reserved: int) -> None:
    with bind_tcp(HOST, reserved, reuse_port=True) as one, bind_tcp(HOST, reserved, reuse_port=True) as other:
        assert address_of(one) == address_of(other) == f"127.0.0.1:{reserved}"


def test_reservation_takes_no_connection(reserved: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, reserved))


@pytest.mark.parametrize("take", [bind_tcp, reserve_tcp])
def test_reserved_port_is_refused_to_others_before_anybody_listens(reserved: int, take: object) -> None:
    assert callable(take)
    with pytest.raises(BindError, match=f"^AWSIDECAR_LISTEN_PORT: .*:{reserved} cannot be served on"):
        take(HOST, reserved)


@pytest.mark.parametrize("reuse_port", [False, True])
def test_port_that_is_listened_on_cannot_be_reserved(reuse_port: bool) -> None:
    with (
        bind_tcp(HOST, 0, reuse_port=reuse_port) as other,
        pytest.raises(BindError, match="for example AWSIDECAR_LISTEN_PORT=50052"),
    ):
        reserve_tcp(HOST, other.getsockname()[1])


def test_port_is_free_again_though_its_last_connections_linger() -> None:
    with reserve_tcp(HOST, 0) as reserved:
        port = reserved.getsockname()[1]
        with bind_tcp(HOST, port, reuse_port=True) as worker:
            client = socket.create_connection((HOST, port))
            accepted, _ = worker.accept()
            accepted.close()  # the end that closes first keeps the address for a minute
            client.close()
    with reserve_tcp(HOST, port):
        pass


def test_address_of_another_host_is_refused() -> None:
    with pytest.raises(BindError, match=r"AWSIDECAR_LISTEN_PORT: 192\.0\.2\.1:0"):
        reserve_tcp("192.0.2.1", 0)


def test_connections_find_out_that_their_client_is_gone() -> None:
    with bind_tcp(HOST, 0) as bound, socket.create_connection(bound.getsockname()):
        accepted, _ = bound.accept()
        with accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 4


def test_one_sidecar_at_a_time_takes_the_path_of_a_unix_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "_LOCK_TRIES", 2)
    path = tmp_path / "grpc.sock"
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # as another one does that is about to listen
    with pytest.raises(BindError, match=r"^AWSIDECAR_LISTEN_UNIX_SOCKET: "):
        bind_unix(str(path))
    assert not path.exists()
    os.close(descriptor)
    with bind_unix(str(path)), pytest.raises(BindError):
        bind_unix(str(path))
