from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from tests.unit.identity.fakes import FakeClock, session_caller, settle
from tests.unit.workers.fakes import FakeChannel

from awsidecar_server.config import IdentityConfig
from awsidecar_server.identity.sessions import Session, SessionStore
from awsidecar_server.workers import table as module
from awsidecar_server.workers.handover import session_to_json
from awsidecar_server.workers.table import SharedTable


def session(name: str = "1") -> Session:
    caller = session_caller(name=name)
    return Session(caller, caller.expires_at)


def spoken(number: int) -> Any:
    """What a worker says to open a session."""
    return orjson.loads(orjson.dumps(session_to_json(digest(number), session(str(number)))))


def digest(number: int) -> bytes:
    return bytes([number]) * 32


def make(*, limit: int = 100, patience_seconds: float = 60.0) -> tuple[SharedTable, SessionStore]:
    store = SessionStore(IdentityConfig(max_sessions=limit), FakeClock())
    return SharedTable(store, patience_seconds=patience_seconds), store


async def joined(table: SharedTable, *workers: Any) -> None:
    for worker in workers:
        await table.welcome(worker)


async def test_session_is_open_when_every_worker_has_confirmed() -> None:
    table, store = make()
    one, other = FakeChannel(), FakeChannel()
    await joined(table, one, other)
    opening = asyncio.ensure_future(table.answer("open", spoken(1)))
    await settle()
    one.confirm()
    await settle()
    assert not opening.done()
    other.confirm()
    assert await opening == {}
    assert one.asked == other.asked == [("open", spoken(1))]
    assert store.digests() == [digest(1)]


async def test_session_is_closed_when_every_worker_has_confirmed() -> None:
    table, store = make()
    store.admit(digest(1), session())
    one, other = FakeChannel(lambda *_: None), FakeChannel()
    closing = asyncio.gather(table.welcome(one), table.welcome(other))  # type: ignore[arg-type]
    await settle()
    other.confirm()
    await closing
    answer = asyncio.ensure_future(table.answer("close", digest(1).hex()))
    await settle()
    assert not answer.done()
    other.confirm()
    assert await answer == {"closed": True}
    assert other.asked[-1] == ("close", digest(1).hex())


async def test_worker_that_does_not_confirm_makes_the_opening_fail_and_leaves_nothing() -> None:
    table, store = make(patience_seconds=0.0)
    quick, stuck = FakeChannel(lambda *_: None), FakeChannel()
    await joined(table, quick, stuck)
    assert await table.answer("open", spoken(1)) == {"refused": "SESSION_NOT_SHARED"}
    assert quick.asked == stuck.asked == [("open", spoken(1)), ("close", digest(1).hex())]
    assert store.open_count == 0


async def test_worker_that_did_not_confirm_a_closing_is_asked_again_by_the_next_try() -> None:
    table, store = make(patience_seconds=0.0)
    store.admit(digest(1), session())
    stuck = FakeChannel()
    welcomed = asyncio.ensure_future(table.welcome(stuck))  # type: ignore[arg-type]
    await settle()
    stuck.confirm()
    await welcomed
    assert await table.answer("close", digest(1).hex()) == {"refused": "SESSION_NOT_SHARED"}
    assert store.open_count == 0
    assert await table.answer("close", digest(1).hex()) == {"refused": "SESSION_NOT_SHARED"}


async def test_worker_whose_channel_is_lost_is_not_taken_for_one_that_confirmed() -> None:
    table, _ = make()
    gone = FakeChannel()
    await joined(table, gone)
    opening = asyncio.ensure_future(table.answer("open", spoken(1)))
    await settle()
    gone.open[0].set_exception(ConnectionError())
    assert await opening == {"refused": "SESSION_NOT_SHARED"}
    table.leave(gone)  # type: ignore[arg-type]
    assert await table.answer("open", spoken(1)) == {}


async def test_opening_that_is_given_up_takes_no_room() -> None:
    table, store = make()
    slow = FakeChannel()
    await joined(table, slow)
    opening = asyncio.ensure_future(table.answer("open", spoken(1)))
    await settle()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert slow.asked[-1] == ("close", digest(1).hex())
    assert store.open_count == 0


async def test_there_is_one_limit_for_all_workers() -> None:
    table, _ = make(limit=1)
    await joined(table, FakeChannel(lambda *_: None), FakeChannel(lambda *_: None))
    assert await table.answer("open", spoken(1)) == {}
    assert await table.answer("proved", digest(1).hex()) == {}
    assert await table.answer("open", spoken(2)) == {"refused": "TOO_MANY_SESSIONS"}


async def test_newcomer_learns_what_is_open_what_is_opened_and_what_is_closed_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_BATCH", 2)
    table, store = make()
    for number in (1, 2, 3, 4, 5):
        store.admit(digest(number), session(str(number)))
    newcomer = FakeChannel()
    learning = asyncio.ensure_future(table.welcome(newcomer))  # type: ignore[arg-type]
    await settle()
    # Nobody waits for a worker that does not serve yet.
    assert await table.answer("close", digest(1).hex()) == {"closed": True}
    assert await table.answer("close", digest(4).hex()) == {"closed": True}
    assert await table.answer("open", spoken(6)) == {}
    while not learning.done():
        newcomer.confirm()
        await settle()
    assert newcomer.asked == [
        ("sessions", [spoken(1), spoken(2)]),
        ("close", digest(1).hex()),
        ("close", digest(4).hex()),
        ("open", spoken(6)),
        ("sessions", [spoken(3)]),
        ("sessions", [spoken(5)]),
    ]
    opening = asyncio.ensure_future(table.answer("open", spoken(7)))
    await settle()
    assert not opening.done()  # from now on it is waited for
    newcomer.confirm()
    assert await opening == {}


async def test_unknown_question_is_a_defect() -> None:
    table, _ = make()
    with pytest.raises(ValueError, match="nonesuch"):
        await table.answer("nonesuch", None)


async def test_session_that_gives_way_is_closed_in_every_worker_and_a_proved_one_stays() -> None:
    table, store = make(limit=2)
    worker = FakeChannel(lambda *_: None)
    await joined(table, worker)
    for number in (1, 2):
        assert await table.answer("open", spoken(number)) == {}
    assert await table.answer("proved", digest(1).hex()) == {}
    assert await table.answer("open", spoken(3)) == {}
    assert ("close", digest(2).hex()) in worker.asked
    assert set(store.digests()) == {digest(1), digest(3)}
