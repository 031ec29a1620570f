"""What each call of a client carries: the session, the region and the time limit."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace

from awsidecar.transport import MAX_DETAILS_BYTES

DEFAULT_TIMEOUT_SECONDS = 30.0
# How long closing a session may take when its block has ended in an error, or nobody waits for it any more; and how long
# `aio.Client.close` waits for sessions that are being closed.
CLOSING_SECONDS = 5.0

_MOST_CONFLICT_ATTEMPTS = 100
_REGION = re.compile(r"[a-z0-9-]{1,64}")

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one client. The session's secrets are in `metadata` only, which stays out of the repr."""

    timeout: float = DEFAULT_TIMEOUT_SECONDS
    region: str | None = None
    # How often a call is tried in all that another transaction is in the way of; None: once.
    conflict_attempts: int | None = None
    identity: str = "service account"
    authentication: Metadata = field(default=(), repr=False)
    metadata: Metadata = field(init=False, repr=False)

    def __post_init__(self) -> None:
        checked_timeout(self.timeout)
        metadata = [("x-awsidecar-max-details-bytes", str(MAX_DETAILS_BYTES)), *self.authentication]
        if self.region is not None:
            if not _REGION.fullmatch(self.region):
                raise ValueError(f"{self.region!r} is no AWS region")
            metadata.append(("x-awsidecar-region", self.region))
        if self.conflict_attempts is not None:
            if not 1 <= self.conflict_attempts <= _MOST_CONFLICT_ATTEMPTS:
                raise ValueError(f"conflict_attempts must be from 1 to {_MOST_CONFLICT_ATTEMPTS}")
            metadata.append(("x-awsidecar-retry-conflicts", str(self.conflict_attempts)))
        object.__setattr__(self, "metadata", tuple(metadata))

    def with_token(self, id_token: str) -> Settings:
        """Returns settings for the holder of an ID token."""
        return replace(
            self, identity="ID token", authentication=(("authorization", f"Bearer {_checked_secret(id_token)}"),)
        )

    def with_session(self, handle: str) -> Settings:
        """Returns settings for an open session."""
        return replace(self, identity="session", authentication=(("x-awsidecar-session", _checked_secret(handle)),))

    def with_conflict_attempts(self, attempts: int) -> Settings:
        """Returns settings with which conflicts with other transactions are tried again."""
        return replace(self, conflict_attempts=attempts)

    def without_identity(self) -> Settings:
        """Returns settings that state no session."""
        return replace(self, identity="service account", authentication=())


def settings_of(*, session: str | None, token: str | None, region: str | None, timeout: float) -> Settings:
    """Returns the settings that the arguments of `connect` name."""
    if session is not None and token is not None:
        raise ValueError("a client has one session: give either session or token")
    settings = Settings(timeout=timeout, region=region)
    if session is not None:
        return settings.with_session(session)
    return settings if token is None else settings.with_token(token)


def checked_timeout(seconds: float) -> float:
    """Returns a time limit that is one: every call ends."""
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"the timeout must be a positive number of seconds, not {seconds}")
    return seconds


def _checked_secret(text: str) -> str:
    # Checked here because gRPC would repeat the text in its own complaint.
    if not isinstance(text, str):
        raise TypeError(f"a token or session handle is a str, not {type(text).__name__}")
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("a token or session handle has characters that no token has, or none at all")
    return text
