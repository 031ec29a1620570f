"""Calls of AWS's JSON protocol: when they are sent again, and what is told of those that may have been carried out."""

from __future__ import annotations

import asyncio
import zlib

import pytest
from tests.unit.aws.sending import BUSY, OK, ONCE, REGION, REPEATABLE, THROTTLED, Harness
from tests.unit.aws.transport import (
    GARBLED,
    LATE,
    LOST,
    SILENT,
    TOO_LATE,
    UNSENT,
    Step,
    answer,
    refusal,
)

from awsidecar_server.aws.json_calls import JsonReply
from awsidecar_server.aws.progress import Progress
from awsidecar_server.aws.retries import RetryQuota
from awsidecar_server.errors import DeadlineSpent


class TestRetries:
    @pytest.mark.parametrize("failure", [UNSENT, LOST, SILENT, GARBLED, BUSY, answer(b"<html>", 503)])
    async def test_read_is_tried_again_after_whatever_may_pass(self, failure: Step) -> None:
        harness = Harness(failure, OK)
        assert (await harness.post()).attempts == 2
        assert harness.pauses == [0.025]

    @pytest.mark.parametrize(
        "code",
        [
            "ValidationException",
            "ResourceNotFoundException",
            "ConditionalCheckFailedException",
            "AccessDeniedException",
            "TransactionCanceledException",
        ],
    )
    async def test_refusal_that_stays_is_not_tried_again(self, code: str) -> None:
        harness = Harness(refusal(code))
        rejected = await harness.rejection()
        assert (rejected.code, rejected.attempts, rejected.http_status) == (code, 1, 400)
        assert rejected.request_id == "REQ"
        assert not rejected.ambiguous
        assert harness.pauses == []

    async def test_pauses_double_and_are_longer_after_throttling(self) -> None:
        transient, throttled = Harness(BUSY), Harness(THROTTLED)
        assert (await transient.rejection()).attempts == 4
        assert transient.pauses == [0.025, 0.05, 0.1]
        assert (await throttled.rejection()).attempts == 4
        assert throttled.pauses == [1.0, 2.0, 4.0]

    @pytest.mark.parametrize(("asked", "paused"), [("1500", 1.5), ("0", 0.025), ("999999", 5.025), ("soon", 0.025)])
    async def test_pause_that_aws_asks_for_is_kept_within_bounds(self, asked: str, paused: float) -> None:
        harness = Harness(refusal("InternalServerError", status=500, x_amz_retry_after=asked), OK)
        await harness.post()
        assert harness.pauses == [pytest.approx(paused)]

    async def test_one_attempt_is_one_request(self) -> None:
        harness = Harness(BUSY, max_attempts=1)
        assert (await harness.rejection()).attempts == 1
        assert len(harness.posted) == 1

    async def test_call_gives_up_when_the_pause_would_outlast_the_deadline(self) -> None:
        harness = Harness(THROTTLED, max_attempts=10)
        rejected = await harness.rejection(deadline=3.5)
        assert rejected.attempts == 3, "after 1 + 2 seconds, the next pause takes 4"
        assert harness.time == 3.0

    async def test_hot_table_leaves_the_other_tables_their_retries(self) -> None:
        harness = Harness(THROTTLED, quota=RetryQuota(capacity=7), max_attempts=3)
        assert (await harness.rejection(members={"TableName": "hot"})).attempts == 2, (
            "a second retry is not paid for"
        )
        assert (await harness.rejection(members={"TableName": "hot"})).attempts == 1
        assert (await harness.rejection(members={"TableName": "cold"})).attempts == 2

    async def test_throttling_leaves_the_retries_after_failures(self) -> None:
        harness = Harness(THROTTLED, THROTTLED, THROTTLED, BUSY, OK, quota=RetryQuota(capacity=14), max_attempts=3)
        assert (await harness.rejection()).attempts == 3
        assert (await harness.post()).attempts == 2

    async def test_iterators_of_one_stream_share_their_retries(self) -> None:
        arn = f"arn:aws:dynamodb:{REGION}:999999999999:table/films/stream/2030"
        harness = Harness(THROTTLED, quota=RetryQuota(capacity=5), max_attempts=2)
        attempts = [
            (await harness.rejection("GetRecords", {"ShardIterator": f"{arn}|1|{number}"})).attempts
            for number in range(2)
        ]
        assert attempts == [2, 1]

    async def test_success_gives_back_what_its_retry_cost(self) -> None:
        harness = Harness(THROTTLED, OK, THROTTLED, OK, quota=RetryQuota(capacity=5))
        assert [(await harness.post()).attempts for _ in range(2)] == [2, 2]

    async def test_damaged_answer_is_fetched_again(self) -> None:
        body = b'{"Item": {}}'
        damaged = answer(body, x_amz_crc32=str(zlib.crc32(body) + 1))
        harness = Harness(damaged, answer(body, x_amz_crc32=str(zlib.crc32(body))))
        assert await harness.post() == JsonReply(body, "REQ", 2)

    async def test_answer_that_stays_damaged_is_none(self) -> None:
        failed = await Harness(answer(x_amz_crc32="1")).unreachable()
        assert failed.metadata == {"cause": "bad_response", "attempts": "4"}


class TestAmbiguousWrites:
    @pytest.mark.parametrize("operation", REPEATABLE)
    @pytest.mark.parametrize("failure", [LOST, SILENT, GARBLED, BUSY, answer(x_amz_crc32="1")])
    async def test_write_that_may_be_repeated_is(self, operation: str, failure: Step) -> None:
        harness = Harness(failure, OK)
        assert (await harness.post(operation, REPEATABLE[operation])).attempts == 2

    @pytest.mark.parametrize("operation", ONCE)
    @pytest.mark.parametrize("failure", [LOST, SILENT, GARBLED, answer(x_amz_crc32="1")])
    async def test_write_that_may_have_happened_is_not_repeated(self, operation: str, failure: Step) -> None:
        harness = Harness(failure, OK)
        failed = await harness.unreachable(operation, ONCE[operation])
        assert failed.ambiguous
        assert (failed.metadata["attempts"], failed.metadata["ambiguous"]) == ("1", "true")
        assert len(harness.posted) == 1

    @pytest.mark.parametrize("operation", ONCE)
    async def test_write_that_failed_within_aws_is_not_repeated(self, operation: str) -> None:
        harness = Harness(BUSY, OK)
        rejected = await harness.rejection(operation, ONCE[operation])
        assert (rejected.ambiguous, rejected.attempts) == (True, 1)

    @pytest.mark.parametrize("operation", ONCE)
    @pytest.mark.parametrize("failure", [UNSENT, THROTTLED])
    async def test_write_that_never_happened_is_always_tried_again(self, operation: str, failure: Step) -> None:
        harness = Harness(failure, failure, OK)
        assert (await harness.post(operation, ONCE[operation])).attempts == 3

    async def test_write_that_may_have_happened_once_stays_so(self) -> None:
        """The second attempt was refused for sure; the first one may have written all the same."""
        put = REPEATABLE["PutItem"]
        rejected = await Harness(LOST, refusal("AccessDeniedException")).rejection("PutItem", put)
        assert (rejected.code, rejected.ambiguous, rejected.attempts) == ("AccessDeniedException", True, 2)
        failed = await Harness(UNSENT).unreachable("PutItem", put)
        assert not failed.ambiguous
        assert "ambiguous" not in failed.metadata

    async def test_read_is_never_ambiguous(self) -> None:
        failed = await Harness(LOST).unreachable()
        assert failed.metadata == {"cause": "connection_lost", "attempts": "4"}


class TestProgress:
    """What the caller of a write is told when the call is cut."""

    PUT = REPEATABLE["PutItem"]

    async def cut(self, harness: Harness, operation: str = "PutItem") -> Progress:
        """Ends the call as a deadline does, when its last request is on its way."""
        progress = Progress()
        calling = asyncio.create_task(harness.post(operation, self.PUT, progress=progress))
        await harness.transport.asked.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        return progress

    async def test_write_that_is_cut_on_its_way_may_have_happened(self) -> None:
        progress = await self.cut(Harness())
        assert (progress.attempts, progress.is_ambiguous) == (1, True)

    async def test_write_that_is_cut_before_it_is_sent_has_not_happened(self) -> None:
        progress = await self.cut(Harness(connects=False))
        assert (progress.attempts, progress.is_ambiguous) == (1, False)

    async def test_read_that_is_cut_is_nothing_to_wonder_about(self) -> None:
        progress = await self.cut(Harness(), "GetItem")
        assert (progress.attempts, progress.is_ambiguous) == (1, False)

    @pytest.mark.parametrize(("before", "ambiguous"), [(BUSY, True), (LOST, True), (THROTTLED, False)])
    async def test_write_that_is_cut_in_a_pause_may_have_happened_before(
        self, before: Step, ambiguous: bool
    ) -> None:
        harness, pausing, progress = Harness(before), asyncio.Event(), Progress()

        async def never(_: float) -> None:
            pausing.set()
            await asyncio.Event().wait()

        harness.sender._pause = never
        calling = asyncio.create_task(harness.post("PutItem", self.PUT, progress=progress))
        await pausing.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert (progress.attempts, progress.is_ambiguous) == (1, ambiguous)

    async def test_write_that_was_carried_out_has_happened_whatever_becomes_of_the_answer(self) -> None:
        progress = Progress()
        await Harness(OK).post("PutItem", self.PUT, progress=progress)
        assert (progress.attempts, progress.is_ambiguous) == (1, True)

    @pytest.mark.parametrize(("failure", "ambiguous"), [(LATE, True), (TOO_LATE, False)])
    async def test_deadline_that_the_transport_meets_is_the_callers(self, failure: Step, ambiguous: bool) -> None:
        harness, progress = Harness(failure), Progress()
        with pytest.raises(DeadlineSpent):
            await harness.post("PutItem", self.PUT, deadline=0.0, progress=progress)
        assert (progress.attempts, progress.is_ambiguous) == (1, ambiguous)
        assert harness.metric("call_duration_seconds_count", outcome="cancelled", operation="PutItem") == 1
