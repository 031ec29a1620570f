"""The HTTP to AWS against real peers on loopback: what is sent, and what comes back."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.aws.http.peers import Authority, Session, answer, serving
from tests.unit.aws.http.posting import HEADERS, answer_all, failure_of, transporting, until

from awsidecar_server.aws.retries import Stage


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
