"""The verification of Cognito ID tokens, cheapest check first."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from awsidecar_server.config import CognitoConfig
from awsidecar_server.identity.clock import Clock, utc_now
from awsidecar_server.identity.credentials import VerifiedToken
from awsidecar_server.identity.jwks import KeySet
from awsidecar_server.identity.refusals import token_rejected

# Cognito takes no longer token in a `Logins` map.
MAX_TOKEN_CHARS = 50_000
# The issuer's clock may be ahead of ours. An expiry has no such grace.
_ISSUED_AHEAD = timedelta(seconds=60)
MAX_CACHED = 10_000
# What fits into gRPC metadata comes with every call and is worth remembering; a longer token comes once.
_MAX_CACHED_CHARS = 16 * 1024
_ALGORITHM = "RS256"
_USE = "id"


class TokenVerifier:
    """Takes the ID tokens of one user pool for its configured app clients.

    Checks follow the developer guide, "Verifying a JSON web token". Nothing that a stranger can write leads to a
    fetch of keys, except a token that claims everything right.
    """

    def __init__(
        self, cognito: CognitoConfig, keys: KeySet, clock: Clock = utc_now, *, max_cached: int = MAX_CACHED
    ) -> None:
        self._issuer = cognito.issuer
        self._client_ids = frozenset(cognito.client_ids)
        self._keys = keys
        self._clock = clock
        self._max_cached = max_cached
        # Verified tokens by the digest of their text, least recently used first. One that has expired is dropped
        # when it is asked for, or when it has become the oldest.
        self._verified: OrderedDict[bytes, VerifiedToken] = OrderedDict()

    def __repr__(self) -> str:
        return f"<TokenVerifier [Verified tokens: {len(self._verified)}]>"

    async def verify(self, raw: str) -> VerifiedToken:
        """Raises `Unauthenticated` for every token that is not good now."""
        if not raw or len(raw) > MAX_TOKEN_CHARS or not raw.isascii():
            raise token_rejected("malformed")
        digest = hashlib.sha256(raw.encode()).digest()
        known = self._verified.get(digest)
        if known is None:
            return await self._verify_anew(raw, digest)
        if known.expires_at <= self._clock():
            del self._verified[digest]
            raise token_rejected("expired")
        self._verified.move_to_end(digest)
        return known

    async def _verify_anew(self, raw: str, digest: bytes) -> VerifiedToken:
        parsed = _parse(raw)
        if parsed is None:
            raise token_rejected("malformed")
        header, claims = parsed
        kid = _check_header(header)
        self._check_claims(claims, self._clock())
        key = await self._keys.key(kid)
        proven = _proven_claims(raw, key)
        if proven is None:
            raise token_rejected("bad_signature")
        # Again, and on what was signed: the token may have expired while the keys were fetched.
        now = self._clock()
        expires_at = self._check_claims(proven, now)
        token = VerifiedToken(raw=raw, issuer=self._issuer, subject=proven["sub"], expires_at=expires_at)
        self._remember(digest, token, now)
        return token

    def _check_claims(self, claims: dict[str, Any], now: datetime) -> datetime:
        """Gives the time of expiry. `token_use` is looked at before `aud`, which access tokens do not have."""
        for name in ("iss", "token_use", "exp", "iat", "sub"):
            if claims.get(name) is None:
                raise token_rejected("missing_claim")
        if claims["iss"] != self._issuer:
            raise token_rejected("wrong_issuer")
        if claims["token_use"] != _USE:
            raise token_rejected("wrong_token_use")
        audience = claims.get("aud")
        if audience is None:
            raise token_rejected("missing_claim")
        if not isinstance(audience, str) or audience not in self._client_ids:
            raise token_rejected("wrong_audience")
        if not isinstance(claims["sub"], str) or not claims["sub"]:
            raise token_rejected("malformed")
        expires_at = _instant(claims["exp"])
        if expires_at <= now:
            raise token_rejected("expired")
        if _instant(claims["iat"]) > now + _ISSUED_AHEAD:
            raise token_rejected("not_yet_valid")
        if "nbf" in claims and _instant(claims["nbf"]) > now:
            raise token_rejected("not_yet_valid")
        return expires_at

    def _remember(self, digest: bytes, token: VerifiedToken, now: datetime) -> None:
        if len(token.raw) > _MAX_CACHED_CHARS:
            return
        self._verified[digest] = token
        while self._verified:
            oldest = next(iter(self._verified))
            if len(self._verified) <= self._max_cached and self._verified[oldest].expires_at > now:
                break
            del self._verified[oldest]


def _parse(raw: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Header and claims, unproven. None instead of an exception: a parser's complaint may quote the token."""
    if raw.count(".") != 2:
        return None
    try:
        decoded = jwt.decode_complete(raw, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        return None
    header, claims = decoded["header"], decoded["payload"]
    if not isinstance(header, dict) or not isinstance(claims, dict):
        return None
    return header, claims


def _check_header(header: dict[str, Any]) -> str:
    """Gives the id of the key."""
    if header.get("alg") != _ALGORITHM:
        raise token_rejected("wrong_algorithm")
    # Extensions that must be understood (RFC 7515, section 4.1.11): we understand none, and Cognito uses none.
    if "crit" in header or "b64" in header:
        raise token_rejected("malformed")
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise token_rejected("unknown_key")
    return kid


def _proven_claims(raw: str, key: RSAPublicKey) -> dict[str, Any] | None:
    """The claims under a signature that fits; None when it does not. Our own rules for claims follow."""
    try:
        claims: dict[str, Any] = jwt.decode(
            raw,
            key,
            algorithms=[_ALGORITHM],
            options={
                "verify_signature": True,
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
                "verify_aud": False,
                "verify_iss": False,
                "verify_sub": False,
                "verify_jti": False,
            },
        )
    except (jwt.PyJWTError, ValueError):
        return None
    return claims


def _instant(value: Any) -> datetime:
    """A NumericDate (RFC 7519, section 2)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise token_rejected("malformed")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError) as exc:
        raise token_rejected("malformed") from exc
