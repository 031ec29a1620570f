"""The clock is corrected by refusals that it can be the reason of, and by nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime, formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsidecar_server.aws.clock_skew import CODES, Answered, ClockSkew, measured_skew_seconds

NOW = 1_893_499_200.0
HOST = "dynamodb.eu-central-1.amazonaws.com"
CODE = "InvalidSignatureException"


def answered(skew: float, *, seconds: float = 2.0, age: str | None = None) -> Answered:
    """An answer that AWS dated while it was under way."""
    return Answered(NOW - seconds / 2, NOW + seconds / 2, formatdate(NOW + skew, usegmt=True), age)


@given(skew=st.integers(-1_000_000, 1_000_000), seconds=st.floats(0, 900))
def test_skew_is_measured_from_the_middle_of_the_round_trip(skew: int, seconds: float) -> None:
    assert measured_skew_seconds(answered(skew, seconds=seconds)) == pytest.approx(skew, abs=0.001)


@pytest.mark.parametrize("code", sorted(CODES))
@pytest.mark.parametrize("skew", [-86_400, -3600, -241, 241, 3600, 86_400])
def test_refusal_by_a_clock_that_differs_is_learnt_from(code: str, skew: float) -> None:
    assert ClockSkew().correction(code, answered(skew)) == skew


@pytest.mark.parametrize("skew", [-240, 0, 240])
def test_refusal_by_a_clock_that_agrees_has_another_reason(skew: float) -> None:
    assert ClockSkew().correction("AccessDeniedException", answered(skew)) is None


@pytest.mark.parametrize("code", ["ValidationException", "ThrottlingException", "ExpiredTokenException", ""])
def test_other_refusals_say_nothing_of_clocks(code: str) -> None:
    assert ClockSkew().correction(code, answered(3600)) is None


@pytest.mark.parametrize(
    "answer",
    [
        answered(3600, age="1"),
        answered(3600, seconds=901),
        answered(3600, seconds=-1),
        Answered(NOW, NOW, None),
        Answered(NOW, NOW, "yesterday"),
        Answered(NOW, NOW, "Tue, 99 Jan 2030 00:00:00 GMT"),
    ],
    ids=["kept by a cache", "slow", "our clock was set back", "undated", "no date", "impossible date"],
)
def test_answer_that_does_not_tell_the_time_is_ignored(answer: Answered) -> None:
    assert measured_skew_seconds(answer) is None
    assert ClockSkew().correction(CODE, answer) is None


def test_date_without_a_zone_is_utc() -> None:
    date = format_datetime(datetime.fromtimestamp(NOW, UTC)).replace("+0000", "-0000")
    assert measured_skew_seconds(Answered(NOW, NOW, date)) == 0


def test_refusal_after_the_correction_is_not_put_down_to_the_clock_again() -> None:
    """Otherwise AccessDenied would be sent again and again."""
    assert ClockSkew().correction("AccessDeniedException", answered(3600), 3600.0) is None


@pytest.mark.parametrize("skew", [-90_000, 90_000, 400 * 86_400])
def test_clock_that_is_far_off_is_not_believed(skew: float) -> None:
    """Whoever forges such a date may want what is signed for a time to come."""
    assert ClockSkew().correction(CODE, answered(skew)) is None


def test_what_a_refusal_says_is_for_others_only_when_it_is_confirmed() -> None:
    clock = ClockSkew()
    assert clock.correction(CODE, answered(3600)) == 3600
    assert clock.offset_seconds(HOST) == 0
    clock.confirm(HOST, 3600.0)
    assert clock.offset_seconds(HOST) == 3600


def test_correction_is_taken_back_when_our_clock_is_set_right() -> None:
    clock = ClockSkew()
    clock.confirm(HOST, 3600.0)
    assert clock.correction(CODE, answered(0), clock.offset_seconds(HOST)) == 0


def test_each_host_has_its_own_offset_and_the_oldest_are_forgotten() -> None:
    clock = ClockSkew(max_hosts=2)
    for number in range(3):
        clock.confirm(f"host-{number}", 1000.0 + number)
    assert [clock.offset_seconds(f"host-{number}") for number in range(3)] == [0, 1001, 1002]
    assert repr(clock) == "<ClockSkew 2 hosts>"


def test_correction_can_be_switched_off() -> None:
    assert ClockSkew(is_enabled=False).correction(CODE, answered(3600)) is None
