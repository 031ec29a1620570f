"""The HTTP to AWS against real peers on loopback, who answer, stall, lie, break off and never see a request twice."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.unit.aws.http.peers import Authority, Peer, Session, answer, certified, serving

from awsidecar_server.aws.http import HttpFailure, HttpTransport
from awsidecar_server.aws.http.connection import HttpConnection
from awsidecar_server.aws.http.dialer import Dialer, Origin
from awsidecar_server.aws.http.pool import HttpPool
from awsidecar_server.aws.http.proxies import Proxies
from awsidecar_server.aws.retries import Stage
from awsidecar_server.config import AwsConfig, BadConfig

HEADERS = {"Host": "localhost", "X-Amz-Target": "DynamoDB_20120810.GetItem"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return certified(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def transporting(environment: dict[str, str] | None = None, **settings: Any) -> AsyncIterator[HttpTransport]:
    known: dict[str, Any] = {"connect_timeout_seconds": 2.0, "read_timeout_seconds": 5.0, **settings}
    transport = HttpTransport(AwsConfig(**known), environment or {})
    try:
        yield transport
    finally:
        await transport.aclose()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    pytest.fail("it did not come to that")


async def failure_of(transport: HttpTransport, url: str, body: bytes = b"{}", **options: Any) -> tuple[Stage, str]:
    with pytest.raises(HttpFailure) as caught:
        await transport.post(url, HEADERS, body, **options)
    return caught.value.stage, caught.value.cause


async def answer_all(session: Session) -> None:
    await session.answer_all()


def open_files() -> int:
    return len(os.listdir("/dev/fd"))


# What is sent, and what comes back.


async def test_posts_headers_and_body_and_takes_the_answer() -> None:
    async def script(session: Session) -> None:
        await session.answer_all(answer(b'{"Item":{}}', "x-amzn-RequestId: R1"))

    async with serving(script) as peer, transporting() as transport:
        got = await transport.post(f"{peer.url}path?query", HEADERS, b'{"Key":1}')
        assert (got.status, got.headers.get("X-Amzn-RequestId"), got.body) == (200, "R1", b'{"Item":{}}')
        assert peer.requests[0].line == "POST /path?query HTTP/1.1"
        assert peer.requests[0].body == b'{"Key":1}'
        assert "\r\nX-Amz-Target: DynamoDB_20120810.GetItem\r\n" in peer.requests[0].head
        assert "Expect" not in peer.requests[0].head


@pytest.mark.parametrize("size", [0, 100_000, 5_000_000])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_bodies_of_any_size_go_both_ways(authority: Authority, size: int, secure: bool) -> None:
    body = b"x" * size

    async def script(session: Session) -> None:
        while True:
            request = await session.request()
            await session.send(answer(request.body))

    tls = authority.server if secure else None
    async with serving(script, tls) as peer, transporting(ca_bundle=authority.bundle) as transport:
        for _ in range(2):
            assert (await transport.post(peer.url, HEADERS, body)).body == body
        assert peer.connections == 1


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async with serving(answer_all) as other, transporting() as transport:

        async def script(session: Session) -> None:
            await session.answer_all(answer(b"", f"Location: {other.url}", status="307 Temporary Redirect"))

        async with serving(script) as peer:
            assert (await transport.post(peer.url, HEADERS, b"{}")).status == 307
        assert not other.requests


async def test_cookies_are_not_remembered() -> None:
    async def script(session: Session) -> None:
        await session.answer_all(answer(b"{}", "Set-Cookie: a=b"))

    async with serving(script) as peer, transporting() as transport:
        await transport.post(peer.url, HEADERS, b"{}")
        await transport.post(peer.url, HEADERS, b"{}")
        assert "ookie" not in peer.requests[1].head


async def test_a_body_without_length_ends_with_the_connection() -> None:
    async def script(session: Session) -> None:
        await session.request()
        await session.send(b"HTTP/1.1 200 OK\r\n\r\n{}")

    async with serving(script) as peer, transporting() as transport:
        assert (await transport.post(peer.url, HEADERS, b"{}")).body == b"{}"
        assert (await transport.post(peer.url, HEADERS, b"{}")).body == b"{}"
        assert peer.connections == 2


@pytest.mark.parametrize("url", ["ftp://host/", "http:///", "http://host/a b", "http://host/\r\nX: 1"])
async def test_what_is_no_url_is_refused(url: str) -> None:
    async with transporting() as transport:
        with pytest.raises(ValueError, match="no URL to post to"):
            await transport.post(url, HEADERS, b"{}")


async def test_a_header_of_no_use_leaves_the_pool_as_it_was() -> None:
    async with serving(answer_all) as peer, transporting(pool_size=1) as transport:
        with pytest.raises(ValueError, match="a header has"):
            await transport.post(peer.url, {"X-Amz-Security-Token": "a\r\nb"}, b"{}")
        assert (await transport.post(peer.url, HEADERS, b"{}")).status == 200


# Not sent for sure.


async def test_a_refused_connection_is_not_sent() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with transporting() as transport:
            url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
            assert await failure_of(transport, url) == (Stage.UNSENT, "connect")


async def test_a_name_without_address_is_not_sent() -> None:
    async with transporting() as transport:
        assert await failure_of(transport, "http://a..b/") == (Stage.UNSENT, "connect")


async def test_a_handshake_without_end_is_not_sent_and_leaves_nothing_open(authority: Authority) -> None:
    async def script(session: Session) -> None:
        await session.ended()

    settings: dict[str, Any] = {"ca_bundle": authority.bundle, "connect_timeout_seconds": 0.05}
    async with serving(script) as peer, transporting({}, **settings) as transport:
        before = open_files()
        secure = peer.url.replace("http:", "https:")
        assert await failure_of(transport, secure) == (Stage.UNSENT, "connect")
        await until(lambda: peer.open == 0 and open_files() <= before)
        assert transport.connections == (0, 0)


async def test_a_certificate_of_somebody_else_is_not_sent_to(authority: Authority, tmp_path: Path) -> None:
    stranger = certified(tmp_path)
    async with serving(answer_all, authority.server) as peer:
        async with transporting(ca_bundle=stranger.bundle) as transport:
            assert await failure_of(transport, peer.url) == (Stage.UNSENT, "connect")
        async with transporting() as transport:  # the system's CAs
            assert await failure_of(transport, peer.url) == (Stage.UNSENT, "connect")
        async with transporting(ca_bundle=authority.bundle) as transport:
            other_name = peer.url.replace("localhost", "127.0.0.1")
            assert await failure_of(transport, other_name) == (Stage.UNSENT, "connect")
            assert (await transport.post(peer.url, HEADERS, b"{}")).status == 200
        assert len(peer.requests) == 1


async def test_a_peer_without_tls_is_not_sent_to(authority: Authority) -> None:
    async def script(session: Session) -> None:
        await session.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(script) as peer, transporting(ca_bundle=authority.bundle) as transport:
        url = peer.url.replace("http:", "https:")
        assert await failure_of(transport, url) == (Stage.UNSENT, "connect")


async def test_a_bundle_without_certificates_is_bad_configuration(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(BadConfig, match="AWS_CA_BUNDLE"):
        HttpTransport(AwsConfig(ca_bundle=str(tmp_path / "ca.pem")), {})


async def test_a_deadline_that_has_passed_is_not_sent() -> None:
    async with serving(answer_all) as peer, transporting() as transport:
        await transport.post(peer.url, HEADERS, b"{}")
        past = asyncio.get_running_loop().time() - 1
        assert await failure_of(transport, peer.url, deadline=past) == (Stage.UNSENT, "deadline")
        assert transport.connections == (0, 1)
        await transport.post(peer.url, HEADERS, b"{}")
        assert (peer.connections, len(peer.requests)) == (1, 2)


async def test_who_waits_for_a_connection_until_the_deadline_is_not_sent() -> None:
    async def script(session: Session) -> None:
        await session.request()
        await session.ended()

    async with serving(script) as peer, transporting(pool_size=1) as transport:
        busy = asyncio.create_task(transport.post(peer.url, HEADERS, b"{}"))
        await until(lambda: len(peer.requests) == 1)
        soon = asyncio.get_running_loop().time() + 0.02
        assert await failure_of(transport, peer.url, deadline=soon) == (Stage.UNSENT, "deadline")
        assert (transport.connections, len(peer.requests)) == ((1, 0), 1)
        busy.cancel()


# Perhaps sent: never again by the transport.


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("answers", [0, 1], ids=["new", "reused"])
async def test_a_connection_lost_after_the_request_is_not_sent_again(is_reset: bool, answers: int) -> None:
    async def script(session: Session) -> None:
        for _ in range(answers):
            await session.request()
            await session.send(answer())
        await session.request()
        if is_reset:
            session.reset()

    async with serving(script) as peer, transporting() as transport:
        for _ in range(answers):
            await transport.post(peer.url, HEADERS, b"{}")
        assert await failure_of(transport, peer.url) == (Stage.UNANSWERED, "connection_lost")
        assert (peer.connections, len(peer.requests)) == (1, answers + 1)
        await until(lambda: transport.connections == (0, 0))


async def test_a_connection_reset_while_the_request_is_written_may_have_been_sent() -> None:
    async def script(session: Session) -> None:
        session.reset()

    async with serving(script) as peer, transporting() as transport:
        stage, cause = await failure_of(transport, peer.url, b"x" * 10_000_000)
        # Lost before anything was written, it is one that could not be opened.
        assert (stage, cause) in {(Stage.UNANSWERED, "connection_lost"), (Stage.UNSENT, "connect")}
        assert peer.connections == 1


@pytest.mark.parametrize(
    "part",
    [
        b"HTTP/1.1 200 OK\r\nContent-Le",
        answer(b"x" * 9)[:-1],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1",
    ],
    ids=["head", "body", "chunk"],
)
async def test_an_answer_cut_short_is_none(part: bytes) -> None:
    async def script(session: Session) -> None:
        await session.request()
        await session.send(part)

    async with serving(script) as peer, transporting() as transport:
        assert await failure_of(transport, peer.url) == (Stage.UNANSWERED, "connection_lost")


@pytest.mark.parametrize(
    "data",
    [b"SSH-2.0-OpenSSH\r\n", answer(b"{}", "Content-Encoding: gzip"), answer(b"{}", "Content-Length: 3")],
    ids=["no HTTP", "compressed", "two lengths"],
)
async def test_an_answer_that_cannot_be_read_closes_the_connection(data: bytes) -> None:
    async def script(session: Session) -> None:
        await session.request()
        await session.send(data)
        await session.ended()

    async with serving(script) as peer, transporting() as transport:
        assert await failure_of(transport, peer.url) == (Stage.UNREADABLE, "bad_response")
        await until(lambda: peer.open == 0 and transport.connections == (0, 0))
        assert len(peer.requests) == 1


async def test_an_answer_that_does_not_come_times_out_and_closes_the_connection() -> None:
    async def script(session: Session) -> None:
        await session.request()
        await session.ended()

    async with serving(script) as peer, transporting(read_timeout_seconds=0.05) as transport:
        assert await failure_of(transport, peer.url) == (Stage.UNANSWERED, "timeout")
        await until(lambda: peer.open == 0 and transport.connections == (0, 0))


async def test_an_answer_may_take_long_while_bytes_keep_coming() -> None:
    async def script(session: Session) -> None:
        await session.request()
        data = answer(b"12345678")
        for at in range(0, len(data), 5):
            await session.send(data[at : at + 5])
            await asyncio.sleep(0.12)

    async with serving(script) as peer, transporting(read_timeout_seconds=1.0) as transport:
        assert (await transport.post(peer.url, HEADERS, b"{}")).body == b"12345678"


@pytest.mark.parametrize("late", [None, 60.0], ids=["no deadline", "late deadline"])
async def test_an_answer_that_comes_byte_by_byte_without_end_times_out(late: float | None) -> None:
    """Otherwise it would hold its place for ever."""

    async def script(session: Session) -> None:
        await session.request()
        await session.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            await session.send(b"x")
            await asyncio.sleep(0.01)

    async with serving(script) as peer, transporting(attempt_timeout_seconds=0.2) as transport:
        deadline = None if late is None else asyncio.get_running_loop().time() + late
        async with asyncio.timeout(5):
            assert await failure_of(transport, peer.url, deadline=deadline) == (Stage.UNANSWERED, "timeout")
        await until(lambda: transport.connections == (0, 0))


async def test_a_deadline_during_the_answer_times_out() -> None:
    async def script(session: Session) -> None:
        await session.request()
        await session.send(answer())
        await session.request()
        await session.ended()

    async with serving(script) as peer, transporting() as transport:
        await transport.post(peer.url, HEADERS, b"{}")  # sets a timer that is due much later
        soon = asyncio.get_running_loop().time() + 0.03
        assert await failure_of(transport, peer.url, deadline=soon) == (Stage.UNANSWERED, "deadline")


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


async def test_an_early_answer_counts_and_its_connection_does_not() -> None:
    async def script(session: Session) -> None:
        await session.head()
        await session.send(answer(b"no", status="413 Content Too Large"))
        await done.wait()

    done = asyncio.Event()
    async with serving(script) as peer, transporting() as transport:
        got = await transport.post(peer.url, HEADERS, b"x" * 30_000_000)
        assert (got.status, got.body) == (413, b"no")
        await until(lambda: transport.connections == (0, 0))
        done.set()


# The pool.


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


@pytest.mark.parametrize("plain", [None, socket.socket()], ids=["none", "closed"])
async def test_connection_without_an_open_socket_is_not_silent(plain: socket.socket | None) -> None:
    """Loops differ in what a transport that is being closed still gives."""

    class Closing(asyncio.Transport):
        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return plain

    if plain is not None:
        plain.close()
    connection = HttpConnection(asyncio.get_running_loop(), lambda _: None)
    connection.upgrade(Closing())
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
        with listener:
            first, _ = listener.accept()
            listener.accept()[0].close()
            first.close()
            closed.set()

    thread = threading.Thread(target=serve)
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
    with pytest.raises(HttpFailure):  # it opens another, for which nobody listens any more
        await pool.acquire(None)
    thread.join()
    await pool.aclose()


async def test_origins_that_are_not_used_are_not_kept() -> None:
    async def once(session: Session) -> None:
        await session.request()
        await session.send(answer(b"{}", "Connection: close"))

    async with serving(once) as one, serving(once) as other, transporting() as transport:
        await transport.post(one.url, HEADERS, b"{}")
        await until(lambda: transport.connections == (0, 0))
        await transport.post(other.url, HEADERS, b"{}")
        assert repr(transport).startswith("<HttpTransport 1 origins")


async def test_closing_ends_requests_in_progress_and_those_that_wait() -> None:
    async def script(session: Session) -> None:
        await session.request()
        await session.ended()

    async with serving(script) as peer, transporting(pool_size=1) as transport:
        tasks = [asyncio.create_task(failure_of(transport, peer.url)) for _ in range(2)]
        await until(lambda: len(peer.requests) == 1)
        await transport.aclose()
        assert await asyncio.gather(*tasks) == [(Stage.UNANSWERED, "connection_lost"), (Stage.UNSENT, "connect")]
        assert await failure_of(transport, peer.url) == (Stage.UNSENT, "connect")
        assert await failure_of(transport, "http://127.0.0.1:9/") == (Stage.UNSENT, "connect")
        await until(lambda: peer.open == 0)


# Proxies.


def proxy_url(proxy: Peer) -> str:
    return f"{proxy.scheme}://user:pass@localhost:{proxy.port}"


async def test_a_proxy_forwards_what_is_not_secure() -> None:
    async with serving(answer_all) as proxy, transporting({"HTTP_PROXY": proxy_url(proxy)}) as transport:
        assert (await transport.post("http://aws.test:8000/path", HEADERS, b"{}")).status == 200
        assert proxy.requests[0].line == "POST http://aws.test:8000/path HTTP/1.1"
        assert "\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n" in proxy.requests[0].head


@pytest.mark.parametrize("secure_proxy", [False, True], ids=["plain proxy", "secure proxy"])
async def test_a_proxy_leads_on_to_what_is_secure(authority: Authority, tmp_path: Path, secure_proxy: bool) -> None:
    aws = certified(tmp_path, "aws.test")
    bundle = tmp_path / "both.pem"
    bundle.write_text(Path(aws.bundle).read_text() + Path(authority.bundle).read_text())
    async with serving(answer_all, aws.server) as peer:

        async def script(session: Session) -> None:
            await session.request()
            await session.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await session.pipe("127.0.0.1", peer.port)

        async with serving(script, authority.server if secure_proxy else None) as proxy:
            environment = {"HTTPS_PROXY": proxy_url(proxy)}
            async with transporting(environment, ca_bundle=str(bundle)) as transport:
                for _ in range(2):
                    assert (await transport.post("https://aws.test/", HEADERS, b"{}")).status == 200
                assert (proxy.connections, len(peer.requests)) == (1, 2)
                assert proxy.requests[0].line == "CONNECT aws.test:443 HTTP/1.1"
                assert "Basic dXNlcjpwYXNz" in proxy.requests[0].head
                assert not re.search("authorization|token", peer.requests[0].head, re.IGNORECASE)


@pytest.mark.parametrize(
    "data",
    [
        answer(b"", status="407 Proxy Authentication Required"),
        b"HTTP/1.1 200 OK\r\n\r\nsurplus",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"nonsense",
        b"",
    ],
    ids=["refused", "surplus", "no TLS", "nonsense", "closed"],
)
async def test_a_proxy_that_does_not_lead_on_is_not_sent_to(authority: Authority, data: bytes) -> None:
    async def script(session: Session) -> None:
        await session.request()
        await session.send(data)

    async with serving(script) as proxy:
        environment = {"HTTPS_PROXY": proxy_url(proxy)}
        async with transporting(environment, ca_bundle=authority.bundle) as transport:
            assert await failure_of(transport, "https://aws.test/") == (Stage.UNSENT, "connect")
            assert transport.connections == (0, 0)
            assert "pass" not in repr(transport)
        await until(lambda: proxy.open == 0)
