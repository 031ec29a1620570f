from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
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
    session_caller,
    settle,
)

from awsidecar_server.config import IdentityConfig
from awsidecar_server.errors import CredentialsUnavailable, Draining, SidecarError, Unauthenticated
from awsidecar_server.identity.cache import CachedCaller, CredentialCache
from awsidecar_server.identity.credentials import Credentials, ServiceAccountCaller, SessionCaller
from awsidecar_server.identity.refusals import token_rejected, unavailable
from awsidecar_server.identity.sources import CredentialSource, Sources

SERVICE_ACCOUNT = ServiceAccountCaller()
OUTAGE = RuntimeError("a defect of a source")


class Bench:
    """A cache with a clock and a source of its own."""

    def __init__(self, source: CredentialSource[CachedCaller], clock: FakeClock, *, size: int = 100) -> None:
        self.clock = clock
        self.events: Counter[tuple[str, str]] = Counter()
        self.cache = CredentialCache(
            Sources(cognito=source, service_account=source),
            IdentityConfig(cache_size=size),
            clock,
            lambda tier, event: self.events.update([(tier, event)]),
            random=Random(7),
        )

    async def failure(self, caller: CachedCaller | SessionCaller) -> SidecarError:
        with pytest.raises(SidecarError) as caught:
            await self.cache.credentials(caller)
        return caught.value


def hourly(clock: FakeClock) -> Callable[[CachedCaller], Credentials]:
    """Credentials for an hour, new ones each time."""
    made = iter(range(1_000_000))
    return lambda caller: make_credentials(clock() + HOUR, name=str(next(made)))


def scripted(*, size: int = 100) -> tuple[Bench, ScriptedSource]:
    clock = FakeClock()
    source = ScriptedSource(hourly(clock))
    return Bench(source, clock, size=size), source


def held() -> tuple[Bench, HeldSource]:
    source = HeldSource()
    return Bench(source, FakeClock()), source


def failing(failure: Exception) -> Callable[[CachedCaller], Credentials]:
    def fail(caller: CachedCaller) -> Credentials:
        raise failure

    return fail


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
