"""Transactions in each other's way: tried again when the caller asks for it, with the same token, and within bounds."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.aws.sending import ANN, BUSY, OK, REGION, Harness
from tests.unit.aws.transport import LOST, answer, refusal

from awsidecar_server.aws.http import HttpAnswer
from awsidecar_server.aws.idempotency import Nature
from awsidecar_server.aws.json_calls import JsonCall, JsonReply
from awsidecar_server.aws.progress import Progress
from awsidecar_server.aws.retries import (
    Failure,
    GiveUp,
    Reason,
    Retry,
    RetryPolicy,
    RetryQuota,
    Stage,
    Tries,
    is_ambiguous,
)
from awsidecar_server.errors import AwsRejected

TABLE = ("dynamodb.eu-central-1.amazonaws.com", "films")
CONFLICT = Failure(Stage.REFUSED, "TransactionConflictException", 400)
IN_PROGRESS = Failure(Stage.REFUSED, "TransactionInProgressException", 400)
INTERNAL = Failure(Stage.REFUSED, "InternalServerError", 500)
CODES = [
    "None",
    "TransactionConflict",
    "ProvisionedThroughputExceeded",
    "ThrottlingError",
    "ConditionalCheckFailed",
    "ItemCollectionSizeLimitExceeded",
    "ValidationError",
    "SomethingNew",
]
PASSING = {"None", "TransactionConflict", "ProvisionedThroughputExceeded", "ThrottlingError"}


def cancelled(*codes: str) -> Failure:
    return Failure(Stage.REFUSED, "TransactionCanceledException", 400, actions=frozenset(codes))


def decided(
    failure: Failure,
    *,
    attempt: int = 1,
    asked: int = 5,
    deadline: float | None = None,
    max_attempts: int = 4,
    quota: RetryQuota | None = None,
) -> Retry | GiveUp:
    policy = RetryPolicy(max_attempts, quota=quota, jitter=lambda: 1.0, clock=lambda: 0.0)
    return policy.failed(
        failure,
        attempt=attempt,
        nature=lambda: Nature.REPEATABLE,
        resource=TABLE,
        deadline=deadline,
        conflict_attempts=asked,
    )


class TestConflict:
    @pytest.mark.parametrize("failure", [CONFLICT, cancelled("None", "TransactionConflict")])
    def test_is_left_to_the_caller_who_does_not_ask(self, failure: Failure) -> None:
        assert decided(failure, asked=0) is GiveUp.NOT_RETRYABLE

    @pytest.mark.parametrize("failure", [CONFLICT, cancelled("None", "TransactionConflict")])
    def test_is_tried_as_often_as_the_caller_asks(self, failure: Failure) -> None:
        assert decided(failure, attempt=8, asked=9) == Retry(1.0, TABLE, Reason.CONFLICT)
        assert decided(failure, attempt=9, asked=9) is GiveUp.ATTEMPTS

    def test_is_tried_after_pauses_that_double_from_50_milliseconds_to_one_second(self) -> None:
        decisions = [decided(CONFLICT, attempt=attempt, asked=99) for attempt in (1, 2, 3, 5, 6, 98)]
        assert [one.delay_seconds for one in decisions if isinstance(one, Retry)] == [0.05, 0.1, 0.2, 0.8, 1.0, 1.0]

    def test_is_not_slept_on_past_the_deadline(self) -> None:
        assert decided(CONFLICT, deadline=0.05) is GiveUp.DEADLINE

    def test_costs_nothing_and_is_tried_when_the_quota_is_used_up(self) -> None:
        quota = RetryQuota(capacity=0)
        assert isinstance(decided(CONFLICT, quota=quota), Retry)
        assert decided(INTERNAL, quota=quota) is GiveUp.QUOTA

    @given(st.lists(st.sampled_from(CODES), max_size=5))
    def test_is_tried_only_when_no_action_failed_of_anything_else(self, codes: list[str]) -> None:
        decision = decided(cancelled(*codes))
        assert isinstance(decision, Retry) is (bool(set(codes) - {"None"}) and set(codes) <= PASSING)

    @pytest.mark.parametrize("code", ["ProvisionedThroughputExceeded", "ThrottlingError"])
    def test_with_throttled_actions_is_paused_and_paid_for_as_throttling(self, code: str) -> None:
        quota = RetryQuota()
        failure = cancelled("TransactionConflict", code)
        assert decided(failure, quota=quota) == Retry(1.0, TABLE, Reason.THROTTLING)
        assert quota.available(TABLE, Reason.THROTTLING) == 495

    def test_has_certainly_done_nothing(self) -> None:
        assert not is_ambiguous(lambda: Nature.ONCE, cancelled("TransactionConflict"))


class TestTransactionInProgress:
    def test_is_asked_for_until_the_deadline_however_often_that_is(self) -> None:
        assert isinstance(decided(IN_PROGRESS, attempt=1000, deadline=2.001), Retry)
        assert decided(IN_PROGRESS, attempt=1000, deadline=2.0) is GiveUp.DEADLINE

    def test_is_asked_for_past_the_5_seconds_after_which_aws_completes_it(self) -> None:
        policy = RetryPolicy(4, jitter=lambda: 0.5, clock=lambda: 0.0)
        slept = attempt = 0.0
        while True:
            attempt += 1
            decision = policy.failed(
                IN_PROGRESS, attempt=int(attempt), nature=lambda: Nature.REPEATABLE, resource=TABLE, deadline=None
            )
            if isinstance(decision, GiveUp):
                break
            slept += decision.delay_seconds
        assert decision is GiveUp.ATTEMPTS
        assert 10 < slept < 20

    def test_is_paused_for_2_seconds_at_most(self) -> None:
        decision = decided(IN_PROGRESS, attempt=9)
        assert isinstance(decision, Retry)
        assert decision.delay_seconds == 2.0

    def test_is_not_asked_for_where_nothing_is_tried_again(self) -> None:
        assert decided(IN_PROGRESS, max_attempts=1) is GiveUp.ATTEMPTS

    def test_may_have_its_effect_yet(self) -> None:
        assert is_ambiguous(lambda: Nature.REPEATABLE, IN_PROGRESS)


def test_attempts_are_counted_by_what_they_failed_of() -> None:
    tries = Tries()
    failures = [INTERNAL, CONFLICT, IN_PROGRESS, CONFLICT, cancelled("TransactionConflict"), INTERNAL, IN_PROGRESS]
    assert [tries.count(failure) for failure in failures] == [1, 1, 1, 2, 3, 2, 2]


def canceled_by(*codes: str) -> HttpAnswer:
    reasons = [{"Code": code} for code in codes]
    return answer({"__type": "x#TransactionCanceledException", "CancellationReasons": reasons}, 400)


async def posted(harness: Harness, asked: int, deadline: float | None = None) -> tuple[JsonReply, Progress]:
    members = {"TransactItems": [{"Put": {"TableName": "films"}}], "ClientRequestToken": "token"}
    progress = Progress()
    call = JsonCall(
        "dynamodb",
        "TransactWriteItems",
        json.dumps(members).encode(),
        members,
        REGION,
        deadline,
        progress,
        conflict_attempts=asked,
    )
    return await harness.sender.post(call, ANN), progress


class TestTransaction:
    async def test_that_conflicts_is_sent_again_as_it_is_until_it_goes_through(self) -> None:
        harness = Harness(*[canceled_by("None", "TransactionConflict")] * 5, OK)
        reply, _ = await posted(harness, asked=10)
        assert reply.attempts == 6
        assert len({posted.body for posted in harness.posted}) == 1
        assert harness.pauses == [0.05, 0.1, 0.2, 0.4, 0.8]

    async def test_that_conflicts_is_not_sent_again_unasked(self) -> None:
        harness = Harness(canceled_by("None", "TransactionConflict"), OK)
        with pytest.raises(AwsRejected) as refused:
            await posted(harness, asked=0)
        assert refused.value.attempts == 1

    async def test_whose_condition_failed_is_not_sent_again(self) -> None:
        harness = Harness(canceled_by("TransactionConflict", "ConditionalCheckFailed"), OK)
        with pytest.raises(AwsRejected) as refused:
            await posted(harness, asked=10)
        assert (refused.value.attempts, refused.value.ambiguous) == (1, False)

    async def test_that_always_conflicts_ends_after_as_many_attempts_as_were_asked_for(self) -> None:
        harness = Harness(*[canceled_by("TransactionConflict")] * 9)
        with pytest.raises(AwsRejected) as refused:
            await posted(harness, asked=7)
        assert (refused.value.code, refused.value.attempts) == ("TransactionCanceledException", 7)

    async def test_attempts_at_conflicts_leave_those_at_failures_as_they_are(self) -> None:
        harness = Harness(*[canceled_by("TransactionConflict")] * 5, BUSY, OK)
        reply, _ = await posted(harness, asked=10)
        assert reply.attempts == 7

    async def test_whose_first_answer_was_lost_is_asked_for_until_aws_has_completed_it(self) -> None:
        in_progress = refusal("TransactionInProgressException")
        harness = Harness(LOST, *[in_progress] * 6, OK)
        reply, progress = await posted(harness, asked=0, deadline=30.0)
        assert reply.attempts == 8
        assert sum(harness.pauses) > 5
        assert progress.attempts == 8

    async def test_that_is_still_in_progress_at_the_end_may_have_happened(self) -> None:
        harness = Harness(*[refusal("TransactionInProgressException")] * 9)
        with pytest.raises(AwsRejected) as refused:
            await posted(harness, asked=0, deadline=6.0)
        assert (refused.value.code, refused.value.ambiguous) == ("TransactionInProgressException", True)
