"""Credentials that AWS calls expired before their time."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.identity.caching import SERVICE_ACCOUNT, held, scripted
from tests.unit.identity.fakes import (
    MINUTE,
    SECOND,
    START,
    cognito_caller,
    make_credentials,
    session_caller,
    settle,
)

from awsidecar_server.errors import CredentialsUnavailable, Unauthenticated


async def test_expired_credentials_are_replaced_once_for_all() -> None:
    bench, source = scripted()
    spent = await bench.cache.credentials(SERVICE_ACCOUNT)
    bench.clock.advance(MINUTE)
    renewed = await asyncio.gather(*(bench.cache.renew(SERVICE_ACCOUNT, spent) for _ in range(1000)))
    assert source.fetches == 2
    assert set(renewed) == {await bench.cache.credentials(SERVICE_ACCOUNT)}
    assert spent not in renewed


async def test_who_renews_late_gets_what_others_have_renewed() -> None:
    bench, source = scripted()
    spent = await bench.cache.credentials(SERVICE_ACCOUNT)
    bench.clock.advance(MINUTE)
    new = await bench.cache.renew(SERVICE_ACCOUNT, spent)
    assert await bench.cache.renew(SERVICE_ACCOUNT, spent) is new
    assert source.fetches == 2


async def test_a_refresh_that_was_under_way_may_not_bring_back_what_is_spent() -> None:
    bench, source = held()
    call = asyncio.create_task(bench.cache.credentials(SERVICE_ACCOUNT))
    await settle()
    source.answer(make_credentials())
    spent = await call
    bench.clock.advance(55 * MINUTE)
    await bench.cache.credentials(SERVICE_ACCOUNT)
    await settle()
    renewing = asyncio.create_task(bench.cache.renew(SERVICE_ACCOUNT, spent))
    await settle()
    source.answer(spent)
    with pytest.raises(CredentialsUnavailable, match="AWS calls expired"):
        await renewing
    assert len(source.asked) == 2


async def test_a_source_that_knows_only_spent_credentials_is_not_asked_for_each_call() -> None:
    bench, source = scripted()
    static = make_credentials(None)
    source.answer = lambda caller: static
    await bench.cache.credentials(SERVICE_ACCOUNT)
    bench.clock.advance(MINUTE)
    with pytest.raises(CredentialsUnavailable):
        await bench.cache.renew(SERVICE_ACCOUNT, static)
    for _ in range(100):
        assert isinstance(await bench.failure(SERVICE_ACCOUNT), CredentialsUnavailable)
    assert source.fetches == 2
    # It may have been the clock: after a while they are tried again.
    bench.clock.advance(6 * MINUTE)
    assert await bench.cache.credentials(SERVICE_ACCOUNT) == static


async def test_new_credentials_that_aws_calls_expired_each_time_cost_one_fetch_a_second() -> None:
    bench, source = scripted()
    for _ in range(600):
        with pytest.raises(CredentialsUnavailable, match="AWS calls the newest credentials expired"):
            await bench.cache.renew(SERVICE_ACCOUNT, await bench.cache.credentials(SERVICE_ACCOUNT))
        bench.clock.advance(SECOND / 10)
    assert source.fetches <= 61


async def test_a_session_or_an_expired_token_cannot_be_renewed() -> None:
    bench, source = scripted()
    caller = session_caller()
    with pytest.raises(Unauthenticated) as caught:
        await bench.cache.renew(caller, caller.credentials)
    assert caught.value.reason == "SESSION_EXPIRED"
    with pytest.raises(Unauthenticated) as caught:
        await bench.cache.renew(cognito_caller(expires_at=START), make_credentials())
    assert caught.value.reason == "TOKEN_REJECTED"
    assert source.fetches == 0
