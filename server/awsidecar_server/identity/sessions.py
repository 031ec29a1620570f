"""The open sessions: a handle for each, of which only a digest is kept."""

from __future__ import annotations

import hashlib
import heapq
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from awsidecar_server.config import IdentityConfig
from awsidecar_server.identity.clock import Clock, utc_now
from awsidecar_server.identity.credentials import CognitoCaller, SessionCaller
from awsidecar_server.identity.refusals import session_expired, session_not_found, too_many_sessions

_HANDLE_BYTES = 32
# A handle is 43 characters; nothing much longer is worth a digest.
_MAX_HANDLE_CHARS = 128
# Expired sessions dropped by one opening: more than one, so that they are outrun; few, so that no opening is slow.
_SWEEP_LIMIT = 32
# Closed sessions may stay in the heap until they are as many as the open ones and this.
_HEAP_SLACK = 1024


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """What the caller gets: the only copy of the handle."""

    handle: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Session:
    """Who opened it, and when it ends."""

    caller: SessionCaller | CognitoCaller
    expires_at: datetime


class Sessions(Protocol):
    """Opens and closes sessions for callers, wherever they must be known before the caller is answered."""

    async def open(self, caller: SessionCaller | CognitoCaller) -> OpenedSession:
        """Raises `Unauthenticated` for what has expired already, and `LimitReached` when there is no room."""

    async def close(self, handle: str) -> bool:
        """True when the handle named a session that was open."""

    def take_back(self, digest: bytes) -> None:
        """Closes the session of the handle with this digest, unless it was used: nobody seems to have got it."""

    def accepted(self, caller: SessionCaller) -> None:
        """AWS has answered a call that was signed for this session, so its credentials are somebody's."""


class LocalSessions:
    """The sessions of a sidecar that is one process: what its store knows, all of it knows."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store

    async def open(self, caller: SessionCaller | CognitoCaller) -> OpenedSession:
        return self._store.open(caller)

    async def close(self, handle: str) -> bool:
        return self._store.close(handle)

    def take_back(self, digest: bytes) -> None:
        if not self._store.was_used(digest):
            self._store.drop(digest)

    def accepted(self, caller: SessionCaller) -> None:
        self._store.prove(caller)


class SessionStore:
    """Opens, finds and closes sessions. A session ends with its credentials or token, or at the configured age.

    Anybody can make up AWS credentials, and nobody can tell before they are used. So when there is no more room, the
    session of that kind that was opened first and has never been of use gives way; one with an ID token, which has been
    verified, and one that AWS has answered never do.
    """

    def __init__(self, config: IdentityConfig, clock: Clock = utc_now) -> None:
        self._limit = config.max_sessions
        self._max_age = timedelta(seconds=config.session_max_age_seconds)
        self._clock = clock
        # By the SHA-256 digest of the handle, so that memory holds no handle and lookup leaks none by its timing.
        self._sessions: dict[bytes, Session] = {}
        # Every session of `_sessions` by its end, soonest first, and some that have been closed since.
        self._ends: list[tuple[datetime, bytes]] = []
        # Those of `_sessions` whose credentials AWS has not taken yet, as they were opened.
        self._unproved: OrderedDict[bytes, None] = OrderedDict()
        # Those of `_sessions` whose handle nobody has shown yet.
        self._unused: set[bytes] = set()

    def __repr__(self) -> str:
        return f"<SessionStore [Sessions: {len(self._sessions)} of {self._limit}]>"

    @property
    def open_count(self) -> int:
        """Sessions held; expired ones count until they are swept."""
        return len(self._sessions)

    def open(self, caller: SessionCaller | CognitoCaller) -> OpenedSession:
        """Raises `Unauthenticated` for what has expired already, and `LimitReached` when there is no room."""
        opened, session = self.issue(caller)
        self.admit(digest_of(opened.handle), session)
        return opened

    def issue(self, caller: SessionCaller | CognitoCaller) -> tuple[OpenedSession, Session]:
        """A new handle, and the session that it stands for once that is admitted; raises `Unauthenticated`."""
        now = self._clock()
        expires_at = min(_end(caller), now + self._max_age)
        if expires_at <= now:
            raise session_expired(caller.tier)
        if isinstance(caller, SessionCaller):
            caller = replace(caller, expires_at=expires_at)
        return OpenedSession(secrets.token_urlsafe(_HANDLE_BYTES), expires_at), Session(caller, expires_at)

    def admit(self, digest: bytes, session: Session) -> bytes | None:
        """Adds a session under the digest of its handle; raises `LimitReached` when there is no room.

        Returns the digest of the session that had to give way, if one had.
        """
        self._sweep(self._clock())
        displaced = None
        if len(self._sessions) >= self._limit:
            displaced = next(iter(self._unproved), None)
            if displaced is None:
                raise too_many_sessions(self._limit)
            self.drop(displaced)
        self._put(digest, session)
        return displaced

    def prove(self, caller: SessionCaller) -> bool:
        """Notes that AWS has taken the credentials of the session that was found so; True when that is news."""
        return bool(caller.unproved) and self.note_proved(bytes.fromhex(caller.unproved))

    def note_proved(self, digest: bytes) -> bool:
        """The same for the session of the handle with this digest."""
        if digest not in self._unproved:
            return False
        del self._unproved[digest]
        return True

    def adopt(self, digest: bytes, session: Session) -> None:
        """Adds a session that another process has admitted, whatever the limit; the same one may come twice."""
        self._sweep(self._clock())
        self._put(digest, session)

    def _put(self, digest: bytes, session: Session) -> None:
        if digest not in self._sessions:
            self._unused.add(digest)
        if isinstance(session.caller, SessionCaller):
            self._unproved[digest] = None
        self._sessions[digest] = session
        heapq.heappush(self._ends, (session.expires_at, digest))

    def digests(self) -> list[bytes]:
        """Of the sessions held now."""
        return list(self._sessions)

    def held(self, digest: bytes) -> Session | None:
        return self._sessions.get(digest)

    def find(self, handle: str) -> SessionCaller | CognitoCaller:
        """Who opened the session; raises `Unauthenticated` when it was never opened, is closed, or is over."""
        digest = digest_of(handle)
        session = self._sessions.get(digest)
        if session is None:
            raise session_not_found()
        self._unused.discard(digest)
        if session.expires_at <= self._clock():
            raise session_expired(session.caller.tier)
        if digest in self._unproved and isinstance(session.caller, SessionCaller):
            return replace(session.caller, unproved=digest.hex())
        return session.caller

    def was_used(self, digest: bytes) -> bool:
        """Whether a call has named the session of the handle with this digest, so that somebody has it."""
        return digest in self._sessions and digest not in self._unused

    def close(self, handle: str) -> bool:
        """True when the handle named a session that was open."""
        return self.drop(digest_of(handle))

    def drop(self, digest: bytes) -> bool:
        """Closes the session of the handle with this digest; True when it was open."""
        session = self._forget(digest)
        # Opening and closing in turn must not grow the heap; remaking it is paid for by the closings before.
        if len(self._ends) > 2 * len(self._sessions) + _HEAP_SLACK:
            self._ends = [(held.expires_at, digest) for digest, held in self._sessions.items()]
            heapq.heapify(self._ends)
        return session is not None and session.expires_at > self._clock()

    def _sweep(self, now: datetime) -> None:
        """Drops expired sessions, soonest ended first; enough to make room for one if that is possible."""
        swept = 0
        while self._ends and self._ends[0][0] <= now and swept < _SWEEP_LIMIT:
            _, digest = heapq.heappop(self._ends)
            swept += self._forget(digest) is not None

    def _forget(self, digest: bytes) -> Session | None:
        self._unproved.pop(digest, None)
        self._unused.discard(digest)
        return self._sessions.pop(digest, None)


def _end(caller: SessionCaller | CognitoCaller) -> datetime:
    if isinstance(caller, CognitoCaller):
        return caller.token.expires_at
    return min(caller.expires_at, caller.credentials.expires_at or caller.expires_at)


def digest_of(handle: str) -> bytes:
    """The SHA-256 digest by which a handle is known; raises `Unauthenticated` for what can be none."""
    if len(handle) > _MAX_HANDLE_CHARS or not handle.isascii():
        raise session_not_found()
    return hashlib.sha256(handle.encode()).digest()
