from __future__ import annotations

import asyncio
import hashlib
import hmac
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.identity.fakes import (
    COGNITO,
    HOUR,
    SECOND,
    START,
    FakeClock,
    FakeFetch,
    claims,
    id_token,
    jwk,
    key_set,
    private_key,
    raw_token,
    settle,
)

from awsidecar_server.errors import CredentialsUnavailable, Unauthenticated
from awsidecar_server.identity.credentials import VerifiedToken
from awsidecar_server.identity.jwks import KeySet
from awsidecar_server.identity.tokens import MAX_CACHED, MAX_TOKEN_CHARS, TokenVerifier

GOOD_HEADER = {"alg": "RS256", "kid": "one"}


def make_verifier(*, max_cached: int = MAX_CACHED) -> tuple[TokenVerifier, FakeFetch, FakeClock]:
    clock = FakeClock()
    fetch = FakeFetch(key_set(jwk("one")))
    return TokenVerifier(COGNITO, KeySet(fetch, clock), clock, max_cached=max_cached), fetch, clock


async def cause_of(verifier: TokenVerifier, raw: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await verifier.verify(raw)
    assert caught.value.reason == "TOKEN_REJECTED"
    for part in raw.split("."):
        assert len(part) < 8 or part not in str(caught.value)
    return caught.value.metadata["cause"]


async def test_a_good_token_is_verified() -> None:
    verifier, _, _ = make_verifier()
    raw = id_token()
    token = await verifier.verify(raw)
    assert (token.raw, token.issuer, token.subject) == (raw, COGNITO.issuer, "ann")
    assert token.expires_at == START + HOUR
    assert raw not in repr(token)


async def test_each_configured_client_is_an_audience() -> None:
    verifier, _, _ = make_verifier()
    assert (await verifier.verify(id_token(claims(aud="client-two")))).subject == "ann"


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"iss": None}, "missing_claim"),
        ({"aud": None}, "missing_claim"),
        ({"sub": None}, "missing_claim"),
        ({"token_use": None}, "missing_claim"),
        ({"exp": None}, "missing_claim"),
        ({"iat": None}, "missing_claim"),
        ({"iss": COGNITO.issuer + "x"}, "wrong_issuer"),
        ({"iss": COGNITO.issuer[:-1]}, "wrong_issuer"),
        ({"aud": "client-three"}, "wrong_audience"),
        ({"aud": ["client-one"]}, "wrong_audience"),
        ({"aud": ""}, "wrong_audience"),
        ({"aud": {"client-one": 1}}, "wrong_audience"),
        ({"token_use": "access"}, "wrong_token_use"),
        ({"token_use": "access", "aud": None, "client_id": "client-one"}, "wrong_token_use"),
        ({"token_use": ["id"]}, "wrong_token_use"),
        ({"exp": int(START.timestamp())}, "expired"),
        ({"exp": int(START.timestamp()) - 1}, "expired"),
        ({"exp": 0}, "expired"),
        ({"exp": "9999999999"}, "malformed"),
        ({"exp": True}, "malformed"),
        ({"exp": 10**40}, "malformed"),
        ({"exp": 10**400}, "malformed"),
        ({"exp": float("inf")}, "malformed"),
        ({"exp": float("nan")}, "malformed"),
        ({"iat": int(START.timestamp()) + 61}, "not_yet_valid"),
        ({"iat": []}, "malformed"),
        ({"nbf": int(START.timestamp()) + 1}, "not_yet_valid"),
        ({"nbf": "soon"}, "malformed"),
        ({"sub": ""}, "malformed"),
        ({"sub": 7}, "malformed"),
    ],
)
async def test_wrong_claims_are_refused_before_any_key_is_fetched(changes: dict[str, Any], cause: str) -> None:
    verifier, fetch, _ = make_verifier()
    content = claims(**changes)
    forged = raw_token(GOOD_HEADER, content)
    assert await cause_of(verifier, forged) == cause
    header, payload, _ = forged.split(".")
    signature = jwt.get_algorithm_by_name("RS256").sign(f"{header}.{payload}".encode(), private_key("one"))
    signed = f"{header}.{payload}.{jwt.utils.base64url_encode(signature).decode()}"
    assert await cause_of(verifier, signed) == cause
    assert fetch.count == 0


async def test_clocks_may_differ_by_a_minute_at_issue_and_not_at_all_at_expiry() -> None:
    verifier, _, clock = make_verifier()
    issued = int(START.timestamp()) + 60
    raw = id_token(claims(iat=issued, nbf=int(START.timestamp()), exp=issued + 1))
    await verifier.verify(raw)
    clock.advance(61 * SECOND)
    assert await cause_of(verifier, raw) == "expired"


@pytest.mark.parametrize(
    ("header", "cause"),
    [
        ({"alg": "none", "kid": "one"}, "wrong_algorithm"),
        ({"alg": "None", "kid": "one"}, "wrong_algorithm"),
        ({"alg": "HS256", "kid": "one"}, "wrong_algorithm"),
        ({"alg": "RS512", "kid": "one"}, "wrong_algorithm"),
        ({"alg": "PS256", "kid": "one"}, "wrong_algorithm"),
        ({"kid": "one"}, "wrong_algorithm"),
        ({"alg": ["RS256"], "kid": "one"}, "wrong_algorithm"),
        ({"alg": "RS256"}, "unknown_key"),
        ({"alg": "RS256", "kid": ""}, "unknown_key"),
        ({"alg": "RS256", "kid": 7}, "malformed"),
        ({**GOOD_HEADER, "crit": ["exp"]}, "malformed"),
        ({**GOOD_HEADER, "crit": []}, "malformed"),
        ({**GOOD_HEADER, "crit": ["b64"], "b64": True}, "malformed"),
        ({**GOOD_HEADER, "b64": False}, "malformed"),
        ("text", "malformed"),
        ([], "malformed"),
        (b"not json", "malformed"),
        (b"[" * 30_000, "malformed"),
    ],
)
async def test_wrong_headers_are_refused_before_any_key_is_fetched(header: Any, cause: str) -> None:
    verifier, fetch, _ = make_verifier()
    assert await cause_of(verifier, raw_token(header, claims())) == cause
    assert fetch.count == 0


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "a",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "...",
        "..",
        "\u00e9.b.c",
        "\ud800.b.c",
        "a b.c.d",
        "x" * (MAX_TOKEN_CHARS + 1),
        raw_token(GOOD_HEADER, b"not json"),
        raw_token(GOOD_HEADER, b"\xff\xfe"),
        raw_token(GOOD_HEADER, []),
        raw_token(GOOD_HEADER, "text"),
        raw_token(GOOD_HEADER, b"[" * 30_000),
        raw_token(GOOD_HEADER, claims()) + "=",
        raw_token(GOOD_HEADER, claims()) + "!",
    ],
    ids=lambda raw: ascii(raw)[:24],
)
async def test_what_is_no_token_is_malformed(raw: str) -> None:
    verifier, fetch, _ = make_verifier()
    assert await cause_of(verifier, raw) == "malformed"
    assert fetch.count == 0


async def test_a_token_longer_than_cognito_takes_is_refused_though_it_is_good() -> None:
    verifier, fetch, _ = make_verifier()
    assert await cause_of(verifier, id_token(claims(padding="x" * MAX_TOKEN_CHARS))) == "malformed"
    assert fetch.count == 0


async def test_a_forged_signature_is_refused() -> None:
    verifier, _, _ = make_verifier()
    assert await cause_of(verifier, id_token(key=private_key("forger"))) == "bad_signature"
    assert await cause_of(verifier, raw_token(GOOD_HEADER, claims(), b"")) == "bad_signature"
    assert await cause_of(verifier, raw_token(GOOD_HEADER, claims(), b"\0" * 256)) == "bad_signature"


async def test_another_payload_under_a_good_signature_is_refused() -> None:
    verifier, _, _ = make_verifier()
    _, _, signature = id_token().split(".")
    header, payload, _ = raw_token(GOOD_HEADER, claims(sub="bob")).split(".")
    assert await cause_of(verifier, f"{header}.{payload}.{signature}") == "bad_signature"


async def test_the_public_key_is_no_shared_secret() -> None:
    verifier, _, _ = make_verifier()
    public = private_key("one").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for alg in ("HS256", "RS256"):
        header, payload, _ = raw_token({"alg": alg, "kid": "one"}, claims()).split(".")
        signature = hmac.new(public, f"{header}.{payload}".encode(), hashlib.sha256).digest()
        forged = f"{header}.{payload}.{jwt.utils.base64url_encode(signature).decode()}"
        assert await cause_of(verifier, forged) in {"wrong_algorithm", "bad_signature"}


async def test_a_key_in_the_header_is_not_used() -> None:
    verifier, _, _ = make_verifier()
    forger = private_key("forger")
    raw = id_token(key=forger, headers={"jwk": jwk("one", key=forger), "jku": "https://example.org/keys"})
    assert await cause_of(verifier, raw) == "bad_signature"


async def test_an_unknown_key_is_refused() -> None:
    verifier, fetch, _ = make_verifier()
    assert await cause_of(verifier, id_token(kid="forged", key=private_key("forger"))) == "unknown_key"
    assert fetch.count == 1


async def test_keys_that_cannot_be_fetched_are_not_the_tokens_fault() -> None:
    verifier, fetch, _ = make_verifier()
    fetch.body = OSError("down")
    with pytest.raises(CredentialsUnavailable):
        await verifier.verify(id_token())


async def test_a_token_that_expires_while_keys_are_fetched_is_refused() -> None:
    verifier, fetch, clock = make_verifier()
    fetch.gate.clear()
    verifying = asyncio.create_task(verifier.verify(id_token()))
    await settle()
    clock.advance(HOUR)
    fetch.gate.set()
    with pytest.raises(Unauthenticated) as caught:
        await verifying
    assert caught.value.metadata == {"cause": "expired"}


async def test_a_verified_token_is_remembered_until_it_expires() -> None:
    verifier, _, clock = make_verifier()
    raw = id_token()
    token = await verifier.verify(raw)
    assert await verifier.verify(raw) is token
    assert repr(verifier) == "<TokenVerifier [Verified tokens: 1]>"
    clock.advance(HOUR - timedelta(microseconds=1))
    assert await verifier.verify(raw) is token
    clock.advance(timedelta(microseconds=1))
    assert await cause_of(verifier, raw) == "expired"
    assert repr(verifier) == "<TokenVerifier [Verified tokens: 0]>"


async def test_expired_tokens_leave_memory_when_others_come() -> None:
    verifier, _, clock = make_verifier()
    for number in range(5):
        await verifier.verify(id_token(claims(jti=str(number))))
    clock.advance(2 * HOUR)
    await verifier.verify(id_token(claims(clock())))
    assert repr(verifier) == "<TokenVerifier [Verified tokens: 1]>"


async def test_memory_of_tokens_is_bounded() -> None:
    verifier, _, _ = make_verifier(max_cached=3)
    for number in range(10):
        await verifier.verify(id_token(claims(jti=str(number))))
    await verifier.verify(id_token(claims(padding="x" * 20_000)))
    assert repr(verifier) == "<TokenVerifier [Verified tokens: 3]>"


@settings(deadline=None)
@given(st.text(max_size=300) | st.builds(".".join, st.lists(st.text("abcABC019-_=", max_size=40), max_size=5)))
def test_no_text_gets_past_or_fetches_keys(raw: str) -> None:
    verifier, fetch, _ = make_verifier()
    assert asyncio.run(cause_of(verifier, raw)) in {"malformed", "wrong_algorithm"}
    assert fetch.count == 0


async def outcome_of(verifier: TokenVerifier, raw: str) -> VerifiedToken | BaseException:
    (outcome,) = await asyncio.gather(verifier.verify(raw), return_exceptions=True)
    return outcome


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(name=st.sampled_from(["iss", "aud", "token_use", "exp", "iat", "sub", "nbf"]), value=_JSON)
def test_no_value_of_a_claim_is_anything_but_taken_or_rejected(name: str, value: Any) -> None:
    verifier, _, _ = make_verifier()
    content = {**claims(), name: value}
    header, payload, _ = raw_token(GOOD_HEADER, content).split(".")
    signature = jwt.get_algorithm_by_name("RS256").sign(f"{header}.{payload}".encode(), private_key("one"))
    raw = f"{header}.{payload}.{jwt.utils.base64url_encode(signature).decode()}"
    outcome = asyncio.run(outcome_of(verifier, raw))
    if isinstance(outcome, Unauthenticated):
        assert outcome.reason == "TOKEN_REJECTED"
    else:
        assert isinstance(outcome, VerifiedToken)
        assert outcome.expires_at > START
        assert content["aud"] in COGNITO.client_ids
