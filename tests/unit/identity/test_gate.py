from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.identity.fakes import (
    COGNITO,
    HOUR,
    FakeClock,
    FakeFetch,
    cognito_caller,
    id_token,
    jwk,
    key_set,
    session_caller,
)

from awsidecar_server.config import IdentityConfig
from awsidecar_server.errors import Unauthenticated
from awsidecar_server.identity.credentials import CognitoCaller, ServiceAccountCaller
from awsidecar_server.identity.gate import Gate
from awsidecar_server.identity.jwks import KeySet
from awsidecar_server.identity.sessions import SessionStore
from awsidecar_server.identity.tokens import TokenVerifier


def make_gate(*, cognito: bool = True) -> tuple[Gate, SessionStore, FakeClock]:
    clock = FakeClock()
    sessions = SessionStore(IdentityConfig(), clock)
    keys = KeySet(FakeFetch(key_set(jwk())), clock)
    return Gate(TokenVerifier(COGNITO, keys, clock) if cognito else None, sessions), sessions, clock


async def test_no_session_header_is_the_service_account() -> None:
    gate, _, _ = make_gate()
    assert await gate.identify([("user-agent", "grpc"), ("x-trace-bin", b"\0")]) == ServiceAccountCaller()


async def test_a_handle_names_the_caller_who_opened_the_session() -> None:
    gate, sessions, _ = make_gate(cognito=False)
    caller = session_caller()
    opened = sessions.open(caller)
    assert await gate.identify([("x-awsidecar-session", opened.handle)]) == caller


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_bearer_token_is_verified(scheme: str) -> None:
    gate, _, _ = make_gate()
    raw = id_token()
    caller = await gate.identify([("authorization", f"{scheme} {raw}")])
    assert isinstance(caller, CognitoCaller)
    assert (caller.token.raw, caller.token.subject) == (raw, "ann")


async def test_a_token_that_opened_a_session_is_not_good_past_its_own_expiry() -> None:
    gate, sessions, clock = make_gate()
    opened = sessions.open(cognito_caller(expires_at=clock() + HOUR))
    assert isinstance(await gate.identify([("x-awsidecar-session", opened.handle)]), CognitoCaller)
    clock.advance(HOUR)
    with pytest.raises(Unauthenticated) as caught:
        await gate.identify([("x-awsidecar-session", opened.handle)])
    assert (caught.value.reason, caught.value.metadata) == ("SESSION_EXPIRED", {"tier": "cognito"})


@pytest.mark.parametrize(
    ("metadata", "header"),
    [
        ([("authorization", "")], "authorization"),
        ([("authorization", "Bearer")], "authorization"),
        ([("authorization", "Bearer ")], "authorization"),
        ([("authorization", "Bearer a b")], "authorization"),
        ([("authorization", "Bearer  a")], "authorization"),
        ([("authorization", "Bearer\ta")], "authorization"),
        ([("authorization", " Bearer a")], "authorization"),
        ([("authorization", "Bearer a\u00a0b")], "authorization"),
        ([("authorization", "Basic YTpi")], "authorization"),
        ([("authorization", "AWS4-HMAC-SHA256 Credential=x")], "authorization"),
        ([("authorization", "a.b.c")], "authorization"),
        ([("authorization", b"Bearer a")], "authorization"),
        ([("authorization-bin", b"Bearer a")], "authorization"),
        ([("authorization", "Bearer a"), ("authorization", "Bearer a")], "authorization"),
        ([("authorization", "Bearer a"), ("x-awsidecar-session", "h")], "x-awsidecar-session"),
        ([("x-awsidecar-session", "h"), ("authorization", "Bearer a")], "authorization"),
        ([("x-awsidecar-session", "")], "x-awsidecar-session"),
        ([("x-awsidecar-session", " ")], "x-awsidecar-session"),
        ([("x-awsidecar-session", "a b")], "x-awsidecar-session"),
        ([("x-awsidecar-session", b"a")], "x-awsidecar-session"),
        ([("x-awsidecar-session-bin", b"a")], "x-awsidecar-session"),
        ([("X-AWSidecar-Session", "")], "x-awsidecar-session"),
    ],
)
async def test_a_badly_stated_session_is_malformed(metadata: list[tuple[str, str | bytes]], header: str) -> None:
    gate, _, _ = make_gate()
    with pytest.raises(Unauthenticated) as caught:
        await gate.identify(metadata)
    assert caught.value.reason == "SESSION_MALFORMED"
    assert caught.value.metadata == {"header": header}


async def test_a_token_is_refused_where_cognito_is_not_configured() -> None:
    gate, _, _ = make_gate(cognito=False)
    with pytest.raises(Unauthenticated) as caught:
        await gate.identify([("authorization", f"Bearer {id_token()}")])
    assert caught.value.reason == "COGNITO_NOT_CONFIGURED"
    with pytest.raises(Unauthenticated) as caught:
        await gate.verify_token(id_token())
    assert caught.value.reason == "COGNITO_NOT_CONFIGURED"


async def test_an_unknown_handle_is_no_session() -> None:
    gate, _, _ = make_gate()
    with pytest.raises(Unauthenticated) as caught:
        await gate.identify([("x-awsidecar-session", "unknown")])
    assert caught.value.reason == "SESSION_NOT_FOUND"


_HEADERS = st.sampled_from(
    ["authorization", "x-awsidecar-session", "Authorization", "X-AWSIDECAR-SESSION", "authorization-bin"]
)
_VALUES = st.one_of(
    st.text(),
    st.binary(),
    st.text(max_size=20).map(lambda text: f"Bearer {text}"),
    st.sampled_from(["", "Bearer", "bearer x.y.z", "Bearer ..", "null", "none", "undefined"]),
)
_OTHERS = st.lists(st.tuples(st.sampled_from(["user-agent", "traceparent", "x-other"]), st.text(max_size=5)))


@settings(deadline=None)
@given(others=_OTHERS, stated=st.lists(st.tuples(_HEADERS, _VALUES), min_size=1), data=st.data())
def test_a_session_header_never_makes_the_service_account(
    others: list[tuple[str, str]], stated: list[tuple[str, str | bytes]], data: st.DataObject
) -> None:
    gate, _, _ = make_gate(cognito=data.draw(st.booleans()))
    metadata = data.draw(st.permutations([*others, *stated]))
    with pytest.raises(Unauthenticated) as caught:
        asyncio.run(gate.identify(metadata))
    for _, value in stated:
        assert len(value) < 8 or str(value) not in str(caught.value)
