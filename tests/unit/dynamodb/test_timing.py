from __future__ import annotations

import asyncio

import pytest

from awsidecar_server.dynamodb.batches.timing import LoopTiming, pause_seconds, reports_at


def test_pauses_have_full_jitter_and_a_longest() -> None:
    assert [pause_seconds(rounds, 1.0) for rounds in range(4)] == [0.05, 0.1, 0.2, 0.4]
    assert pause_seconds(3, 0.25) == 0.1
    assert pause_seconds(3, 0.0) == 0.0
    assert pause_seconds(9, 1.0) == pause_seconds(10_000, 1.0) == 20.0


@pytest.mark.parametrize(
    ("now", "deadline", "expected"), [(0.0, None, None), (10.0, 11.0, 10.9), (10.0, 100.0, 99.5), (10.0, 9.0, 9.0)]
)
def test_the_report_comes_before_the_deadline(now: float, deadline: float | None, expected: float | None) -> None:
    assert reports_at(now, deadline) == (expected if expected is None else pytest.approx(expected))


async def test_waiting_ends_with_the_event_or_the_time() -> None:
    timing, event = LoopTiming(), asyncio.Event()
    await timing.wait(event, timing.now())
    event.set()
    await timing.wait(event, None)
    assert 0 <= timing.chance() <= 1
