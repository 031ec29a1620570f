from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.identity.fakes import HOUR, START, FakeClock, session_caller, settle
from tests.unit.workers.fakes import FakeChannel

from awsidecar_server.config import IdentityConfig
from awsidecar_server.errors import LimitReached, Unauthenticated, Unavailable
from awsidecar_server.identity.credentials import SessionCaller
from awsidecar_server.identity.sessions import SessionStore, digest_of
from awsidecar_server.workers.channel import ChannelLost
from awsidecar_server.workers.desk import SharedSessions


def make(channel: Any, patience_seconds: float = 60.0) -> tuple[SharedSessions, SessionStore]:
    store = SessionStore(IdentityConfig(), FakeClock())
    return SharedSessions(store, channel, limit=7, patience_seconds=patience_seconds), store


async def test_opening_tells_the_supervisor_the_digest_and_never_the_handle() -> None:
    channel = FakeChannel(lambda *_: {})
    sessions, store = make(channel)
    opened = await sessions.open(session_caller())
    ((what, about),) = channel.asked
    assert (what, about["digest"]) == ("open", digest_of(opened.handle).hex())
    assert opened.handle not in str(about)
    assert store.open_count == 0  # until the supervisor says so


async def test_closing_says_what_the_supervisor_says() -> None:
    channel = FakeChannel(lambda *_: {"closed": True})
    sessions, _ = make(channel)
    assert await sessions.close("a-handle")
    assert channel.asked == [("close", digest_of("a-handle").hex())]


async def test_no_room_in_all_workers_is_the_refusal_of_one() -> None:
    sessions, _ = make(FakeChannel(lambda *_: {"refused": "TOO_MANY_SESSIONS"}))
    with pytest.raises(LimitReached) as refused:
        await sessions.open(session_caller())
    assert (refused.value.reason, refused.value.metadata) == ("TOO_MANY_SESSIONS", {"limit": "7"})


async def test_worker_that_does_not_confirm_is_unavailable() -> None:
    sessions, _ = make(FakeChannel(lambda *_: {"refused": "SESSION_NOT_SHARED"}))
    with pytest.raises(Unavailable) as refused:
        await sessions.open(session_caller())
    assert refused.value.reason == "SESSION_NOT_SHARED"
    with pytest.raises(Unavailable):
        await sessions.close("a-handle")


async def test_supervisor_that_gives_no_answer_is_unavailable_and_the_session_is_taken_back() -> None:
    channel = FakeChannel()
    sessions, _ = make(channel, patience_seconds=0.0)
    with pytest.raises(Unavailable) as refused:
        await sessions.open(session_caller())
    assert refused.value.reason == "SESSION_NOT_SHARED"
    assert [what for what, _ in channel.asked] == ["open", "close"]


async def test_supervisor_that_is_gone_is_unavailable() -> None:
    channel = FakeChannel()
    sessions, _ = make(channel)
    closing = asyncio.ensure_future(sessions.close("a-handle"))
    await settle()
    channel.open[0].set_exception(ChannelLost())
    with pytest.raises(Unavailable):
        await closing


async def test_caller_who_hangs_up_leaves_no_session() -> None:
    channel = FakeChannel()
    sessions, _ = make(channel)
    opening = asyncio.ensure_future(sessions.open(session_caller()))
    await settle()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    (_, about), (what, closed) = channel.asked
    assert (what, closed) == ("close", about["digest"])


async def test_session_whose_handle_reached_nobody_is_closed_by_the_supervisor() -> None:
    channel = FakeChannel()
    sessions, _ = make(channel)
    sessions.take_back(digest_of("a-handle"))
    assert channel.asked == [("close", digest_of("a-handle").hex())]


async def test_session_that_was_used_is_not_taken_back() -> None:
    channel = FakeChannel()
    sessions, store = make(channel)
    opened = store.open(session_caller())
    store.find(opened.handle)
    sessions.take_back(digest_of(opened.handle))
    assert channel.asked == []


async def test_what_has_expired_is_refused_here() -> None:
    channel = FakeChannel()
    sessions, _ = make(channel)
    with pytest.raises(Unauthenticated):
        await sessions.open(session_caller(START - HOUR))
    assert channel.asked == []


async def test_session_that_aws_has_answered_is_told_to_the_supervisor_once() -> None:
    channel = FakeChannel(lambda *_: {})
    sessions, store = make(channel)
    caller = store.find(store.open(session_caller()).handle)
    assert isinstance(caller, SessionCaller)
    for _ in range(3):
        sessions.accepted(caller)
    assert channel.asked == [("proved", caller.unproved)]
