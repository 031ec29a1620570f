from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from tests.unit.identity.fakes import (
    COGNITO,
    HOUR,
    SECOND,
    FakeClock,
    FakeFetch,
    jwk,
    key_set,
    private_key,
    settle,
)

from awsidecar_server.config import CognitoConfig
from awsidecar_server.errors import CredentialsUnavailable, Draining, Unauthenticated
from awsidecar_server.identity.jwks import KeySet, fetch_over_http, jwks_url, parse_key_set


def make_keys(body: bytes | Exception | None = None) -> tuple[KeySet, FakeFetch, FakeClock]:
    clock = FakeClock()
    fetch = FakeFetch(key_set(jwk("one"), jwk("two")) if body is None else body)
    return KeySet(fetch, clock, random=Random(1)), fetch, clock


async def assert_unknown(keys: KeySet, kid: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await keys.key(kid)
    assert (caught.value.reason, caught.value.metadata) == ("TOKEN_REJECTED", {"cause": "unknown_key"})


async def assert_unavailable(keys: KeySet, kid: str = "one") -> None:
    with pytest.raises(CredentialsUnavailable) as caught:
        await keys.key(kid)
    assert caught.value.metadata == {"tier": "cognito"}


def is_same(found: RSAPublicKey, name: str) -> bool:
    return found.public_numbers() == private_key(name).public_key().public_numbers()


async def test_a_thousand_first_callers_cost_one_fetch() -> None:
    keys, fetch, _ = make_keys()
    found = await asyncio.gather(*(keys.key("two") for _ in range(1000)))
    assert fetch.count == 1
    assert is_same(found[0], "two")


async def test_the_first_caller_may_be_cancelled() -> None:
    keys, fetch, _ = make_keys()
    fetch.gate.clear()
    first, second = asyncio.create_task(keys.key("one")), asyncio.create_task(keys.key("one"))
    await settle()
    first.cancel()
    await settle()
    fetch.gate.set()
    assert is_same(await second, "one")
    assert first.cancelled()


async def test_keys_are_fetched_again_in_the_background_after_an_hour() -> None:
    keys, fetch, clock = make_keys()
    await keys.key("one")
    clock.advance(HOUR - SECOND)
    await keys.key("one")
    await settle()
    assert fetch.count == 1
    clock.advance(SECOND)
    fetch.gate.clear()
    for _ in range(10):
        assert is_same(await keys.key("one"), "one")
    await settle()
    assert fetch.count == 2
    fetch.body = key_set(jwk("three"))
    fetch.gate.set()
    await settle()
    assert is_same(await keys.key("three"), "three")
    await assert_unknown(keys, "one")


@pytest.mark.parametrize(
    "body",
    [
        OSError("down"),
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": []}',
        b"[" * 100_000,
        b" " * 300_000,
    ],
    ids=lambda body: repr(body)[:20],
)
async def test_a_failed_fetch_never_drops_good_keys(body: bytes | Exception) -> None:
    keys, fetch, clock = make_keys()
    await keys.key("one")
    fetch.body = body
    for _ in range(60):
        clock.advance(HOUR)
        assert is_same(await keys.key("one"), "one")
        await settle()
    assert fetch.count == 61


async def test_background_fetches_back_off_while_they_fail() -> None:
    keys, fetch, clock = make_keys()
    await keys.key("one")
    fetch.body = OSError("down")
    clock.advance(HOUR)
    for _ in range(600):
        await keys.key("one")
        await settle()
        clock.advance(SECOND)
    assert 15 <= fetch.count <= 27


async def test_a_first_fetch_that_fails_is_not_repeated_for_each_caller() -> None:
    keys, fetch, clock = make_keys(OSError("down"))
    for _ in range(100):
        await assert_unavailable(keys)
    assert fetch.count == 1
    for _ in range(120):
        clock.advance(SECOND)
        await assert_unavailable(keys)
    assert fetch.count <= 10
    fetch.body = key_set(jwk("one"))
    clock.advance(45 * SECOND)
    assert is_same(await keys.key("one"), "one")


async def test_unknown_keys_cost_one_fetch_in_ten_seconds() -> None:
    keys, fetch, clock = make_keys()
    await keys.key("one")
    for second in range(100):
        for attempt in range(10):
            await assert_unknown(keys, f"forged-{second}-{attempt}")
        clock.advance(SECOND)
    assert fetch.count == 10


async def test_a_rotated_key_is_found_by_all_who_ask_for_it_at_once() -> None:
    keys, fetch, clock = make_keys()
    await keys.key("one")
    clock.advance(10 * SECOND)
    fetch.body = key_set(jwk("three"))
    found = await asyncio.gather(*(keys.key("three") for _ in range(100)))
    assert all(is_same(key, "three") for key in found)
    assert fetch.count == 2


async def test_an_unknown_key_is_not_judged_while_keys_cannot_be_fetched() -> None:
    keys, fetch, clock = make_keys()
    await keys.key("one")
    clock.advance(10 * SECOND)
    fetch.body = OSError("down")
    await assert_unavailable(keys, "perhaps-new")
    await assert_unavailable(keys, "perhaps-new")
    assert fetch.count == 2
    assert is_same(await keys.key("one"), "one")


async def test_closing_cancels_a_fetch_under_way() -> None:
    keys, fetch, clock = make_keys()
    await keys.key("one")
    fetch.gate.clear()
    clock.advance(HOUR)
    await keys.key("one")
    waiter = asyncio.create_task(keys.key("new"))
    await settle()
    await keys.aclose()
    with pytest.raises(Draining):
        await waiter
    assert is_same(await keys.key("one"), "one")


@pytest.mark.parametrize(
    "odd",
    [
        "text",
        None,
        {},
        jwk("odd", kty="EC"),
        jwk("odd", use="enc"),
        jwk("odd", alg="RS512"),
        jwk("odd", alg="HS256"),
        jwk("odd", n=None),
        jwk("odd", n="!!!"),
        jwk("odd", n=7),
        jwk("odd", e=""),
        jwk("odd", e="Ag"),
        jwk("odd", e="AQAAAAAAAAAB"),
        {**jwk("odd"), "kid": ""},
        {**jwk("odd"), "kid": 7},
        jwk("odd", key=private_key("small", 1024)),
        jwk("odd", d="AQAB"),
    ],
)
def test_a_key_that_cannot_be_used_costs_no_other(odd: Any) -> None:
    assert list(parse_key_set(key_set(odd, jwk("one")))) == ["one"]
    with pytest.raises(ValueError, match="no usable key"):
        parse_key_set(key_set(odd))


def test_use_and_algorithm_may_be_absent() -> None:
    assert list(parse_key_set(key_set(jwk("one", use=None, alg=None)))) == ["one"]


def test_no_more_than_32_keys_are_kept() -> None:
    same = private_key("one")
    assert len(parse_key_set(key_set(*(jwk(f"key-{n}", key=same) for n in range(100))))) == 32


def test_the_first_key_of_an_id_counts() -> None:
    found = parse_key_set(key_set(jwk("one"), jwk("one", key=private_key("two"))))
    assert is_same(found["one"], "one")


def test_repr_tells_the_state() -> None:
    keys, _, _ = make_keys()
    assert repr(keys) == "<KeySet [Keys: 0 | Failed fetches: 0]>"


def test_the_key_set_is_the_issuers_unless_an_emulator_has_it() -> None:
    assert jwks_url(COGNITO) == (
        "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Pool/.well-known/jwks.json"
    )
    assert jwks_url(CognitoConfig(user_pool_id="x_y", jwks_url="http://127.0.0.1:1/k")) == "http://127.0.0.1:1/k"


@asynccontextmanager
async def serving(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{tail:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def test_keys_come_over_http() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=key_set(jwk("one")))

    async with serving(handler) as url:
        assert await fetch_over_http(f"{url}/jwks.json")() == key_set(jwk("one"))


async def test_a_redirect_is_not_followed() -> None:
    paths = []

    async def handler(request: web.Request) -> web.Response:
        paths.append(request.path)
        raise web.HTTPFound("/elsewhere")

    async with serving(handler) as url:
        with pytest.raises(ConnectionError, match="status 302"):
            await fetch_over_http(f"{url}/jwks.json")()
    assert paths == ["/jwks.json"]


async def test_an_oversized_key_set_is_not_read_to_its_end() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=b" " * (1024 * 1024))

    async with serving(handler) as url:
        with pytest.raises(ConnectionError, match="larger than 262144"):
            await fetch_over_http(url)()
