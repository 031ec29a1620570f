"""No caller is ever served with another's credentials, and no secret is ever shown."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.identity.fakes import (
    COGNITO,
    SECOND,
    SECRET,
    START,
    FakeClock,
    FakeCognitoApi,
    FakeFetch,
    HeldSource,
    cognito_caller,
    id_token,
    jwk,
    key_set,
    make_credentials,
    private_key,
    session_caller,
    settle,
)

from awsidecar_server.config import IdentityConfig
from awsidecar_server.errors import AwsRejected, SidecarError
from awsidecar_server.identity.cache import CachedCaller, CredentialCache
from awsidecar_server.identity.cognito import CognitoExchange
from awsidecar_server.identity.credentials import CognitoCaller, Credentials, ServiceAccountCaller
from awsidecar_server.identity.jwks import KeySet
from awsidecar_server.identity.refusals import token_rejected, unavailable
from awsidecar_server.identity.sessions import SessionStore
from awsidecar_server.identity.sources import Sources
from awsidecar_server.identity.tokens import TokenVerifier

CALLERS: Sequence[CachedCaller] = (
    ServiceAccountCaller(),
    cognito_caller("ann", raw="ann-1", expires_at=START + 2000 * SECOND),
    cognito_caller("ann", raw="ann-2"),
    cognito_caller("bob", raw="bob-1"),
    cognito_caller("cleo", raw="cleo-1"),
)


def name_of(caller: CachedCaller) -> str:
    return caller.token.raw if isinstance(caller, CognitoCaller) else "service-account"


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.integers(0, len(CALLERS) - 1)),
        st.tuples(st.just("renew"), st.integers(0, len(CALLERS) - 1)),
        st.tuples(st.just("answer"), st.integers(0, 9)),
        st.tuples(st.just("fail"), st.integers(0, 9)),
        st.tuples(st.just("reject"), st.integers(0, 9)),
        st.tuples(st.just("cancel"), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.sampled_from([1, 5, 60, 600, 3000, 3600])),
        st.tuples(st.just("yield"), st.integers(1, 3)),
    ),
    max_size=60,
)


class Interleaving:
    """Calls, answers, failures, cancellations and time, in the order the property test thinks of."""

    def __init__(self, size: int) -> None:
        self.clock = FakeClock()
        self.source = HeldSource()
        self.cache = CredentialCache(
            Sources(cognito=self.source, service_account=self.source),
            IdentityConfig(cache_size=size),
            self.clock,
            random=Random(1),
        )
        self.calls: list[tuple[CachedCaller, asyncio.Task[Credentials]]] = []
        self.last: dict[CachedCaller, Credentials] = {}
        self.size = size

    async def run(self, steps: Sequence[tuple[str, int]]) -> None:
        for step, value in steps:
            await self._take(step, value)
            assert len(self.cache) <= self.size
            pending = [caller for caller, future in self.source.pending if not future.done()]
            assert len(pending) == len(set(pending)), "two fetches for one caller at a time"
        await settle()
        while self.source.pending:
            self._answer(0)
            await settle()
        for caller, call in self.calls:
            await self._check(caller, call)
        await self.cache.aclose()

    async def _take(self, step: str, value: int) -> None:
        if step in {"call", "renew"}:
            caller = CALLERS[value]
            work = (
                self.cache.renew(caller, self.last[caller])
                if step == "renew" and caller in self.last
                else self.cache.credentials(caller)
            )
            call = asyncio.create_task(work)
            call.add_done_callback(lambda done: self._keep(caller, done))
            self.calls.append((caller, call))
        elif step == "wait":
            self.clock.advance(value * SECOND)
        elif step == "yield":
            for _ in range(value):
                await asyncio.sleep(0)
        elif step == "cancel" and self.calls:
            self.calls[value % len(self.calls)][1].cancel()
        elif step in {"answer", "fail", "reject"} and self.source.pending:
            self._answer(value % len(self.source.pending), step)

    def _answer(self, index: int, step: str = "answer") -> None:
        caller, _ = self.source.pending[index]
        answers: dict[str, Credentials | Exception] = {
            "answer": make_credentials(self.clock() + 3600 * SECOND, name=name_of(caller)),
            "fail": unavailable(caller.tier, "down"),
            "reject": token_rejected("refused_by_cognito"),
        }
        self.source.answer(answers[step], index=index)

    def _keep(self, caller: CachedCaller, call: asyncio.Task[Credentials]) -> None:
        if not call.cancelled() and call.exception() is None:
            self.last[caller] = call.result()

    async def _check(self, caller: CachedCaller, call: asyncio.Task[Credentials]) -> None:
        (found,) = await asyncio.gather(call, return_exceptions=True)
        if isinstance(found, Credentials):
            assert found.secret_access_key == f"{SECRET}-{name_of(caller)}"
            if isinstance(caller, CognitoCaller):
                assert found.expires_at is not None
                assert found.expires_at <= caller.token.expires_at
        else:
            assert isinstance(found, SidecarError | asyncio.CancelledError), found


@settings(max_examples=300, deadline=None)
@given(steps=_STEPS, size=st.integers(1, 6))
def test_no_interleaving_serves_one_caller_with_anothers_credentials(
    steps: list[tuple[str, int]], size: int
) -> None:
    async def run() -> None:
        await Interleaving(size).run(steps)

    asyncio.run(run())


def assert_shows_no_secret(value: object) -> None:
    for shown in (repr(value), str(value), f"{value}", repr([value])):
        assert SECRET not in shown
        assert "AKIA" not in shown


async def test_no_value_shows_a_secret() -> None:
    clock = FakeClock()
    api = FakeCognitoApi(clock)
    exchange = CognitoExchange(COGNITO, api)
    cache = CredentialCache(Sources(cognito=exchange, service_account=HeldSource()), IdentityConfig(), clock)
    caller = cognito_caller()
    found = await cache.credentials(caller)
    store = SessionStore(IdentityConfig(), clock)
    opened = store.open(session_caller())
    values = (
        found,
        caller,
        caller.token,
        session_caller(),
        exchange,
        cache,
        store,
        opened,
        store.find(opened.handle),
    )
    for value in values:
        assert_shows_no_secret(value)
        assert opened.handle not in repr(value)
    for entry in cache._entries.values():
        assert_shows_no_secret(entry)
        assert_shows_no_secret(entry.lease)


@pytest.mark.parametrize("code", ["NotAuthorizedException", "InternalErrorException", SECRET])
async def test_no_error_nor_its_trace_shows_a_secret(code: str) -> None:
    api = FakeCognitoApi(FakeClock())
    api.get_id_refusals = [AwsRejected("cognito-identity", "GetId", code, f"token {SECRET} is bad")]
    with pytest.raises(SidecarError) as caught:
        await CognitoExchange(COGNITO, api).fetch(cognito_caller())
    assert_shows_no_secret(caught.value)
    assert SECRET not in str(caught.value.metadata)


async def test_a_rejected_token_leaves_no_part_of_itself_in_the_trace() -> None:
    clock = FakeClock()
    verifier = TokenVerifier(COGNITO, KeySet(FakeFetch(key_set(jwk())), clock), clock)
    good = id_token()
    forged = id_token(key=private_key("forger"))
    for raw in (forged, good[:-3], good + "~~~", "secretpart.secretpart.secretpart", good.replace(".", "..")):
        with pytest.raises(SidecarError) as caught:
            await verifier.verify(raw)
        text = "".join(traceback.format_exception(caught.value))
        assert not [part for part in raw.split(".") if len(part) > 4 and part in text]
