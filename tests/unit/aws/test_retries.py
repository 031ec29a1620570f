"""What is tried again, after how long, and what it is paid with."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsidecar_server.aws.idempotency import Nature
from awsidecar_server.aws.retries import (
    THROTTLING,
    Failure,
    GiveUp,
    Reason,
    Retry,
    RetryPolicy,
    RetryQuota,
    Stage,
    is_ambiguous,
    is_safe_to_repeat,
)

TABLE = ("eu-central-1", "films")
THROTTLED = Failure(Stage.REFUSED, "ProvisionedThroughputExceededException", 400)
INTERNAL = Failure(Stage.REFUSED, "InternalServerError", 500)
INVALID = Failure(Stage.REFUSED, "ValidationException", 400)
FAILURES = [Failure(stage) for stage in Stage] + [THROTTLED, INTERNAL, INVALID]
SURE = [Failure(Stage.UNSENT), THROTTLED, INVALID, Failure(Stage.REFUSED, "ThrottlingException", 503)]
OPEN = [Failure(Stage.UNANSWERED), Failure(Stage.UNREADABLE), INTERNAL, Failure(Stage.REFUSED, "", 502)]


def of(nature: Nature) -> Callable[[], Nature]:
    return lambda: nature


def policy(
    max_attempts: int = 4, jitter: float = 1.0, now: float = 0.0, quota: RetryQuota | None = None
) -> RetryPolicy:
    return RetryPolicy(max_attempts, quota=quota, jitter=lambda: jitter, clock=lambda: now)


def failed(
    retries: RetryPolicy,
    failure: Failure,
    *,
    attempt: int = 1,
    nature: Nature = Nature.READ,
    resource: object = TABLE,
    deadline: float | None = None,
) -> Retry | GiveUp:
    return retries.failed(failure, attempt=attempt, nature=of(nature), resource=resource, deadline=deadline)


def delay_of(decision: Retry | GiveUp) -> float:
    assert isinstance(decision, Retry)
    return decision.delay_seconds


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Failure(Stage.UNSENT), Reason.TRANSIENT),
        (Failure(Stage.UNANSWERED), Reason.TRANSIENT),
        (Failure(Stage.UNREADABLE), Reason.TRANSIENT),
        *((Failure(Stage.REFUSED, code, 400), Reason.THROTTLING) for code in sorted(THROTTLING)),
        *((Failure(Stage.REFUSED, "Whatever", status), Reason.TRANSIENT) for status in (500, 502, 503, 504)),
        (Failure(Stage.REFUSED, "ReplicatedWriteConflictException", 400), Reason.TRANSIENT),
        (Failure(Stage.REFUSED, "RequestTimeoutException", 408), Reason.TRANSIENT),
        (Failure(Stage.REFUSED, "PriorRequestNotComplete", 400), Reason.TRANSIENT),
        (Failure(Stage.REFUSED, "429", 429), Reason.THROTTLING),
        (Failure(Stage.REFUSED, "SlowDown", 503), Reason.THROTTLING),
        (INVALID, None),
        (Failure(Stage.REFUSED, "TransactionCanceledException", 400), None),
        (Failure(Stage.REFUSED, "NotImplemented", 501), None),
    ],
)
def test_failure_is_transient_throttling_or_final(failure: Failure, reason: Reason | None) -> None:
    assert failure.reason is reason
    assert isinstance(failed(policy(), failure), Retry) is (reason is not None)


@pytest.mark.parametrize(
    ("failure", "delays"),
    [(INTERNAL, [0.025, 0.05, 0.1, 0.2]), (THROTTLED, [1, 2, 4, 8, 16, 20, 20])],
)
def test_longest_delay_doubles_up_to_20_seconds(failure: Failure, delays: list[float]) -> None:
    retries = policy(max_attempts=10)
    assert [delay_of(failed(retries, failure, attempt=attempt)) for attempt, _ in enumerate(delays, 1)] == delays


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 9), st.sampled_from([INTERNAL, THROTTLED]))
def test_delay_is_a_random_part_of_the_longest(jitter: float, attempt: int, failure: Failure) -> None:
    longest = delay_of(failed(policy(10), failure, attempt=attempt))
    assert delay_of(failed(policy(10, jitter), failure, attempt=attempt)) == jitter * longest


@pytest.mark.parametrize(
    ("retry_after", "delay"),
    [
        ("0", 0.5),
        ("499", 0.5),
        ("700", 0.7),
        ("5500", 5.5),
        ("60000", 5.5),
        ("9" * 400, 0.5),
        ("9" * 5000, 0.5),
        ("-700", 0.5),
        ("soon", 0.5),
        ("", 0.5),
        (None, 0.5),
    ],
)
def test_what_aws_asks_for_is_heeded_within_5_seconds_of_our_own_delay(
    retry_after: str | None, delay: float
) -> None:
    failure = Failure(Stage.REFUSED, "ThrottlingException", 400, retry_after)
    assert delay_of(failed(policy(jitter=0.5), failure)) == delay


def test_last_attempt_is_the_last() -> None:
    assert isinstance(failed(policy(max_attempts=4), INTERNAL, attempt=3), Retry)
    assert failed(policy(max_attempts=4), INTERNAL, attempt=4) is GiveUp.ATTEMPTS
    assert failed(policy(max_attempts=1), INTERNAL) is GiveUp.ATTEMPTS


def test_nobody_sleeps_up_to_or_past_the_deadline() -> None:
    quota = RetryQuota()
    retries = policy(now=100.0, quota=quota)
    assert failed(retries, THROTTLED, deadline=101.0) is GiveUp.DEADLINE
    assert failed(retries, THROTTLED, deadline=99.0) is GiveUp.DEADLINE
    assert quota.available(TABLE, Reason.THROTTLING) == 500
    assert isinstance(failed(retries, THROTTLED, deadline=101.001), Retry)


@pytest.mark.parametrize(
    ("failure", "reason", "cost"), [(INTERNAL, Reason.TRANSIENT, 14), (THROTTLED, Reason.THROTTLING, 5)]
)
def test_retry_costs_by_its_reason_until_the_quota_is_used_up(failure: Failure, reason: Reason, cost: int) -> None:
    quota = RetryQuota()
    retries = policy(quota=quota)
    paid = next(number for number in count() if failed(retries, failure) is GiveUp.QUOTA)
    assert paid == 500 // cost
    assert quota.available(TABLE, reason) == 500 - paid * cost


def test_success_after_a_retry_gives_back_its_cost_and_a_plain_one_gives_back_1() -> None:
    quota = RetryQuota()
    retries = policy(quota=quota)
    failed(retries, THROTTLED)
    last = failed(retries, INTERNAL, attempt=2)
    assert isinstance(last, Retry)
    retries.succeeded(TABLE, last)
    assert (quota.available(TABLE, Reason.TRANSIENT), quota.available(TABLE, Reason.THROTTLING)) == (500, 495)
    retries.succeeded(TABLE)
    assert (quota.available(TABLE, Reason.TRANSIENT), quota.available(TABLE, Reason.THROTTLING)) == (500, 496)


def test_hot_table_leaves_the_others_and_its_own_transient_failures_their_quota() -> None:
    retries = policy()
    while failed(retries, THROTTLED) is not GiveUp.QUOTA:
        pass
    assert isinstance(failed(retries, THROTTLED, resource="another"), Retry)
    assert isinstance(failed(retries, INTERNAL), Retry)


def test_buckets_are_bounded_and_full_ones_are_not_kept() -> None:
    quota = RetryQuota(max_buckets=2)
    retries = policy(quota=quota)
    for number in range(3):
        failed(retries, THROTTLED, resource=number)
    assert repr(quota) == "<RetryQuota 2 buckets below 500>"
    assert [quota.available(number, Reason.THROTTLING) for number in range(3)] == [500, 495, 495]
    for _ in range(5):
        retries.succeeded(2)
    assert repr(retries) == "<RetryPolicy 4 attempts, <RetryQuota 1 buckets below 500>>"


@given(
    st.lists(st.tuples(st.sampled_from(["retry", "success", "plain"]), st.integers(0, 3), st.sampled_from(Reason)))
)
def test_bucket_is_never_overdrawn_nor_overfull(steps: list[tuple[str, int, Reason]]) -> None:
    quota = RetryQuota(capacity=20, max_buckets=3)
    for step, resource, reason in steps:
        if step == "retry":
            quota.acquire(resource, reason)
        else:
            quota.succeeded(resource, Retry(0, resource, reason) if step == "success" else None)
        assert all(0 <= quota.available(one, why) <= 20 for one in range(4) for why in Reason)


@pytest.mark.parametrize("failure", FAILURES)
def test_reads_and_repeatable_writes_are_safe_after_any_failure(failure: Failure) -> None:
    assert is_safe_to_repeat(of(Nature.READ), failure)
    assert is_safe_to_repeat(of(Nature.REPEATABLE), failure)
    assert not is_ambiguous(of(Nature.READ), failure)


@pytest.mark.parametrize("failure", SURE)
def test_write_that_did_not_happen_is_safe_and_its_nature_is_not_even_looked_at(failure: Failure) -> None:
    def never() -> Nature:
        raise AssertionError

    assert is_safe_to_repeat(never, failure)
    assert not is_ambiguous(never, failure)


@pytest.mark.parametrize("failure", OPEN)
def test_write_that_may_have_happened_is_ambiguous_and_repeated_only_where_that_is_harmless(
    failure: Failure,
) -> None:
    quota = RetryQuota()
    assert failed(policy(quota=quota), failure, nature=Nature.ONCE) is GiveUp.UNSAFE
    assert quota.available(TABLE, Reason.TRANSIENT) == 500
    assert isinstance(failed(policy(), failure, nature=Nature.REPEATABLE), Retry)
    assert is_ambiguous(of(Nature.ONCE), failure)
    assert is_ambiguous(of(Nature.REPEATABLE), failure)
