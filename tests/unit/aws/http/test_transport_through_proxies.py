"""The HTTP to AWS by way of a proxy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.unit.aws.http.peers import Authority, Peer, Session, answer, certified, serving
from tests.unit.aws.http.posting import HEADERS, answer_all, failure_of, transporting, until

from awsidecar_server.aws.http import HttpFailure
from awsidecar_server.aws.retries import Stage


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


async def test_a_proxy_that_refuses_is_told_from_one_that_does_not_answer() -> None:
    async def script(session: Session) -> None:
        await session.head()
        await session.send(said)

    async with serving(script) as proxy, transporting({"HTTPS_PROXY": proxy_url(proxy)}) as transport:
        said = answer(b"", status="407 Proxy Authentication Required")
        with pytest.raises(HttpFailure, match=r"^the proxy did not lead on to AWS: HTTP status 407$"):
            await transport.post("https://aws.test/", HEADERS, b"{}")
        said = b""
        with pytest.raises(HttpFailure, match=r"^the proxy did not answer$"):
            await transport.post("https://aws.test/", HEADERS, b"{}")
