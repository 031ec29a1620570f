from __future__ import annotations

from tests.unit.identity.fakes import HOUR, SECOND, START

from awsidecar_server.identity.backoff import Backoff


def test_each_failure_in_a_row_doubles_the_pause_up_to_the_longest() -> None:
    backoff = Backoff(SECOND, 60 * SECOND)
    pauses = []
    for _ in range(100):
        backoff.note_failure(START, 0.0)
        pauses.append(next(n for n in range(100) if not backoff.is_paused(START + n * SECOND)))
    assert pauses[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert pauses[-1] == 60


def test_jitter_lengthens_the_pause_by_up_to_half() -> None:
    backoff = Backoff(10 * SECOND, 60 * SECOND)
    backoff.note_failure(START, 1.0)
    assert backoff.is_paused(START + 14.9 * SECOND)
    assert not backoff.is_paused(START + 15 * SECOND)


def test_success_ends_the_pause_and_begins_anew() -> None:
    backoff = Backoff(SECOND, 60 * SECOND)
    for _ in range(5):
        backoff.note_failure(START, 0.0)
    backoff.note_success()
    assert not backoff.is_paused(START)
    backoff.note_failure(START, 0.0)
    assert not backoff.is_paused(START + SECOND)


def test_a_caller_with_nothing_to_serve_may_shorten_the_pause() -> None:
    backoff = Backoff(60 * SECOND, 60 * SECOND)
    backoff.note_failure(START, 0.0)
    assert backoff.is_paused(START + 10 * SECOND)
    assert not backoff.is_paused(START + 10 * SECOND, at_most=10 * SECOND)


def test_a_clock_that_is_set_back_does_not_lengthen_the_pause() -> None:
    backoff = Backoff(SECOND, 60 * SECOND)
    backoff.note_failure(START, 0.0)
    assert not backoff.is_paused(START - HOUR)
