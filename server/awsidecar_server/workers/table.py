"""The sessions of all workers, as the supervisor keeps them: each is known to every worker before its caller hears of it."""

from __future__ import annotations

import asyncio
from typing import Any

from awsidecar_server.errors import LimitReached, Unavailable
from awsidecar_server.identity.refusals import session_not_shared
from awsidecar_server.identity.sessions import Session, SessionStore
from awsidecar_server.workers.channel import Channel
from awsidecar_server.workers.handover import session_from_json, session_to_json

# A worker whose event loop turns confirms in a millisecond or so.
_PATIENCE_SECONDS = 2.0
# A thousand sessions with ID tokens are some 2 MB.
_BATCH = 500


class SharedTable:
    """Opens and closes sessions in all workers.

    The state is the store, which is the authority on what is open and how much there may be, and the channels of the
    workers: of those that serve, each must confirm; those that are still learning are told, and not waited for.
    """

    def __init__(self, store: SessionStore, *, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self._store = store
        self._patience_seconds = patience_seconds
        self._members: set[Channel] = set()
        self._learning: set[Channel] = set()

    async def answer(self, what: str, about: Any) -> Any:
        """Answers a worker's question; `refused` is the reason of a refusal."""
        try:
            if what == "open":
                await self._open(*session_from_json(about))
                return {}
            if what == "close":
                return {"closed": await self._close(bytes.fromhex(about))}
            if what == "proved":
                self._store.note_proved(bytes.fromhex(about))
                return {}
        except (LimitReached, Unavailable) as refused:
            return {"refused": refused.reason}
        raise ValueError(what)

    async def welcome(self, newcomer: Channel) -> None:
        """Tells a worker every session; from then on no session is opened or closed without its word."""
        self._learning.add(newcomer)
        digests = self._store.digests()
        for start in range(0, len(digests), _BATCH):
            # What has been closed meanwhile is left out; what is closed from here on follows behind.
            held = [(digest, self._store.held(digest)) for digest in digests[start : start + _BATCH]]
            batch = [session_to_json(digest, session) for digest, session in held if session is not None]
            await newcomer.ask("sessions", batch)
        self._learning.discard(newcomer)
        self._members.add(newcomer)

    def leave(self, channel: Channel) -> None:
        """Forgets a worker that has ended."""
        self._learning.discard(channel)
        self._members.discard(channel)

    async def _open(self, digest: bytes, session: Session) -> None:
        displaced = self._store.admit(digest, session)
        if displaced is not None:
            self._tell("close", displaced.hex())
        try:
            await self._everywhere("open", session_to_json(digest, session))
        except BaseException:
            # Its caller will not hear of it, so it shall not take anybody's room.
            self._store.drop(digest)
            self._tell("close", digest.hex())
            raise

    def _tell(self, what: str, about: Any) -> None:
        """Tells all workers, and waits for none."""
        for channel in (*self._members, *self._learning):
            channel.ask(what, about)

    async def _close(self, digest: bytes) -> bool:
        # Whatever the store knows: the worker that has not confirmed an earlier closing is asked again.
        closed = self._store.drop(digest)
        await self._everywhere("close", digest.hex())
        return closed

    async def _everywhere(self, what: str, about: Any) -> None:
        """Returns when all workers that serve have confirmed; raises `Unavailable` when one does not in time."""
        for channel in self._learning:
            channel.ask(what, about)
        answers = [channel.ask(what, about) for channel in self._members]
        if not answers:
            return
        _, late = await asyncio.wait(answers, timeout=self._patience_seconds)
        for answer in late:
            answer.cancel()
        # A worker whose channel is lost may serve until its process is gone, too.
        if late or any(answer.exception() for answer in answers):
            raise session_not_shared()
