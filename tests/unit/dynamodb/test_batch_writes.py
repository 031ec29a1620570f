"""Streams of writes: how they become batches, and what is told of each write."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.unit.dynamodb.batch_writing import failure_of, kinds, outcomes_of, stream_of
from tests.unit.dynamodb.fake_batches import (
    FakeDynamoDb,
    FakeTiming,
    delete,
    lost,
    put,
    refusal,
    requests_of,
    told,
)

from awsidecar.dynamodb.v1.batch_pb2 import WriteRequest
from awsidecar.dynamodb.v1.batch_streams_pb2 import StreamedWrite
from awsidecar_server.dynamodb.batches.stream import MOST_UNTOLD
from awsidecar_server.errors import InvalidRequest, LimitReached


async def test_any_number_is_written_in_batches_of_25() -> None:
    aws = FakeDynamoDb()
    outcomes = await outcomes_of(aws, (put(pk=str(number), v=number) for number in range(260)))
    assert kinds(outcomes) == ["done"] * 260
    assert len(aws.tables["T"]) == 260
    assert aws.sizes.count(25) >= 8
    assert aws.counts["DescribeTable"] == 1


async def test_a_stream_has_no_end_of_its_own() -> None:
    aws = FakeDynamoDb()
    outcomes = await outcomes_of(aws, (put(pk=str(number), v=number) for number in range(3 * MOST_UNTOLD)))
    assert kinds(outcomes) == ["done"] * 3 * MOST_UNTOLD


async def test_nothing_is_done_when_aws_calls_unprocessed_what_nobody_has_sent() -> None:
    aws = FakeDynamoDb()
    aws.strangers = [WriteRequest(put_request=put(pk="stranger").put)]
    outcomes = await outcomes_of(aws, [put(pk="1", v=1)])
    assert kinds(outcomes) == ["failure"]
    assert aws.counts["BatchWriteItem"] > 5


async def test_several_batches_are_in_flight_at_once() -> None:
    aws = FakeDynamoDb()
    await told(stream_of(aws), requests_of((put(pk=str(number), v=number) for number in range(1000)), 1000))
    assert aws.most_at_once == 8 * 25


async def test_writes_to_one_item_are_done_in_order_one_after_the_other() -> None:
    aws = FakeDynamoDb()
    writes = [put(pk="1", v=1), put(pk="2", v=1), put(pk="1", v=2), delete(pk="1"), put(pk="1", v=3)]
    assert kinds(await outcomes_of(aws, writes)) == ["done"] * 5
    (first,) = (values for key, values in aws.history.items() if key[1] == (("pk", ("s", "1")),))
    assert first == ["1", "2", "gone", "3"]


async def test_numbers_are_one_key_however_they_are_written() -> None:
    aws = FakeDynamoDb()
    writes = [put(pk=1, v=1), put(pk=1, v=2)]
    writes[1].put.item["pk"].n = "1.0"
    assert kinds(await outcomes_of(aws, writes)) == ["done"] * 2
    assert list(aws.history.values()) == [["1", "2"]]


async def test_unprocessed_writes_are_sent_again_until_they_are_done() -> None:
    aws = FakeDynamoDb()
    aws.unprocessed = lambda size: size - 1
    outcomes = await outcomes_of(aws, (put(pk=str(number), v=number) for number in range(50)))
    assert kinds(outcomes) == ["done"] * 50
    assert len(aws.tables["T"]) == 50


async def test_pauses_grow_while_nothing_is_processed_and_start_anew_with_progress() -> None:
    aws, timing = FakeDynamoDb(), FakeTiming()
    at: list[float] = []

    def throttled_but_for_the_fourth(table: str, number: int) -> None:
        at.append(timing.now())
        if number not in {4, 6}:
            raise refusal("BatchWriteItem", "ProvisionedThroughputExceededException")

    aws.before = throttled_but_for_the_fourth
    aws.unprocessed = lambda size: size - 1
    await told(stream_of(aws, timing), requests_of([put(pk="1", v=1), put(pk="2", v=1)]))
    pauses = [round(later - earlier, 3) for earlier, later in pairwise(at)]
    assert pauses == [0.1, 0.2, 0.4, 0.05, 0.1]


async def test_a_pause_that_ends_at_any_moment_ends() -> None:
    """The clock moves each time that it is looked at, so that pauses end between any two looks."""

    class Moving(FakeTiming):
        def now(self) -> float:
            self.time += 0.01
            return self.time

    aws = FakeDynamoDb()
    aws.unprocessed = lambda size: size // 2
    stream = stream_of(aws, Moving(), deadline=1e6)
    outcomes, reports = await told(stream, requests_of(put(pk=str(number), v=number) for number in range(300)))
    assert kinds(outcomes) == ["done"] * 300
    assert not any(report.is_deadline_spent for report in reports)


async def test_an_item_that_aws_refuses_fails_alone() -> None:
    aws = FakeDynamoDb()
    writes = [put(pk=str(number), v=number) for number in range(25)]
    writes[7] = put(pk="7", v=7, bad="yes")
    outcomes = await outcomes_of(aws, writes)
    assert kinds(outcomes) == ["done"] * 7 + ["failure"] + ["done"] * 17
    assert failure_of(outcomes, 7).code == "ValidationException"
    assert aws.counts["BatchWriteItem"] <= 1 + 2 * 5


async def test_items_that_a_policy_denies_fail_alone_until_very_many_are() -> None:
    aws = FakeDynamoDb()
    writes = [put(pk=str(number), v=number) for number in range(25)]
    writes[7] = put(pk="7", v=7, denied="yes")
    assert kinds(await outcomes_of(aws, writes)).count("failure") == 1
    aws.counts.clear()
    outcomes = await outcomes_of(aws, (put(pk=str(number), v=number, denied="yes") for number in range(2500)))
    assert kinds(outcomes) == ["failure"] * 2500
    assert aws.counts["BatchWriteItem"] < 100 + 2 * 100 + 8 * 50


async def test_what_is_no_write_fails_alone_and_is_not_sent() -> None:
    aws = FakeDynamoDb()
    outcomes = await outcomes_of(aws, [StreamedWrite(table_name="T"), put(pk="1", v=1), put("", pk="1", v=1)])
    assert kinds(outcomes) == ["failure", "done", "failure"]
    assert failure_of(outcomes, 0).violations[0].field == failure_of(outcomes, 0).metadata["field"] == "writes[0]"
    assert failure_of(outcomes, 2).violations[0].field == "writes[2].table_name"


async def test_an_unknown_table_fails_its_own_writes() -> None:
    aws = FakeDynamoDb()
    writes = [put("T" if number % 2 else "Gone", pk=str(number), v=number) for number in range(60)]
    outcomes = await outcomes_of(aws, writes)
    assert kinds(outcomes) == ["failure", "done"] * 30
    assert failure_of(outcomes, 0).code == "ResourceNotFoundException"


async def test_a_lost_answer_is_made_good_by_sending_once_more() -> None:
    aws = FakeDynamoDb()

    def loses_the_first(table: str, number: int) -> None:
        if number == 1:
            raise lost()

    aws.after = loses_the_first
    assert kinds(await outcomes_of(aws, [put(pk="1", v=1), put(pk="1", v=2)])) == ["done", "done"]
    assert list(aws.history.values()) == [["1", "1", "2"]]


async def test_what_stays_unknown_says_so() -> None:
    aws = FakeDynamoDb()

    def lose(table: str, number: int) -> None:
        raise lost()

    aws.after = lose
    outcomes = await outcomes_of(aws, [put(pk="1", v=1)])
    assert kinds(outcomes) == ["failure"]
    assert outcomes[0].result.is_ambiguous
    assert aws.counts["BatchWriteItem"] == 5


async def test_what_was_unknown_once_stays_so_when_it_is_left_unprocessed_afterwards() -> None:
    aws = FakeDynamoDb()

    def loses_the_first(table: str, number: int) -> None:
        if number == 1:
            raise lost()

    aws.after = loses_the_first
    aws.unprocessed = lambda size: size if aws.counts["BatchWriteItem"] > 1 else 0
    (outcome,) = await outcomes_of(aws, [put(pk="1", v=1)])
    assert isinstance(outcome.result.failure, LimitReached)
    assert outcome.result.is_ambiguous


async def test_in_order_the_outcomes_are_those_of_the_writes_one_by_one() -> None:
    aws = FakeDynamoDb()
    aws.unprocessed = lambda size: size // 2
    outcomes = await outcomes_of(aws, (put(pk=str(number), v=number) for number in range(300)), in_order=True)
    assert [outcome.index for outcome in outcomes] == list(range(300))


async def test_capacity_is_told_when_it_was_asked_for() -> None:
    aws = FakeDynamoDb()
    requests = requests_of([put(pk=str(number), v=1) for number in range(30)], return_consumed_capacity="TOTAL")
    _, reports = await told(stream_of(aws), requests)
    assert sum(one.capacity_units for report in reports for one in report.capacity) == 30
    with pytest.raises(InvalidRequest, match="return_consumed_capacity"):
        await outcomes_of(aws, [put(pk="1", v=1)], return_consumed_capacity="ALL")


async def test_items_are_split_by_size() -> None:
    aws = FakeDynamoDb()
    outcomes = await outcomes_of(aws, (put(pk=str(number), v=1, text="x" * 390_000) for number in range(25)))
    assert kinds(outcomes) == ["done"] * 25
    assert max(aws.sizes) * 390_000 * 6 < 16_000_000
