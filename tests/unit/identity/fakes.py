"""What the tests of identity stand on: a clock that is told, sources answered by hand, a user pool of our own."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, TypeVar

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from awsidecar_server.config import CognitoConfig
from awsidecar_server.identity.credentials import (
    CognitoCaller,
    Credentials,
    ServiceAccountCaller,
    SessionCaller,
    VerifiedToken,
)

T = TypeVar("T")
START = datetime(2030, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
CLIENT_ID = "client-one"
COGNITO = CognitoConfig(
    user_pool_id="eu-central-1_Pool",
    identity_pool_id="eu-central-1:00000000-0000-0000-0000-000000000000",
    client_ids=(CLIENT_ID, "client-two"),
)
SECRET = "canary+secret/of=the=tests"


class FakeClock:
    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, time: timedelta) -> None:
        self.now += time


async def settle() -> None:
    """Lets everything that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


def make_credentials(expires_at: datetime | None = START + HOUR, *, name: str = "1") -> Credentials:
    return Credentials(f"AKIA-{name}-{SECRET}", f"{SECRET}-{name}", f"session-{SECRET}-{name}", expires_at)


def session_caller(expires_at: datetime = START + HOUR, *, name: str = "1") -> SessionCaller:
    return SessionCaller(make_credentials(expires_at, name=name), expires_at)


def cognito_caller(
    subject: str = "ann", *, expires_at: datetime = START + 24 * HOUR, raw: str | None = None
) -> CognitoCaller:
    raw = f"token-{SECRET}-{subject}" if raw is None else raw
    return CognitoCaller(VerifiedToken(raw, COGNITO.issuer, subject, expires_at))


class ScriptedSource:
    """Answers at once: with what `answer` gives, or with the exception it raises."""

    def __init__(self, answer: Callable[[CognitoCaller | ServiceAccountCaller], Credentials]) -> None:
        self.answer = answer
        self.fetches = 0

    async def fetch(self, caller: CognitoCaller | ServiceAccountCaller, /) -> Credentials:
        self.fetches += 1
        await asyncio.sleep(0)
        return self.answer(caller)


class HeldSource:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[CognitoCaller | ServiceAccountCaller] = []
        self.pending: list[tuple[CognitoCaller | ServiceAccountCaller, asyncio.Future[Credentials]]] = []

    async def fetch(self, caller: CognitoCaller | ServiceAccountCaller, /) -> Credentials:
        future: asyncio.Future[Credentials] = asyncio.get_running_loop().create_future()
        self.asked.append(caller)
        self.pending.append((caller, future))
        return await future

    def answer(self, credentials: Credentials | Exception, *, index: int = 0) -> None:
        _, future = self.pending.pop(index)
        if future.done():
            return
        if isinstance(credentials, Exception):
            future.set_exception(credentials)
        else:
            future.set_result(credentials)


class FakeCognitoApi:
    """Cognito's two operations. `refusals` are raised in turn, a None in it lets one call pass."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.get_id_calls: list[Mapping[str, str]] = []
        self.get_credentials_calls: list[tuple[str, Mapping[str, str]]] = []
        self.get_id_refusals: list[Exception | None] = []
        self.get_credentials_refusals: list[Exception | None] = []
        self.identity_ids: dict[str, str] = {}
        self.renamed: dict[str, str] = {}
        self.gate = asyncio.Event()
        self.gate.set()

    async def get_id(self, identity_pool_id: str, logins: Mapping[str, str]) -> str:
        assert identity_pool_id == COGNITO.identity_pool_id
        self.get_id_calls.append(logins)
        await self.gate.wait()
        refusal = self.get_id_refusals.pop(0) if self.get_id_refusals else None
        if refusal is not None:
            raise refusal
        raw = logins[COGNITO.login_key]
        return self.identity_ids.get(raw, f"id-of-{raw}")

    async def get_credentials_for_identity(
        self, identity_id: str, logins: Mapping[str, str]
    ) -> tuple[str, Credentials]:
        self.get_credentials_calls.append((identity_id, logins))
        await asyncio.sleep(0)
        refusal = self.get_credentials_refusals.pop(0) if self.get_credentials_refusals else None
        if refusal is not None:
            raise refusal
        answered = self.renamed.get(identity_id, identity_id)
        return answered, make_credentials(self.clock() + HOUR, name=answered)


@cache
def private_key(name: str = "one", bits: int = 2048) -> rsa.RSAPrivateKey:
    """Made once per run and name: making one takes longer than a test."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def jwk(kid: str = "one", *, key: rsa.RSAPrivateKey | None = None, **changes: Any) -> dict[str, Any]:
    numbers = (key or private_key(kid)).public_key().public_numbers()
    entry = {
        "kid": kid,
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "n": _base64url(numbers.n),
        "e": _base64url(numbers.e),
    }
    return {name: value for name, value in {**entry, **changes}.items() if value is not None}


def key_set(*entries: Any) -> bytes:
    return json.dumps({"keys": list(entries)}).encode()


class FakeFetch:
    """The key set's URL: gives `body`, or raises it; held back while `gate` is not set."""

    def __init__(self, body: bytes | Exception) -> None:
        self.body = body
        self.count = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> bytes:
        self.count += 1
        await self.gate.wait()
        if isinstance(self.body, Exception):
            raise self.body
        return self.body


def claims(now: datetime = START, **changes: Any) -> dict[str, Any]:
    """The claims of a good ID token; a change to None leaves the claim out."""
    good = {
        "iss": COGNITO.issuer,
        "aud": CLIENT_ID,
        "sub": "ann",
        "token_use": "id",
        "iat": int(now.timestamp()),
        "exp": int((now + HOUR).timestamp()),
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def id_token(
    content: Mapping[str, Any] | None = None,
    *,
    kid: str | None = "one",
    key: rsa.RSAPrivateKey | None = None,
    headers: Mapping[str, Any] | None = None,
) -> str:
    header = {**({"kid": kid} if kid is not None else {}), **(headers or {})}
    return jwt.encode(
        dict(claims() if content is None else content),
        key or private_key("one"),
        algorithm="RS256",
        headers=header,
    )


def raw_token(header: Any, content: Any, signature: bytes = b"signature") -> str:
    """A token of any shape, for what no library would write."""

    def part(value: Any) -> str:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    return f"{part(header)}.{part(content)}.{part(signature)}"


def _base64url(number: int) -> str:
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
