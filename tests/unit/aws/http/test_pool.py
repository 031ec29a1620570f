"""Connections to a peer: which are used again, how many there are, and who gets one."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from tests.unit.aws.http.peers import Authority, Peer, Session, answer, serving
from tests.unit.aws.http.posting import HEADERS, answer_all, failure_of, open_files, transporting, until

from awsidecar_server.aws.http.connection import HttpConnection
from awsidecar_server.aws.http.dialer import Dialer, Origin
from awsidecar_server.aws.http.pool import HttpPool
from awsidecar_server.aws.http.proxies import Proxies
from awsidecar_server.aws.retries import Stage
from awsidecar_server.config import AwsConfig

# Which connection is used again.


async def test_a_connection_closed_while_idle_is_not_used_again() -> None:
    async def script(session: Session) -> None:
        await session.request()
        await session.send(answer())

    async with serving(script) as peer, transporting() as transport:
        await transport.post(peer.url, HEADERS, b"{}")
        await until(lambda: transport.connections == (0, 0))
        await transport.post(peer.url, HEADERS, b"{}")
        assert peer.connections == 2


@pytest.mark.parametrize(
    "data",
    [answer(b"{}", "Connection: close"), answer() + answer(b"surplus")],
    ids=["close", "surplus"],
)
async def test_a_connection_that_is_not_clean_is_not_used_again(data: bytes) -> None:
    async def script(session: Session) -> None:
        await session.request()
        await session.send(data)
        await session.ended()

    async with serving(script) as peer, transporting() as transport:
        for _ in range(2):
            assert (await transport.post(peer.url, HEADERS, b"{}")).body == b"{}"
        assert peer.connections == 2
        await until(lambda: transport.connections == (0, 0))


async def test_what_comes_unasked_closes_the_connection() -> None:
    async def script(session: Session) -> None:
        await session.request()
        await session.send(answer())
        await surplus.wait()
        await session.send(answer(b"evil"))
        await session.ended()

    surplus = asyncio.Event()
    async with serving(script) as peer, transporting() as transport:
        await transport.post(peer.url, HEADERS, b"{}")
        surplus.set()
        await until(lambda: transport.connections == (0, 0))
        assert (await transport.post(peer.url, HEADERS, b"{}")).body == b"{}"


@pytest.mark.parametrize("secure", [False, True])
async def test_an_early_answer_counts_and_its_connection_does_not(authority: Authority, secure: bool) -> None:
    async def script(session: Session) -> None:
        await session.head()
        await session.send(answer(b"no", status="413 Content Too Large"))
        await done.wait()

    done = asyncio.Event()
    tls = authority.server if secure else None
    async with serving(script, tls) as peer, transporting(ca_bundle=authority.bundle) as transport:
        got = await transport.post(peer.url, HEADERS, b"x" * 30_000_000)
        assert (got.status, got.body) == (413, b"no")
        await until(lambda: transport.connections == (0, 0))
        done.set()


# How many there are, and whose turn it is.


async def test_the_pool_is_bounded_and_serves_in_turn() -> None:
    async def script(session: Session) -> None:
        await session.answer_all()

    async with serving(script) as peer, transporting(pool_size=2) as transport:
        await asyncio.gather(*[transport.post(peer.url, HEADERS, b"%d" % number) for number in range(20)])
        # The first two open the connections; the others come in turn, but for two that are on their way at a time.
        waited = [int(request.body) for request in peer.requests if int(request.body) >= 2]
        assert (peer.most_open, len(peer.requests)) == (2, 20)
        assert max(abs(number - place) for place, number in enumerate(waited, 2)) <= 1
        assert transport.connections == (0, 2)
        assert repr(transport) == "<HttpTransport 1 origins, 0 connections in use, 2 idle>"


async def test_connections_to_all_origins_together_are_bounded() -> None:
    async with (
        serving(answer_all) as one,
        serving(answer_all) as other,
        transporting(pool_size=4, max_connections=4) as transport,
    ):
        posts = [transport.post(peer.url, HEADERS, b"{}") for _ in range(20) for peer in (one, other)]
        assert {got.status for got in await asyncio.gather(*posts)} == {200}
        assert sum(transport.connections) <= 4
        assert len(one.requests) == len(other.requests) == 20


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_what_the_peer_has_said_is_heard_before_the_loop_comes_to_it(
    authority: Authority, secure: bool
) -> None:
    """An end, or an answer that nobody asked for: neither is the answer to the next request."""

    async def script(session: Session) -> None:
        await session.request()
        await session.send(answer())
        await session.ended()

    async with serving(script, authority.server if secure else None) as peer:
        dialer = Dialer(AwsConfig(ca_bundle=authority.bundle), Proxies({}))
        pool = HttpPool(partial(dialer.dial, Origin(peer.scheme, "localhost", peer.port)), 2)
        connection = await pool.acquire(None)
        assert (await connection.exchange(b"POST / HTTP/1.1\r\n\r\n", read_timeout=5)).status == 200
        before = connection.is_silent
        plain = connection.transport.get_extra_info("socket")
        assert plain.fileno() >= 0
        with socket.socket(fileno=os.dup(plain.fileno())) as twin:
            twin.shutdown(socket.SHUT_RD)  # as if the peer had ended, with the loop kept busy
            assert connection.is_ready
            assert (before, connection.is_silent) == (True, False)
        pool.release(connection)
        assert await pool.acquire(None) is not connection
        connection.abort()
        await connection.closed
        await pool.aclose()


@pytest.mark.parametrize("has_socket", [False, True], ids=["none", "closed"])
async def test_connection_without_an_open_socket_is_not_silent(has_socket: bool) -> None:
    """Loops differ in what a transport that is being closed still gives."""
    plain = None
    if has_socket:
        plain = socket.socket()
        plain.close()

    class Closing(asyncio.Transport):
        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return plain

    connection = HttpConnection(asyncio.get_running_loop(), lambda _: None)
    connection.connection_made(Closing())
    assert not connection.is_silent


async def test_cancelling_a_request_closes_its_connection_and_makes_room() -> None:
    async def script(session: Session) -> None:
        if session.number == 1:
            await session.request()
            await session.ended()
        else:
            await session.answer_all()

    async with serving(script) as peer, transporting(pool_size=1) as transport:
        first = asyncio.create_task(transport.post(peer.url, HEADERS, b"1"))
        await until(lambda: len(peer.requests) == 1)
        second = asyncio.create_task(transport.post(peer.url, HEADERS, b"2"))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).status == 200
        assert first.cancelled()
        assert (peer.most_open, transport.connections) == (1, (0, 1))


async def test_cancelling_in_any_moment_leaves_a_pool_that_serves() -> None:
    async with serving(answer_all) as peer, transporting(pool_size=2) as transport:
        for turns in range(40):
            tasks = [asyncio.create_task(transport.post(peer.url, HEADERS, b"{}")) for _ in range(4)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [getattr(result, "status", None) for result in results[1::2]] == [200, 200]
            await until(lambda: transport.connections.in_use == 0)
        assert transport.connections.idle <= 2
        assert peer.most_open <= 4  # the peer sees an end later than the client makes it


async def test_cancelling_while_connecting_leaves_nothing_open(authority: Authority) -> None:
    async def script(session: Session) -> None:
        await session.ended()

    async with serving(script) as peer, transporting(ca_bundle=authority.bundle) as transport:
        before = open_files()
        url = peer.url.replace("http:", "https:")
        task = asyncio.create_task(transport.post(url, HEADERS, b"{}"))
        await until(lambda: peer.connections == 1)
        task.cancel()
        await until(lambda: peer.open == 0 and open_files() <= before)
        assert transport.connections == (0, 0)


async def test_a_failed_connection_gives_its_place_to_who_waits(authority: Authority) -> None:
    async def script(session: Session) -> None:
        session.reset()

    async with serving(script) as peer, transporting(pool_size=1, ca_bundle=authority.bundle) as transport:
        url = peer.url.replace("http:", "https:")
        outcomes = await asyncio.gather(*[failure_of(transport, url) for _ in range(5)])
        assert (outcomes, peer.most_open) == ([(Stage.UNSENT, "connect")] * 5, 1)


@asynccontextmanager
async def pooling(peer: Peer, **options: Any) -> AsyncIterator[HttpPool]:
    dialer = Dialer(AwsConfig(), Proxies({}))
    pool = HttpPool(partial(dialer.dial, Origin("http", "localhost", peer.port)), 2, **options)
    try:
        yield pool
    finally:
        await pool.aclose()


async def test_who_is_cancelled_while_waiting_leaves_the_others_their_turn() -> None:
    async with serving(answer_all) as peer, pooling(peer) as pool:
        lent = [await pool.acquire(None) for _ in range(2)]
        waiting = [asyncio.create_task(pool.acquire(None)) for _ in range(4)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        pool.release(lent[0])
        waiting[1].cancel()  # the connection is on its way to this one already
        assert await waiting[2] is lent[0]
        lent[1].abort()  # a place to open another is
        await lent[1].closed
        waiting[3].cancel()
        assert await pool.acquire(None) not in lent
        assert pool.connections == (2, 0)


@pytest.mark.parametrize(("pause", "connections"), [(0.0, 1), (1.0, 1), (14.9, 1), (15.1, 2)])
async def test_a_connection_is_kept_for_as_long_as_aws_keeps_it(pause: float, connections: int) -> None:
    now = [100.0]
    async with serving(answer_all) as peer, pooling(peer, clock=lambda: now[0]) as pool:
        first = await pool.acquire(None)
        pool.release(first)
        now[0] += pause
        second = await pool.acquire(None)
        assert ((second is first), peer.connections) == ((connections == 1), connections)
        pool.release(second)


async def test_a_connection_of_ten_minutes_makes_room_for_another() -> None:
    async with serving(answer_all) as peer, pooling(peer) as pool:
        old = await pool.acquire(None)
        old.born -= 601
        pool.release(old)
        assert await pool.acquire(None) is not old


async def test_idle_connections_are_closed_without_being_asked_for() -> None:
    async with serving(answer_all) as peer, pooling(peer, keepalive_seconds=0.02) as pool:
        lent = [await pool.acquire(None) for _ in range(2)]
        for connection in lent:
            pool.release(connection)
        assert repr(pool) == "<HttpPool 0 in use, 2 idle, 0 opening, 0 waiting>"
        await until(lambda: pool.is_empty and peer.open == 0)


async def test_an_end_that_the_loop_has_not_come_to_is_seen_before_sending() -> None:
    """The peer is a thread, which closes while the loop is kept busy."""
    listener, closed = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def serve() -> None:
        first, _ = listener.accept()
        listener.accept()[0].close()
        first.close()
        closed.set()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    now = [100.0]
    dialer = Dialer(AwsConfig(), Proxies({}))
    pool = HttpPool(
        partial(dialer.dial, Origin("http", "127.0.0.1", listener.getsockname()[1])), 2, clock=lambda: now[0]
    )
    first = await pool.acquire(None)
    pool.release(first)
    with socket.create_connection(listener.getsockname()):
        closed.wait(5)
    now[0] += 1
    assert first.is_ready
    second = await pool.acquire(None)
    assert second is not first
    second.abort()
    thread.join()
    await pool.aclose()
    listener.close()
