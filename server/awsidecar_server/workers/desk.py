"""Sessions in a worker: opened and closed by way of the supervisor, in all workers or in none."""

from __future__ import annotations

import asyncio
from typing import Any

from awsidecar_server.identity.credentials import CognitoCaller, SessionCaller
from awsidecar_server.identity.refusals import session_not_shared, too_many_sessions
from awsidecar_server.identity.sessions import OpenedSession, SessionStore, digest_of
from awsidecar_server.workers.channel import Channel, ChannelLost, QuestionFailed
from awsidecar_server.workers.handover import session_to_json

# More than the supervisor waits for the workers.
_PATIENCE_SECONDS = 4.0


class SharedSessions:
    """The worker's own store is filled by the supervisor's word alone; so all workers' stores are the same."""

    def __init__(
        self, store: SessionStore, channel: Channel, *, limit: int, patience_seconds: float = _PATIENCE_SECONDS
    ) -> None:
        self._store = store
        self._channel = channel
        self._limit = limit
        self._patience_seconds = patience_seconds

    async def open(self, caller: SessionCaller | CognitoCaller) -> OpenedSession:
        """Raises `Unauthenticated`, `LimitReached`, and `Unavailable` when a worker does not confirm."""
        opened, session = self._store.issue(caller)
        digest = digest_of(opened.handle)
        try:
            answer = await self._asked("open", session_to_json(digest, session))
        except BaseException:
            self._channel.ask("close", digest.hex())
            raise
        if answer.get("refused") == "TOO_MANY_SESSIONS":
            raise too_many_sessions(self._limit)
        if "refused" in answer:
            raise session_not_shared()
        return opened

    async def close(self, handle: str) -> bool:
        """Raises `Unavailable` when a worker does not confirm; the others have closed it then."""
        answer = await self._asked("close", digest_of(handle).hex())
        if "refused" in answer:
            raise session_not_shared()
        return bool(answer["closed"])

    def take_back(self, digest: bytes) -> None:
        # What other workers were shown is not known here; but whoever opens a session uses it over the same connection.
        if not self._store.was_used(digest):
            self._channel.ask("close", digest.hex())

    def accepted(self, caller: SessionCaller) -> None:
        if self._store.prove(caller):
            self._channel.ask("proved", caller.unproved)

    async def _asked(self, what: str, about: Any) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._patience_seconds):
                answer: dict[str, Any] = await self._channel.ask(what, about)
                return answer
        except (ChannelLost, QuestionFailed, TimeoutError) as unanswered:
            raise session_not_shared() from unanswered
