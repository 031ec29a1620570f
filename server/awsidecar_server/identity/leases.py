"""Credentials as the cache holds them: until when they may be served, and from when new ones are sought."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from awsidecar_server.identity.credentials import Credentials

# AWS must still take what is served now when the request arrives there.
_HARD_MARGIN = timedelta(seconds=5)
# New credentials are sought in the last third of a life, or the last 10 min of a long one: STS's shortest sessions
# last 15 min, and a fixed window as long as that would never let them rest.
_LONGEST_WINDOW = timedelta(minutes=10)
_WINDOW_SHARE = 3
# What was fetched together must not be renewed together: up to this much earlier. With the window it stays under
# half a life.
_LONGEST_JITTER = timedelta(minutes=5)
_JITTER_SHARE = 12
# Credentials that name no end may still be exchanged in place (a rotated file); they are read again this often.
_READ_AGAIN_AFTER = timedelta(minutes=5)
_READ_AGAIN_JITTER = timedelta(seconds=30)


class Freshness(Enum):
    """Whether new credentials must be fetched, should be, or need not be."""

    REQUIRED = "required"
    SOON = "soon"
    NOT_REQUIRED = "not_required"


@dataclass(frozen=True, slots=True)
class Lease:
    """Credentials, and what to do with them when."""

    credentials: Credentials
    fetched_at: datetime
    # None: new ones would not last longer.
    refresh_from: datetime | None
    # None: they have no end.
    usable_until: datetime | None

    @classmethod
    def of(cls, fetched: Credentials, now: datetime, *, limit: datetime | None, jitter: float) -> Lease:
        """`limit` is the end of the identity itself, past which nothing is served; `jitter` is from 0 to 1.

        There are three cases: the credentials name no end; they outlast the identity, so that new ones would be
        good for no longer; or they end first.
        """
        end = fetched.expires_at
        if end is None:
            refresh_from: datetime | None = now + _READ_AGAIN_AFTER + jitter * _READ_AGAIN_JITTER
            usable_until = limit
        elif limit is not None and limit <= end:
            refresh_from = None
            usable_until = min(limit, end - _HARD_MARGIN)
        else:
            life = end - now
            window = min(_LONGEST_WINDOW, life / _WINDOW_SHARE)
            refresh_from = end - window - jitter * min(_LONGEST_JITTER, life / _JITTER_SHARE)
            usable_until = end - _HARD_MARGIN
        if limit is not None:
            fetched = replace(fetched, expires_at=limit if end is None else min(limit, end))
        return cls(fetched, now, refresh_from, usable_until)

    def is_usable(self, now: datetime) -> bool:
        return self.usable_until is None or now < self.usable_until

    def freshness(self, now: datetime) -> Freshness:
        if not self.is_usable(now):
            return Freshness.REQUIRED
        if self.refresh_from is not None and now >= self.refresh_from:
            return Freshness.SOON
        return Freshness.NOT_REQUIRED
