"""The values of identity: AWS credentials, and the callers that calls are signed for."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum


class Tier(Enum):
    """Whose credentials sign a call. The values are those of metrics, logs and the `x-awsidecar-tier` trailer."""

    SESSION = "session"
    COGNITO = "cognito"
    SERVICE_ACCOUNT = "service_account"


@dataclass(frozen=True, slots=True)
class Credentials:
    """AWS credentials. No part of them shows in a repr."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    # Timezone-aware, UTC. None: they do not expire, or nobody knows when.
    expires_at: datetime | None = None
    # The account they belong to, where it is known: AWS has endpoints per account.
    account_id: str | None = None


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A Cognito ID token whose signature and claims have been checked."""

    raw: str = field(repr=False)
    issuer: str
    subject: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SessionCaller:
    """A caller who brought AWS credentials."""

    credentials: Credentials
    # When the session ends; not later than the credentials do.
    expires_at: datetime
    # While AWS has not taken the credentials yet: by what the store knows the session. It is the digest of its handle.
    unproved: str = field(default="", repr=False, compare=False)
    tier = Tier.SESSION


@dataclass(frozen=True, slots=True)
class CognitoCaller:
    """A caller who brought an ID token, good until `token.expires_at`."""

    token: VerifiedToken
    tier = Tier.COGNITO


@dataclass(frozen=True, slots=True)
class ServiceAccountCaller:
    """A caller without a session: the sidecar's own credentials sign."""

    tier = Tier.SERVICE_ACCOUNT


Caller = SessionCaller | CognitoCaller | ServiceAccountCaller
