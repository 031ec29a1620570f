"""A cache with a clock and a source of its own."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.identity.caching import SERVICE_ACCOUNT, Bench, failing, held, scripted
from tests.unit.identity.fakes import (
    HOUR,
    MINUTE,
    START,
    FakeClock,
    HeldSource,
    ScriptedSource,
    cognito_caller,
    make_credentials,
    session_caller,
    settle,
)

from awsidecar_server.config import IdentityConfig
from awsidecar_server.errors import Draining, Unauthenticated
from awsidecar_server.identity.cache import CachedCaller, CredentialCache
from awsidecar_server.identity.refusals import token_rejected, unavailable
from awsidecar_server.identity.sources import Sources


async def test_a_session_signs_with_its_own_credentials_until_it_ends() -> None:
    bench, source = scripted()
    caller = session_caller()
    assert await bench.cache.credentials(caller) is caller.credentials
    bench.clock.advance(HOUR)
    failure = await bench.failure(caller)
    assert (failure.reason, failure.metadata) == ("SESSION_EXPIRED", {"tier": "session"})
    assert source.fetches == 0
    assert bench.events == {("session", "rejected"): 1}


@pytest.mark.parametrize("caller", [cognito_caller(), SERVICE_ACCOUNT])
async def test_credentials_are_fetched_once_and_then_served(caller: CachedCaller) -> None:
    bench, source = scripted()
    first = await bench.cache.credentials(caller)
    for _ in range(10):
        assert await bench.cache.credentials(caller) is first
    assert source.fetches == 1
    tier = caller.tier.value
    assert bench.events == {(tier, "miss"): 1, (tier, "refresh_ok"): 1, (tier, "hit"): 10}


async def test_no_cognito_is_no_reason_to_sign_as_the_service_account() -> None:
    source = ScriptedSource(lambda caller: make_credentials())
    cache = CredentialCache(Sources(cognito=None, service_account=source), IdentityConfig(), FakeClock())
    with pytest.raises(Unauthenticated) as caught:
        await cache.credentials(cognito_caller())
    assert caught.value.reason == "COGNITO_NOT_CONFIGURED"
    assert source.fetches == 0


@pytest.mark.parametrize(
    "failure", [token_rejected("refused_by_cognito"), unavailable(cognito_caller().tier, "no")]
)
async def test_a_failing_tier_never_becomes_another(failure: Exception) -> None:
    account = ScriptedSource(lambda caller: make_credentials())
    cognito = ScriptedSource(failing(failure))
    cache = CredentialCache(Sources(cognito=cognito, service_account=account), IdentityConfig(), FakeClock())
    for _ in range(3):
        with pytest.raises(type(failure)):
            await cache.credentials(cognito_caller())
    assert account.fetches == 0


async def test_the_first_callers_cancellation_fails_nobody_else() -> None:
    bench, source = held()
    caller = cognito_caller()
    calls = [asyncio.create_task(bench.cache.credentials(caller)) for _ in range(1000)]
    await settle()
    calls[0].cancel()
    await settle()
    source.answer(make_credentials())
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert set(found[1:]) == {make_credentials()}
    assert len(source.asked) == 1


async def test_the_cache_is_filled_even_when_all_who_wait_are_cancelled() -> None:
    bench, source = held()
    call = asyncio.create_task(bench.cache.credentials(SERVICE_ACCOUNT))
    await settle()
    call.cancel()
    await settle()
    source.answer(make_credentials())
    await settle()
    assert await bench.cache.credentials(SERVICE_ACCOUNT) == make_credentials()
    assert len(source.asked) == 1


@pytest.mark.parametrize("steps", range(12))
async def test_a_call_cancelled_at_any_await_leaves_the_cache_whole(steps: int) -> None:
    bench, source = scripted()
    call = asyncio.create_task(bench.cache.credentials(SERVICE_ACCOUNT))
    for _ in range(steps):
        await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    found = await bench.cache.credentials(SERVICE_ACCOUNT)
    assert await bench.cache.credentials(SERVICE_ACCOUNT) is found
    await settle()
    assert source.fetches <= 2
    assert repr(bench.cache) == "<CredentialCache [Callers: 1 of 100 | Fetches: 0, 0 in the background]>"


async def test_callers_are_told_apart_by_their_whole_token() -> None:
    bench, source = scripted()
    one, other = cognito_caller("ann", raw="a"), cognito_caller("ann", raw="b")
    assert await bench.cache.credentials(one) != await bench.cache.credentials(other)
    assert source.fetches == 2


async def test_the_least_recently_used_caller_is_dropped_first() -> None:
    bench, source = scripted(size=2)
    ann, bob, cleo = (cognito_caller(name) for name in ("ann", "bob", "cleo"))
    for caller in (ann, bob, ann, cleo, ann):
        await bench.cache.credentials(caller)
    assert len(bench.cache) == 2
    assert source.fetches == 3
    await bench.cache.credentials(bob)
    assert source.fetches == 4


async def test_a_caller_dropped_while_fetched_for_is_not_fetched_for_twice() -> None:
    source = HeldSource()
    bench = Bench(source, FakeClock(), size=1)
    ann = cognito_caller("ann")
    first = asyncio.create_task(bench.cache.credentials(ann))
    await settle()
    other = asyncio.create_task(bench.cache.credentials(cognito_caller("bob")))
    await settle()
    second = asyncio.create_task(bench.cache.credentials(ann))
    await settle()
    assert source.asked.count(ann) == 1
    source.answer(make_credentials(name="ann"))
    assert await first == await second == make_credentials(name="ann")
    source.answer(make_credentials(name="bob"))
    assert await other == make_credentials(name="bob")


async def test_expired_tokens_leave_memory_when_others_come() -> None:
    bench, _ = scripted()
    for number in range(10):
        await bench.cache.credentials(cognito_caller(f"user-{number}", expires_at=START + MINUTE))
    bench.clock.advance(MINUTE)
    for number in range(10):
        await bench.cache.credentials(cognito_caller(f"later-{number}"))
    assert len(bench.cache) == 10


async def test_the_soonest_end_of_each_tier_is_known() -> None:
    bench, _ = scripted()
    await bench.cache.credentials(SERVICE_ACCOUNT)
    await bench.cache.credentials(cognito_caller("ann", expires_at=START + 20 * MINUTE))
    await bench.cache.credentials(cognito_caller("bob", expires_at=START + 10 * MINUTE))
    assert dict(bench.cache.seconds_to_expiry()) == {"service_account": 3600.0, "cognito": 600.0}
    bench.clock.advance(15 * MINUTE)
    assert dict(bench.cache.seconds_to_expiry()) == {"service_account": 2700.0, "cognito": 300.0}
    bench.clock.advance(HOUR)
    assert dict(bench.cache.seconds_to_expiry()) == {"service_account": 0.0}


async def test_credentials_without_an_end_have_no_time_to_it() -> None:
    bench, source = scripted()
    source.answer = lambda caller: make_credentials(None)
    await bench.cache.credentials(SERVICE_ACCOUNT)
    assert dict(bench.cache.seconds_to_expiry()) == {}


async def test_closing_ends_what_is_under_way_and_still_serves_what_is_held() -> None:
    bench, source = held()
    call = asyncio.create_task(bench.cache.credentials(SERVICE_ACCOUNT))
    await settle()
    source.answer(make_credentials())
    old = await call
    bench.clock.advance(55 * MINUTE)
    waiting = asyncio.create_task(bench.cache.credentials(cognito_caller()))
    await bench.cache.credentials(SERVICE_ACCOUNT)
    await settle()
    await bench.cache.aclose()
    with pytest.raises(Draining):
        await waiting
    assert await bench.cache.credentials(SERVICE_ACCOUNT) is old
    assert repr(bench.cache) == "<CredentialCache [Callers: 2 of 100 | Fetches: 0, 0 in the background]>"
