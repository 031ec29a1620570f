"""The signing keys of one user pool: fetched for all at once, and kept while they cannot be fetched again."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from random import Random, SystemRandom
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from awsidecar_server.config import CognitoConfig
from awsidecar_server.identity.backoff import Backoff
from awsidecar_server.identity.clock import Clock, utc_now
from awsidecar_server.identity.credentials import Tier
from awsidecar_server.identity.flights import Flights
from awsidecar_server.identity.refusals import token_rejected, unavailable

# Gives the bytes of the key set, in bounded time and size; anything it raises counts as a failed fetch.
Fetch = Callable[[], Awaitable[bytes]]

# A pool has two keys and announces no rotation; an hour is what AWS's own verifiers and caches take.
FRESH_FOR = timedelta(hours=1)
# An unknown key id may be a rotated key or a forgery. One fetch in this time finds out, for all of them together.
UNKNOWN_KEY_PAUSE = timedelta(seconds=10)
_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(seconds=30)
_FETCH_TIMEOUT_SECONDS = 5.0
# A real set is about 1 KiB.
_MAX_BYTES = 256 * 1024
_MAX_KEYS = 32
_MIN_KEY_BITS = 2048
_MAX_KEY_BITS = 8192
# Keys in use have 65537; a huge exponent only makes verification slow.
_MAX_EXPONENT_BITS = 32


def jwks_url(config: CognitoConfig) -> str:
    """Where the pool publishes its keys."""
    return config.jwks_url or f"{config.issuer}/.well-known/jwks.json"


def fetch_over_http(url: str, *, tls: ssl.SSLContext | None = None) -> Fetch:
    """A GET that follows no redirect: the keys are the issuer's, or they are not used."""

    async def fetch() -> bytes:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=_FETCH_TIMEOUT_SECONDS)
        # An emulator on this host is behind no proxy.
        heeds_proxies = urlsplit(url).hostname not in ("localhost", "127.0.0.1", "::1")
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=heeds_proxies) as session,
            session.get(url, allow_redirects=False, ssl=tls if tls is not None else True) as response,
        ):
            if response.status != 200:
                raise ConnectionError(f"the key set was answered with HTTP status {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_chunked(16 * 1024):
                body += chunk
                if len(body) > _MAX_BYTES:
                    raise ConnectionError(f"the key set is larger than {_MAX_BYTES} bytes")
            return bytes(body)

    return fetch


class KeySet:
    """The pool's keys by their id. A failed fetch never drops a key that is good."""

    def __init__(self, fetch: Fetch, clock: Clock = utc_now, *, random: Random | None = None) -> None:
        self._fetch = fetch
        self._clock = clock
        self._random = random or SystemRandom()
        self._keys: dict[str, RSAPublicKey] = {}
        self._fetched_at: datetime | None = None
        self._asked_at: datetime | None = None
        self._backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        self._flights: Flights[None, None] = Flights()

    def __repr__(self) -> str:
        return f"<KeySet [Keys: {len(self._keys)} | Failed fetches: {self._backoff.failures}]>"

    async def key(self, kid: str) -> RSAPublicKey:
        """The key of that id. There are three cases:

        1. no keys yet: wait for the first fetch;
        2. a known id: serve it, and fetch in the background when the keys are no longer fresh;
        3. an unknown id: fetch, unless that was done just now.
        """
        now = self._clock()
        if not self._keys:
            await self._load_now(now)
        elif kid in self._keys:
            self._refresh_in_background(now)
        elif self._flights.is_under_way(None) or not self._was_asked_just_now(now):
            await self._load_now(now)
        elif self._backoff.failures:
            # The newest fetch failed, so nobody can tell a new key from a forged one.
            raise unavailable(Tier.COGNITO, "the signing keys of the user pool cannot be read")
        found = self._keys.get(kid)
        if found is None:
            raise token_rejected("unknown_key")
        return found

    async def aclose(self) -> None:
        await self._flights.aclose()

    async def _load_now(self, now: datetime) -> None:
        if not self._flights.is_under_way(None) and self._backoff.is_paused(now):
            raise unavailable(Tier.COGNITO, "the signing keys of the user pool cannot be read")
        await self._flights.join(None, self._load)

    def _refresh_in_background(self, now: datetime) -> None:
        is_fresh = self._fetched_at is not None and now - self._fetched_at < FRESH_FOR
        if not is_fresh and not self._backoff.is_paused(now) and not self._flights.is_closed:
            self._flights.start(None, self._load)

    def _was_asked_just_now(self, now: datetime) -> bool:
        return self._asked_at is not None and timedelta(0) <= now - self._asked_at < UNKNOWN_KEY_PAUSE

    async def _load(self) -> None:
        self._asked_at = self._clock()
        try:
            keys = parse_key_set(await self._fetch())
        except Exception as exc:
            self._backoff.note_failure(self._clock(), self._random.random())
            raise unavailable(Tier.COGNITO, "the signing keys of the user pool cannot be read") from exc
        self._backoff.note_success()
        self._fetched_at = self._clock()
        self._keys = keys


def parse_key_set(body: bytes) -> dict[str, RSAPublicKey]:
    """The usable keys of a JSON web key set (RFC 7517, section 5); raises `ValueError` when it has none."""
    if len(body) > _MAX_BYTES:
        raise ValueError("the key set is too large")
    try:
        document = json.loads(body)
    except RecursionError as exc:
        raise ValueError("the key set is nested too deeply") from exc
    keys: dict[str, RSAPublicKey] = {}
    for entry in _listed(document):
        if len(keys) == _MAX_KEYS:
            break
        key = _usable_key(entry)
        if key is not None:
            keys.setdefault(entry["kid"], key)
    if not keys:
        raise ValueError("the key set has no usable key")
    return keys


def _listed(document: Any) -> list[Any]:
    match document:
        case {"keys": [*listed]}:
            return listed
    raise ValueError("the key set has no list of keys")


def _usable_key(entry: Any) -> RSAPublicKey | None:
    """An RSA key for RS256 signatures, or None: one odd key must not cost the others."""
    if not isinstance(entry, dict) or entry.get("kty") != "RSA" or "d" in entry:
        return None
    if entry.get("use", "sig") != "sig" or entry.get("alg", "RS256") != "RS256":
        return None
    kid = entry.get("kid")
    if not isinstance(kid, str) or not kid:
        return None
    try:
        modulus, exponent = _unsigned(entry.get("n")), _unsigned(entry.get("e"))
        if not _MIN_KEY_BITS <= modulus.bit_length() <= _MAX_KEY_BITS:
            return None
        if exponent.bit_length() > _MAX_EXPONENT_BITS:
            return None
        return RSAPublicNumbers(exponent, modulus).public_key()
    except (TypeError, ValueError):
        return None


def _unsigned(value: Any) -> int:
    """A Base64urlUInt (RFC 7518, section 2)."""
    if not isinstance(value, str):
        raise TypeError("is not text")
    return int.from_bytes(base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True), "big")
