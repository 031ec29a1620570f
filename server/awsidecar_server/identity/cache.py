"""The credential cache: each caller's own credentials, fetched once for all who wait, renewed before they end."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random, SystemRandom

from awsidecar_server.config import IdentityConfig
from awsidecar_server.errors import CredentialsUnavailable, SidecarError, Unauthenticated
from awsidecar_server.identity.backoff import Backoff
from awsidecar_server.identity.clock import Clock, utc_now
from awsidecar_server.identity.credentials import (
    Caller,
    CognitoCaller,
    Credentials,
    ServiceAccountCaller,
    SessionCaller,
)
from awsidecar_server.identity.flights import Flights
from awsidecar_server.identity.leases import Freshness, Lease
from awsidecar_server.identity.refusals import session_expired, token_rejected, unavailable
from awsidecar_server.identity.sources import Sources

# Called with the tier, and with `hit`, `miss`, `refresh_ok`, `refresh_failed` or `rejected`.
OnEvent = Callable[[str, str], None]
CachedCaller = CognitoCaller | ServiceAccountCaller


def ignore_event(_tier: str, _event: str) -> None:
    """For whoever counts nothing."""


_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(seconds=60)
# While there is nothing to serve, calls fail; so the source is asked again sooner once it may have recovered.
_LONGEST_PAUSE_WITHOUT = timedelta(seconds=10)
# A source that hangs must not hold a flight for ever; callers have their own deadlines.
FETCH_TIMEOUT_SECONDS = 30.0
# Refreshes at once. One more waits for the next call, which the credentials at hand still serve.
_MAX_REFRESHES = 16
# How long credentials that AWS calls expired are known as such.
# Then they are tried again: it may have been the clock.
_SPENT_FOR = timedelta(minutes=5)
# Credentials younger than this that AWS calls expired are not replaced at once, or each call would cost a fetch.
_TOO_YOUNG_TO_REPLACE = timedelta(seconds=10)
# Looked at per fetch, oldest first, so that tokens and credentials whose time is over do not stay in memory.
_SWEEP_LIMIT = 2


@dataclass(slots=True, eq=False)
class _Entry:
    """What is known for one caller. Changed only between awaits, so no lock guards it."""

    lease: Lease | None = None
    backoff: Backoff = field(default_factory=lambda: Backoff(_FIRST_PAUSE, _LONGEST_PAUSE))
    # Makes the newest failure again: a raised exception would hold its frames, and what they hold, in memory.
    refusal: Callable[[], SidecarError] | None = None
    spent: Credentials | None = None
    spent_at: datetime | None = None

    def is_spent(self, credentials: Credentials, now: datetime) -> bool:
        return credentials == self.spent and self.spent_at is not None and now - self.spent_at < _SPENT_FOR


class CredentialCache:
    """Gives the credentials that sign for a caller, of the caller's own tier or none.

    Credentials are held under the whole caller, least recently used dropped first. They are refreshed in the
    background, and served until they end while that fails.
    """

    def __init__(
        self,
        sources: Sources,
        config: IdentityConfig,
        clock: Clock = utc_now,
        on_event: OnEvent = ignore_event,
        *,
        random: Random | None = None,
        fetch_timeout_seconds: float = FETCH_TIMEOUT_SECONDS,
    ) -> None:
        self._sources = sources
        self._size = config.cache_size
        self._clock = clock
        self._on_event = on_event
        self._random = random or SystemRandom()
        self._fetch_timeout_seconds = fetch_timeout_seconds
        self._entries: OrderedDict[CachedCaller, _Entry] = OrderedDict()
        # Fetches under way, apart from the entries: one that is dropped meanwhile must not be fetched for twice.
        self._flights: Flights[CachedCaller, Credentials] = Flights()
        self._refreshing: set[CachedCaller] = set()

    def __repr__(self) -> str:
        return (
            f"<CredentialCache [Callers: {len(self._entries)} of {self._size}"
            f" | Fetches: {len(self._flights)}, {len(self._refreshing)} in the background]>"
        )

    def __len__(self) -> int:
        return len(self._entries)

    async def credentials(self, caller: Caller) -> Credentials:
        """Raises `Unauthenticated` when the caller is rejected, `CredentialsUnavailable` when its tier fails."""
        now = self._clock()
        if isinstance(caller, SessionCaller):
            return self._own(caller, now)
        self._refuse_expired_token(caller, now)
        entry = self._entry(caller)
        freshness = entry.lease.freshness(now) if entry.lease else Freshness.REQUIRED
        if entry.lease is None or freshness is Freshness.REQUIRED:
            self._event(caller, "miss")
            return await self._fetch_now(caller, entry, now)
        if freshness is Freshness.SOON:
            self._refresh_in_background(caller, entry, now)
        self._event(caller, "hit")
        return entry.lease.credentials

    async def renew(self, caller: Caller, spent: Credentials) -> Credentials:
        """Credentials in the place of `spent`, which AWS called expired: newer ones at hand, or newly fetched."""
        now = self._clock()
        if isinstance(caller, SessionCaller):
            self._event(caller, "rejected")
            raise session_expired(caller.tier)
        self._refuse_expired_token(caller, now)
        entry = self._entry(caller)
        lease = entry.lease
        if lease is not None and lease.credentials != spent and lease.is_usable(now):
            return lease.credentials
        if lease is not None and lease.credentials == spent:
            entry.lease, entry.spent, entry.spent_at = None, spent, now
            if timedelta(0) <= now - lease.fetched_at < _TOO_YOUNG_TO_REPLACE:
                self._note_failure(caller, unavailable(caller.tier, "AWS calls the newest credentials expired"))
        return await self._fetch_now(caller, entry, now)

    def seconds_to_expiry(self) -> Iterable[tuple[str, float]]:
        """Of each tier, the time until its first credentials end; 0 when the service account's have ended."""
        now = self._clock()
        soonest: dict[str, float] = {}
        for caller, entry in self._entries.items():
            lease = entry.lease
            if lease is None or lease.credentials.expires_at is None:
                continue
            # A user who has gone leaves credentials behind that end; that is nothing to be alarmed about.
            if isinstance(caller, CognitoCaller) and not lease.is_usable(now):
                continue
            seconds = max((lease.credentials.expires_at - now).total_seconds(), 0.0)
            tier = caller.tier.value
            soonest[tier] = min(seconds, soonest.get(tier, seconds))
        return soonest.items()

    async def aclose(self) -> None:
        """Cancels every fetch; callers who wait for one are told that the sidecar is draining."""
        await self._flights.aclose()

    def _own(self, caller: SessionCaller, now: datetime) -> Credentials:
        end = min(caller.expires_at, caller.credentials.expires_at or caller.expires_at)
        if end <= now:
            self._event(caller, "rejected")
            raise session_expired(caller.tier)
        return caller.credentials

    def _refuse_expired_token(self, caller: CachedCaller, now: datetime) -> None:
        """Nothing outlives the ID token, however long AWS would take the credentials."""
        if isinstance(caller, CognitoCaller) and caller.token.expires_at <= now:
            self._entries.pop(caller, None)
            self._event(caller, "rejected")
            raise token_rejected("expired")

    def _entry(self, caller: CachedCaller) -> _Entry:
        entry = self._entries.get(caller)
        if entry is None:
            entry = self._entries[caller] = _Entry()
            if len(self._entries) > self._size:
                self._entries.popitem(last=False)
        else:
            self._entries.move_to_end(caller)
        return entry

    async def _fetch_now(self, caller: CachedCaller, entry: _Entry, now: datetime) -> Credentials:
        is_paused = entry.backoff.is_paused(now, at_most=_LONGEST_PAUSE_WITHOUT)
        if is_paused and entry.refusal is not None and not self._flights.is_under_way(caller):
            raise entry.refusal()
        return await self._flights.join(caller, lambda: self._fetch(caller))

    def _refresh_in_background(self, caller: CachedCaller, entry: _Entry, now: datetime) -> None:
        if self._flights.is_closed or self._flights.is_under_way(caller) or entry.backoff.is_paused(now):
            return
        if len(self._refreshing) >= _MAX_REFRESHES:
            return
        self._refreshing.add(caller)
        task = self._flights.start(caller, lambda: self._fetch(caller))
        task.add_done_callback(lambda _: self._refreshing.discard(caller))

    async def _fetch(self, caller: CachedCaller) -> Credentials:
        try:
            fetched = await self._ask(caller)
            lease = self._accept(caller, fetched)
        except Exception as exc:
            self._note_failure(caller, exc)
            raise
        entry = self._entry(caller)
        entry.lease, entry.refusal, entry.spent, entry.spent_at = lease, None, None, None
        entry.backoff.note_success()
        self._event(caller, "refresh_ok")
        self._sweep(lease.fetched_at)
        return lease.credentials

    async def _ask(self, caller: CachedCaller) -> Credentials:
        try:
            async with asyncio.timeout(self._fetch_timeout_seconds):
                return await self._sources.fetch(caller)
        except TimeoutError as exc:
            raise unavailable(caller.tier, "the source of credentials did not answer in time") from exc

    def _accept(self, caller: CachedCaller, fetched: Credentials) -> Lease:
        """Refuses what cannot be served: the time it took to come counts, too."""
        now = self._clock()
        limit = caller.token.expires_at if isinstance(caller, CognitoCaller) else None
        if limit is not None and limit <= now:
            raise token_rejected("expired")
        lease = Lease.of(fetched, now, limit=limit, jitter=self._random.random())
        if not lease.is_usable(now):
            raise unavailable(caller.tier, "the source gave credentials that have expired")
        if self._entry(caller).is_spent(lease.credentials, now):
            raise unavailable(caller.tier, "the source still gives credentials that AWS calls expired")
        return lease

    def _note_failure(self, caller: CachedCaller, failure: Exception) -> None:
        """A rejection takes what was held with it; any other failure leaves it to be served until its end."""
        entry = self._entry(caller)
        entry.backoff.note_failure(self._clock(), self._random.random())
        entry.refusal = _again(failure, caller)
        if isinstance(failure, Unauthenticated):
            entry.lease = None
        self._event(caller, "rejected" if isinstance(failure, Unauthenticated) else "refresh_failed")

    def _sweep(self, now: datetime) -> None:
        for _ in range(_SWEEP_LIMIT):
            oldest = next(iter(self._entries))
            if not isinstance(oldest, CognitoCaller) or oldest.token.expires_at > now:
                return
            del self._entries[oldest]

    def _event(self, caller: Caller, event: str) -> None:
        self._on_event(caller.tier.value, event)


def _again(failure: Exception, caller: CachedCaller) -> Callable[[], SidecarError]:
    """How to raise the failure anew, without its frames."""
    message, tier = str(failure), caller.tier
    if isinstance(failure, Unauthenticated):
        reason, metadata = failure.reason, dict(failure.metadata)
        return lambda: Unauthenticated(message, reason=reason, **metadata)
    if isinstance(failure, CredentialsUnavailable):
        return lambda: unavailable(tier, message)
    # A defect: whoever waited has it as it is; those after him need not know more.
    return lambda: unavailable(tier, "the source of credentials failed")
