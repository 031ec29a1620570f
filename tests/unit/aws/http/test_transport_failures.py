"""Peers that refuse, stall, lie and break off: what was not sent for sure, and what perhaps was and is never sent again."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.unit.aws.http.peers import Authority, Session, answer, certified, serving
from tests.unit.aws.http.posting import HEADERS, answer_all, failure_of, open_files, transporting, until

from awsidecar_server.aws.http import HttpTransport
from awsidecar_server.aws.retries import Stage
from awsidecar_server.config import AwsConfig, BadConfig

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

    # All of it takes longer than a silence may, and no pause is near that, even on a busy machine.
    async with serving(script) as peer, transporting(read_timeout_seconds=1.0) as transport:
        assert (await transport.post(peer.url, HEADERS, b"{}")).body == b"12345678"


@pytest.mark.parametrize("late", [None, 60.0], ids=["no deadline", "late deadline"])
async def test_an_answer_that_comes_byte_by_byte_without_end_times_out(late: float | None) -> None:
    """Otherwise it would hold its place for ever."""
    without_end = Session.answer_without_end
    async with serving(without_end) as peer, transporting(attempt_timeout_seconds=0.2) as transport:
        deadline = None if late is None else asyncio.get_running_loop().time() + late
        async with asyncio.timeout(20):  # far from both
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
