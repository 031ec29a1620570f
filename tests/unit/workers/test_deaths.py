from __future__ import annotations

from awsidecar_server.workers.deaths import Deaths


def test_pauses_grow_and_the_fifth_death_within_a_minute_is_the_last() -> None:
    now = 100.0
    deaths = Deaths(lambda: now)
    assert [deaths.another() for _ in range(5)] == [0.25, 0.5, 1.0, 2.0, None]


def test_deaths_longer_ago_are_forgotten() -> None:
    now = 100.0
    deaths = Deaths(lambda: now)
    for _ in range(4):
        deaths.another()
    now += 60
    assert [deaths.another() for _ in range(4)] == [0.25, 0.5, 1.0, 2.0]
    assert deaths.another() is None


def test_worker_that_dies_now_and_then_is_started_for_ever() -> None:
    now = 100.0
    deaths = Deaths(lambda: now)
    for _ in range(50):
        assert deaths.another() is not None
        now += 20
