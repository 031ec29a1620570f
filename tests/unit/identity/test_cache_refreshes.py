"""Refreshes of cached credentials: ahead of their end, through outages, and how many at a time."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.identity.caching import OUTAGE, SERVICE_ACCOUNT, Bench, failing, held, hourly, scripted
from tests.unit.identity.fakes import (
    HOUR,
    MINUTE,
    SECOND,
    START,
    FakeClock,
    HeldSource,
    ScriptedSource,
    cognito_caller,
    make_credentials,
    settle,
)

from awsidecar_server.config import IdentityConfig
from awsidecar_server.errors import CredentialsUnavailable, Unauthenticated
from awsidecar_server.identity.cache import CredentialCache
from awsidecar_server.identity.refusals import token_rejected, unavailable
from awsidecar_server.identity.sources import Sources


async def test_a_refresh_in_the_background_makes_no_caller_wait() -> None:
    bench, source = held()
    call = asyncio.create_task(bench.cache.credentials(SERVICE_ACCOUNT))
    await settle()
    source.answer(make_credentials(name="old"))
    old = await call
    bench.clock.advance(55 * MINUTE)
    for _ in range(100):
        assert await bench.cache.credentials(SERVICE_ACCOUNT) is old
    await settle()
    assert len(source.asked) == 2
    source.answer(make_credentials(bench.clock() + HOUR, name="new"))
    await settle()
    assert (await bench.cache.credentials(SERVICE_ACCOUNT)).secret_access_key.endswith("new")


async def test_a_caller_who_comes_too_late_joins_the_refresh_under_way() -> None:
    bench, source = held()
    call = asyncio.create_task(bench.cache.credentials(SERVICE_ACCOUNT))
    await settle()
    source.answer(make_credentials())
    await call
    bench.clock.advance(55 * MINUTE)
    await bench.cache.credentials(SERVICE_ACCOUNT)
    bench.clock.advance(5 * MINUTE)
    late = asyncio.create_task(bench.cache.credentials(SERVICE_ACCOUNT))
    await settle()
    source.answer(make_credentials(bench.clock() + HOUR, name="new"))
    assert (await late).secret_access_key.endswith("new")
    assert len(source.asked) == 2


async def test_old_credentials_are_served_through_an_outage_until_they_end() -> None:
    bench, source = scripted()
    old = await bench.cache.credentials(SERVICE_ACCOUNT)
    source.answer = failing(unavailable(SERVICE_ACCOUNT.tier, "STS throttles"))
    while bench.clock() < START + HOUR - 6 * SECOND:
        bench.clock.advance(SECOND)
        assert await bench.cache.credentials(SERVICE_ACCOUNT) is old
        await settle()
    assert 10 <= source.fetches <= 26
    bench.clock.advance(SECOND)
    assert isinstance(await bench.failure(SERVICE_ACCOUNT), CredentialsUnavailable)


async def test_an_outage_costs_a_bounded_number_of_fetches_and_ends_soon_after() -> None:
    bench, source = scripted()
    source.answer = failing(unavailable(SERVICE_ACCOUNT.tier, "STS is down"))
    for _ in range(600):
        for _ in range(10):
            failure = await bench.failure(SERVICE_ACCOUNT)
            assert (str(failure), failure.metadata) == ("STS is down", {"tier": "service_account"})
        bench.clock.advance(SECOND)
    assert source.fetches <= 70
    source.answer = hourly(bench.clock)
    bench.clock.advance(10 * SECOND)
    assert await bench.cache.credentials(SERVICE_ACCOUNT) == make_credentials(bench.clock() + HOUR, name="0")


async def test_a_failure_that_is_raised_again_is_a_new_error_without_frames() -> None:
    bench, source = scripted()
    source.answer = failing(token_rejected("refused_by_cognito"))
    first, second = [await bench.failure(cognito_caller()) for _ in range(2)]
    assert first is not second
    assert (second.reason, second.metadata) == ("TOKEN_REJECTED", {"cause": "refused_by_cognito"})
    assert second.__cause__ is None
    assert source.fetches == 1


async def test_a_defect_of_a_source_is_shown_once_and_backed_off_from() -> None:
    bench, source = scripted()
    source.answer = failing(OUTAGE)
    with pytest.raises(RuntimeError):
        await bench.cache.credentials(SERVICE_ACCOUNT)
    assert str(await bench.failure(SERVICE_ACCOUNT)) == "the source of credentials failed"
    assert source.fetches == 1


async def test_a_rejection_during_refresh_ends_what_was_held() -> None:
    bench, source = scripted()
    caller = cognito_caller()
    await bench.cache.credentials(caller)
    source.answer = failing(token_rejected("refused_by_cognito"))
    bench.clock.advance(55 * MINUTE)
    await bench.cache.credentials(caller)
    await settle()
    assert (await bench.failure(caller)).reason == "TOKEN_REJECTED"
    assert bench.events["cognito", "rejected"] == 1


async def test_credentials_never_outlive_the_id_token() -> None:
    bench, source = scripted()
    caller = cognito_caller(expires_at=START + 10 * MINUTE)
    assert (await bench.cache.credentials(caller)).expires_at == START + 10 * MINUTE
    bench.clock.advance(10 * MINUTE - SECOND)
    await bench.cache.credentials(caller)
    await settle()
    assert source.fetches == 1
    bench.clock.advance(SECOND)
    failure = await bench.failure(caller)
    assert (failure.reason, failure.metadata) == ("TOKEN_REJECTED", {"cause": "expired"})
    assert len(bench.cache) == 0
    assert source.fetches == 1


async def test_a_token_that_expires_during_the_fetch_gives_nothing() -> None:
    bench, source = held()
    caller = cognito_caller(expires_at=START + SECOND)
    call = asyncio.create_task(bench.cache.credentials(caller))
    await settle()
    bench.clock.advance(SECOND)
    source.answer(make_credentials())
    with pytest.raises(Unauthenticated) as caught:
        await call
    assert caught.value.metadata == {"cause": "expired"}


async def test_expired_credentials_from_a_source_are_not_served() -> None:
    bench, source = scripted()
    source.answer = lambda caller: make_credentials(START)
    assert "have expired" in str(await bench.failure(SERVICE_ACCOUNT))
    assert source.fetches == 1


async def test_static_credentials_are_read_again_every_few_minutes() -> None:
    bench, source = scripted()
    source.answer = lambda caller: make_credentials(None, name=str(source.fetches))
    for _ in range(3600):
        await bench.cache.credentials(SERVICE_ACCOUNT)
        await settle()
        bench.clock.advance(SECOND)
    assert 10 <= source.fetches <= 13


async def test_a_source_that_hangs_is_given_up() -> None:
    source = HeldSource()
    cache = CredentialCache(
        Sources(cognito=source, service_account=source), IdentityConfig(), FakeClock(), fetch_timeout_seconds=0.0
    )
    with pytest.raises(CredentialsUnavailable, match="in time"):
        await cache.credentials(SERVICE_ACCOUNT)


async def test_refreshes_at_once_are_bounded_and_all_done_in_the_end() -> None:
    bench, source = held()
    callers = [cognito_caller(f"user-{number}") for number in range(50)]
    calls = [asyncio.create_task(bench.cache.credentials(caller)) for caller in callers]
    await settle()
    for number in range(50):
        source.answer(make_credentials(name=str(number)))
    await asyncio.gather(*calls)
    bench.clock.advance(55 * MINUTE)
    rounds = 0
    while len(source.asked) < 100:
        for caller in callers:
            await bench.cache.credentials(caller)
        await settle()
        assert len(source.pending) <= 16
        while source.pending:
            source.answer(make_credentials(bench.clock() + HOUR))
        await settle()
        rounds += 1
    assert rounds == 4


async def test_ten_thousand_identities_cost_less_than_two_fetches_per_life_each() -> None:
    clock = FakeClock()
    source = ScriptedSource(hourly(clock))
    bench = Bench(source, clock, size=10_000)
    callers = [cognito_caller(f"user-{number}") for number in range(10_000)]
    per_round = []
    for _ in range(24):
        before = source.fetches
        for caller in callers:
            await bench.cache.credentials(caller)
            await asyncio.sleep(0)
        await settle()
        per_round.append(source.fetches - before)
        clock.advance(5 * MINUTE)
    assert per_round[0] == 10_000
    assert source.fetches <= 10_000 * (2 * 2)
    assert bench.events["cognito", "miss"] == 10_000
