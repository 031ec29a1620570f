from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from tests.unit.identity.fakes import HOUR, MINUTE, SECOND, START, FakeClock, cognito_caller, session_caller

from awsidecar_server.config import IdentityConfig
from awsidecar_server.errors import LimitReached, Unauthenticated
from awsidecar_server.identity.credentials import CognitoCaller, SessionCaller
from awsidecar_server.identity.sessions import LocalSessions, OpenedSession, Session, SessionStore, digest_of


def make_store(*, limit: int = 100, max_age: timedelta = 12 * HOUR) -> tuple[SessionStore, FakeClock]:
    clock = FakeClock()
    config = IdentityConfig(max_sessions=limit, session_max_age_seconds=max_age.total_seconds())
    return SessionStore(config, clock), clock


def reason_of(store: SessionStore, handle: str) -> tuple[str, dict[str, str]]:
    with pytest.raises(Unauthenticated) as caught:
        store.find(handle)
    assert handle not in str(caught.value) or not handle
    return caught.value.reason, dict(caught.value.metadata)


@pytest.mark.parametrize("caller", [session_caller(), cognito_caller(expires_at=START + HOUR)])
def test_a_session_gives_its_caller_until_what_it_was_opened_with_expires(
    caller: SessionCaller | CognitoCaller,
) -> None:
    store, clock = make_store()
    opened = store.open(caller)
    assert opened.expires_at == START + HOUR
    assert store.find(opened.handle) == caller
    clock.advance(HOUR)
    assert reason_of(store, opened.handle) == ("SESSION_EXPIRED", {"tier": caller.tier.value})


@pytest.mark.parametrize(
    "caller", [session_caller(START + 48 * HOUR), cognito_caller(expires_at=START + 48 * HOUR)]
)
def test_a_session_ends_at_the_configured_age(caller: SessionCaller | CognitoCaller) -> None:
    store, clock = make_store(max_age=2 * HOUR)
    opened = store.open(caller)
    assert opened.expires_at == START + 2 * HOUR
    found = store.find(opened.handle)
    assert not isinstance(found, SessionCaller) or found.expires_at == START + 2 * HOUR
    clock.advance(2 * HOUR)
    assert reason_of(store, opened.handle)[0] == "SESSION_EXPIRED"


@pytest.mark.parametrize("caller", [session_caller(START), cognito_caller(expires_at=START - SECOND)])
def test_what_has_expired_opens_nothing(caller: SessionCaller | CognitoCaller) -> None:
    store, _ = make_store()
    with pytest.raises(Unauthenticated) as caught:
        store.open(caller)
    assert (caught.value.reason, caught.value.metadata) == ("SESSION_EXPIRED", {"tier": caller.tier.value})
    assert store.open_count == 0


def test_credentials_that_end_before_their_session_end_it() -> None:
    store, _ = make_store()
    early = session_caller(START + HOUR)
    caller = SessionCaller(early.credentials, START + 5 * HOUR)
    assert store.open(caller).expires_at == START + HOUR


def test_a_closed_session_is_not_found() -> None:
    store, _ = make_store()
    opened = store.open(session_caller())
    assert store.close(opened.handle)
    assert reason_of(store, opened.handle) == ("SESSION_NOT_FOUND", {})
    assert not store.close(opened.handle)


def test_a_session_that_reached_nobody_is_taken_back() -> None:
    store, _ = make_store()
    opened = store.open(session_caller())
    LocalSessions(store).take_back(digest_of(opened.handle))
    assert reason_of(store, opened.handle) == ("SESSION_NOT_FOUND", {})


def test_a_session_that_was_used_has_reached_somebody_and_is_not_taken_back() -> None:
    store, _ = make_store()
    opened = store.open(session_caller())
    store.find(opened.handle)
    LocalSessions(store).take_back(digest_of(opened.handle))
    store.find(opened.handle)
    assert store.close(opened.handle)
    assert not store.was_used(digest_of(opened.handle))


def test_a_session_that_is_heard_of_twice_stays_used() -> None:
    store, _ = make_store()
    opened, session = store.issue(session_caller())
    digest = digest_of(opened.handle)
    store.adopt(digest, session)
    assert not store.was_used(digest)
    store.find(opened.handle)
    store.adopt(digest, session)
    assert store.was_used(digest)


def test_nothing_is_kept_of_sessions_that_are_over_and_were_never_used() -> None:
    store, clock = make_store()
    closed, _ = store.open(session_caller()), store.open(session_caller())
    store.close(closed.handle)
    clock.advance(13 * HOUR)
    last = store.open(session_caller(START + 20 * HOUR))
    assert store._unused == {digest_of(last.handle)}


def test_closing_an_expired_session_closes_nothing_that_was_open() -> None:
    store, clock = make_store()
    opened = store.open(session_caller())
    clock.advance(HOUR)
    assert not store.close(opened.handle)


@pytest.mark.parametrize("handle", ["", "x", "x" * 10_000, "\u00e9", "\ud800"])
def test_what_is_no_handle_is_not_found(handle: str) -> None:
    store, _ = make_store()
    assert reason_of(store, handle)[0] == "SESSION_NOT_FOUND"
    with pytest.raises(Unauthenticated):
        store.close("x" * 10_000)


def test_handles_are_long_and_never_the_same() -> None:
    store, _ = make_store()
    handles = {store.open(session_caller()).handle for _ in range(100)}
    assert len(handles) == 100
    assert {len(handle) for handle in handles} == {43}


def proved(store: SessionStore, opened: OpenedSession) -> None:
    caller = store.find(opened.handle)
    assert isinstance(caller, SessionCaller)
    LocalSessions(store).accepted(caller)


def test_a_full_store_opens_no_more() -> None:
    store, _ = make_store(limit=3)
    proved(store, store.open(session_caller()))
    for number in range(2):
        store.open(cognito_caller(f"user-{number}", expires_at=START + HOUR))
    for caller in (session_caller(), cognito_caller(expires_at=START + HOUR)):
        with pytest.raises(LimitReached) as caught:
            store.open(caller)
        assert (caught.value.reason, caught.value.metadata) == ("TOO_MANY_SESSIONS", {"limit": "3"})


@pytest.mark.parametrize("newcomer", [session_caller(), cognito_caller(expires_at=START + HOUR)])
def test_credentials_that_aws_has_never_taken_give_way_in_a_full_store(
    newcomer: SessionCaller | CognitoCaller,
) -> None:
    """Anybody can make up as many as they like; then others must still find room."""
    store, _ = make_store(limit=4)
    token = store.open(cognito_caller(expires_at=START + HOUR))
    of_use = store.open(session_caller(name="of use"))
    invented = [store.open(session_caller(name=str(number))) for number in range(2)]
    proved(store, of_use)
    opened = store.open(newcomer)
    assert store.open_count == 4
    assert reason_of(store, invented[0].handle)[0] == "SESSION_NOT_FOUND"
    for held in (token, of_use, invented[1], opened):
        store.find(held.handle)


def test_flood_of_invented_credentials_takes_no_more_than_the_limit() -> None:
    store, _ = make_store(limit=10)
    token = store.open(cognito_caller(expires_at=START + HOUR))
    for number in range(5000):
        store.open(session_caller(name=str(number)))
    store.find(token.handle)
    assert store.open_count == 10
    assert len(store._unproved) == 9
    assert len(store._ends) <= 1024 + 2 * 10 + 1


def test_session_is_news_to_the_store_once() -> None:
    store, clock = make_store()
    opened = store.open(session_caller())
    caller = store.find(opened.handle)
    assert isinstance(caller, SessionCaller)
    assert [store.prove(caller), store.prove(caller), store.prove(session_caller())] == [True, False, False]
    found = store.find(opened.handle)
    assert isinstance(found, SessionCaller)
    assert (bool(caller.unproved), found.unproved) == (True, "")
    store.close(store.open(session_caller()).handle)
    store.open(session_caller(START + MINUTE))
    clock.advance(MINUTE)
    store.open(cognito_caller(expires_at=START + HOUR))
    assert store._unproved == {}


def test_a_full_store_makes_room_by_dropping_what_has_expired() -> None:
    store, clock = make_store(limit=3)
    old = store.open(session_caller(START + MINUTE))
    for _ in range(2):
        store.open(session_caller())
    clock.advance(MINUTE)
    store.open(session_caller())
    assert store.open_count == 3
    assert reason_of(store, old.handle)[0] == "SESSION_NOT_FOUND"


def test_one_opening_drops_only_so_many_expired_sessions() -> None:
    store, clock = make_store(limit=200)
    for _ in range(200):
        store.open(session_caller(START + MINUTE))
    clock.advance(MINUTE)
    store.open(session_caller())
    assert store.open_count == 200 - 32 + 1


def test_opening_and_closing_for_ever_takes_no_memory() -> None:
    store, _ = make_store()
    for _ in range(5000):
        store.close(store.open(session_caller()).handle)
    assert store.open_count == 0
    assert len(store._ends) <= 1025


def test_no_handle_and_no_secret_is_shown() -> None:
    store, _ = make_store()
    opened = store.open(session_caller())
    for shown in (repr(opened), repr(store), repr(store.find(opened.handle))):
        assert opened.handle not in shown
        assert "AKIA" not in shown
    assert repr(store) == "<SessionStore [Sessions: 1 of 100]>"
    assert opened.handle.encode() not in store._sessions


class Sessions(RuleBasedStateMachine):
    """Whatever happens, a handle gives the caller who opened it, or nothing."""

    opened = Bundle("opened")

    def __init__(self) -> None:
        super().__init__()
        self.store, self.clock = make_store(limit=5, max_age=HOUR)
        self.callers: dict[str, SessionCaller | CognitoCaller] = {}
        self.ends: dict[str, timedelta] = {}
        self.count = 0
        # Those that nobody can push out.
        self.sure: set[str] = set()

    @rule(target=opened, minutes=st.integers(1, 90), is_token=st.booleans())
    def open(self, minutes: int, is_token: bool) -> str:
        self.count += 1
        end = self.clock() + minutes * MINUTE
        caller: SessionCaller | CognitoCaller = (
            cognito_caller(f"user-{self.count}", expires_at=end)
            if is_token
            else session_caller(end, name=str(self.count))
        )
        try:
            session: OpenedSession = self.store.open(caller)
        except LimitReached:
            assert len(self.sure) >= 5
            return "none"
        if is_token:
            self.sure.add(session.handle)
        self.callers[session.handle] = caller
        self.ends[session.handle] = session.expires_at - START
        return session.handle

    @rule(handle=opened)
    def find(self, handle: str) -> None:
        is_open = handle in self.callers and self.ends[handle] > self.clock() - START
        try:
            found = self.store.find(handle)
        except Unauthenticated:
            assert not is_open or handle not in self.sure
            return
        assert is_open
        expected = self.callers[handle]
        if isinstance(expected, SessionCaller):
            assert isinstance(found, SessionCaller)
            assert found.credentials == expected.credentials
        else:
            assert found == expected

    @rule(handle=opened)
    def use(self, handle: str) -> None:
        try:
            caller = self.store.find(handle)
        except Unauthenticated:
            return
        if isinstance(caller, SessionCaller):
            LocalSessions(self.store).accepted(caller)
        self.sure.add(handle)

    @rule(handle=consumes(opened))
    def close(self, handle: str) -> None:
        was_open = handle in self.callers and self.ends[handle] > self.clock() - START
        assert self.store.close(handle) == was_open or (was_open and handle not in self.sure)
        self.sure.discard(handle)
        self.callers.pop(handle, None)
        self.ends.pop(handle, None)

    @rule(minutes=st.integers(1, 60))
    def pass_time(self, minutes: int) -> None:
        self.clock.advance(minutes * MINUTE)
        now = self.clock() - START
        self.sure = {handle for handle in self.sure if self.ends[handle] > now}

    @invariant()
    def is_bounded(self) -> None:
        assert self.store.open_count <= 5


TestSessions = Sessions.TestCase
TestSessions.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_session_of_another_process_is_adopted_beyond_the_limit_and_ends_as_all_do() -> None:
    ours, clock = make_store(limit=1)
    theirs, _ = make_store()
    ours.open(session_caller(name="1"))
    opened, session = theirs.issue(session_caller(name="2"))
    for _ in range(2):
        ours.adopt(digest_of(opened.handle), session)
    assert ours.open_count == 2
    assert ours.find(opened.handle) == session_caller(name="2")
    assert ours.held(digest_of(opened.handle)) == session
    assert digest_of(opened.handle) in ours.digests()
    clock.advance(HOUR)
    assert reason_of(ours, opened.handle)[0] == "SESSION_EXPIRED"
    ours.adopt(*another(clock))
    assert ours.open_count == 1  # the ended ones were swept


def another(clock: FakeClock) -> tuple[bytes, Session]:
    caller = session_caller(clock() + HOUR, name="3")
    return digest_of("another-handle"), Session(caller, caller.expires_at)


def test_session_that_was_adopted_twice_is_closed_at_once() -> None:
    store, _ = make_store()
    opened, session = store.issue(session_caller())
    for _ in range(2):
        store.adopt(digest_of(opened.handle), session)
    assert store.drop(digest_of(opened.handle))
    assert not store.drop(digest_of(opened.handle))
    assert reason_of(store, opened.handle)[0] == "SESSION_NOT_FOUND"


def test_session_that_was_issued_is_open_once_it_is_admitted() -> None:
    store, _ = make_store(limit=1)
    opened, session = store.issue(session_caller())
    assert reason_of(store, opened.handle)[0] == "SESSION_NOT_FOUND"
    store.admit(digest_of(opened.handle), session)
    assert store.find(opened.handle) == session_caller()
    proved(store, opened)
    other, session = store.issue(session_caller(name="2"))
    with pytest.raises(LimitReached):
        store.admit(digest_of(other.handle), session)
