"""The refusals of identity, each worded once; none of them holds any part of a token, a handle or a key."""

from __future__ import annotations

from typing import Literal

from awsidecar_server.errors import CredentialsUnavailable, LimitReached, Unauthenticated, Unavailable
from awsidecar_server.identity.credentials import Tier

TokenCause = Literal[
    "malformed",
    "expired",
    "not_yet_valid",
    "wrong_issuer",
    "wrong_audience",
    "wrong_token_use",
    "wrong_algorithm",
    "unknown_key",
    "bad_signature",
    "missing_claim",
    "refused_by_cognito",
]

_TOKEN_CAUSES: dict[TokenCause, str] = {
    "malformed": "it is not a well-formed JSON web token",
    "expired": "it has expired",
    "not_yet_valid": "it is not valid yet",
    "wrong_issuer": "it is from another issuer than the configured user pool",
    "wrong_audience": "it is for another app client than the configured ones",
    "wrong_token_use": "it is not an ID token",
    "wrong_algorithm": "it is not signed with RS256",
    "unknown_key": "it is signed with a key that the user pool does not publish",
    "bad_signature": "its signature does not fit",
    "missing_claim": "it lacks a required claim",
    "refused_by_cognito": "Cognito refused it",
}


def token_rejected(cause: TokenCause) -> Unauthenticated:
    return Unauthenticated(
        f"the ID token was rejected: {_TOKEN_CAUSES[cause]}", reason="TOKEN_REJECTED", cause=cause
    )


def session_malformed(header: str, problem: str) -> Unauthenticated:
    return Unauthenticated(f"{header} {problem}", reason="SESSION_MALFORMED", header=header)


def session_not_found() -> Unauthenticated:
    return Unauthenticated("the session handle names no open session", reason="SESSION_NOT_FOUND")


def session_expired(tier: Tier) -> Unauthenticated:
    return Unauthenticated("the session has expired; open a new one", reason="SESSION_EXPIRED", tier=tier.value)


def too_many_sessions(limit: int) -> LimitReached:
    return LimitReached(
        "as many sessions are open as the configuration allows", reason="TOO_MANY_SESSIONS", limit=str(limit)
    )


def session_not_shared() -> Unavailable:
    return Unavailable("not every worker process has confirmed it in time", reason="SESSION_NOT_SHARED")


def cognito_not_configured() -> Unauthenticated:
    return Unauthenticated(
        "an ID token came, but no Cognito user pool is configured", reason="COGNITO_NOT_CONFIGURED"
    )


def no_service_account(problem: str) -> Unauthenticated:
    return Unauthenticated(f"no session was stated, and {problem}", reason="NO_SERVICE_ACCOUNT")


def unavailable(tier: Tier, problem: str) -> CredentialsUnavailable:
    return CredentialsUnavailable(problem, tier=tier.value)
