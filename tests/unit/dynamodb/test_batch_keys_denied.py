"""Streams of writes of a caller whom AWS does not allow to know the key: how far ahead they look for what may go beside."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit import virtual_time
from tests.unit.dynamodb.batch_writing import kinds, stream_of
from tests.unit.dynamodb.fake_batches import put, requests_of, told
from tests.unit.dynamodb.late_keys import Late, alike, assert_in_order, denied, done, failing, loop_time

from awsidecar.dynamodb.v1.batch_streams_pb2 import StreamedWrite
from awsidecar_server.dynamodb.batches.ordering import InTurn
from awsidecar_server.dynamodb.batches.plan import Plan
from awsidecar_server.dynamodb.batches.stream import MOST_UNTOLD
from awsidecar_server.dynamodb.batches.timing import LoopTiming

NEVER = 1000.0
# As many writes come at once.
A_REQUEST = 40


def unfinished(aws: Late, writes: list[StreamedWrite]) -> list[tuple[float, int]]:
    """Writes all; returns how many were in hand at which times."""
    seen: list[tuple[float, int]] = []

    async def play() -> None:
        stream = stream_of(aws, LoopTiming())
        telling = asyncio.ensure_future(told(stream, requests_of(writes)))
        while not telling.done():
            seen.append((loop_time(), len(stream._plan)))
            await asyncio.sleep(0.05)
        assert kinds(telling.result()[0]) == ["done"] * len(writes)
        assert [table.tokens for table in stream._plan.tables.values()] == [0]

    virtual_time.run(play())
    return seen


def most(seen: list[tuple[float, int]], since: float, until: float) -> int:
    return max(count for at, count in seen if since <= at < until)


def test_writes_that_are_alike_in_runs_go_beside_those_of_other_runs() -> None:
    aws = Late(NEVER, why_not=denied)
    writes = [put(pk=str(number), kind=f"k{number // 500}", v=number) for number in range(4000)]
    # Eight runs beside one another, each of which goes one by one.
    assert done(aws, writes) == pytest.approx(5, abs=0.2)


def test_key_that_is_denied_is_asked_for_every_five_seconds_while_writes_come_in() -> None:
    aws = Late(NEVER, why_not=denied)
    assert done(aws, alike(6000)) == pytest.approx(60)
    assert aws.longest_pause() == pytest.approx(0.01)
    # They come in for 20 seconds: all but 4000 do when another one is done.
    assert aws.counts["DescribeTable"] == 4


def test_no_more_writes_are_in_hand_without_the_key_than_with_it() -> None:
    assert most(unfinished(Late(NEVER, why_not=denied), alike(6000)), 0, 60) <= MOST_UNTOLD + A_REQUEST


@pytest.mark.parametrize(("attributes", "in_hand"), [(20, 1000), (200, 400), (2000, 50)])
def test_writes_of_many_attributes_are_in_hand_up_to_a_number_of_attributes(attributes: int, in_hand: int) -> None:
    """Each is looked for in all others, whichever of them are the key."""
    many = {f"a{number}": "x" for number in range(attributes - 2)}
    writes = [put(pk=str(number), v=number, **many) for number in range(2 * in_hand)]
    aws = Late(NEVER, why_not=denied)
    assert most(unfinished(aws, writes), 0, 60) == in_hand
    assert aws.longest_pause() == pytest.approx(0.01)


async def test_what_waits_for_the_key_of_a_table_looks_again_when_the_caller_may_not_know_it() -> None:
    table = Plan(InTurn(), 25, 2).table("T")
    table.learn_again(None, 5.0, is_denied=True)
    assert table.turned.is_set()


def test_denial_that_comes_later_lets_more_writes_in_at_once() -> None:
    aws = Late(NEVER, why_not=lambda: failing() if loop_time() < 1 else denied())
    seen = unfinished(aws, alike(3000))
    assert most(seen, 0, 5) == 400
    # All that there are but those that were done one by one.
    assert most(seen, 5.1, 10) > 2450
    assert aws.longest_pause() == pytest.approx(0.01)


def test_failure_that_passes_after_a_denial_changes_nothing() -> None:
    aws = Late(NEVER, why_not=lambda: denied() if loop_time() < 1 else failing())
    seen = unfinished(aws, alike(5000))
    assert aws.counts["DescribeTable"] == 2
    assert most(seen, 9, 9.5) >= MOST_UNTOLD - A_REQUEST


def test_key_that_is_told_after_a_denial_counts_when_what_came_without_it_is_finished() -> None:
    aws = Late(1.0, why_not=denied)
    assert done(aws, alike(10_000, items=2000)) < 47
    assert max(aws.singles()) < 5 + (MOST_UNTOLD + A_REQUEST) * 0.0101
    assert aws.counts["DescribeTable"] == 3  # what it was told is old by then
    assert_in_order(aws)
