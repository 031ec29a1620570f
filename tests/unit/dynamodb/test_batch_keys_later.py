"""Streams of writes that never pause, to tables whose keys are told late or never: when a key counts, and what waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import pairwise

import pytest
from google.protobuf.message import Message
from tests.unit import virtual_time
from tests.unit.dynamodb.batch_writing import kinds, stream_of
from tests.unit.dynamodb.fake_batches import CONNECTIONS, SCOPE, put, refusal, requests_of, told
from tests.unit.dynamodb.late_keys import Late, alike, assert_in_order, done, failing, loop_time

from awsidecar.dynamodb.v1.batch_streams_pb2 import BatchWriteStreamRequest, StreamedWrite
from awsidecar_server.dynamodb.batches.entries import Outcome
from awsidecar_server.dynamodb.batches.stream import BatchStream
from awsidecar_server.dynamodb.batches.timing import LoopTiming
from awsidecar_server.dynamodb.batches.work import Means
from awsidecar_server.dynamodb.batches.writes import Writes
from awsidecar_server.dynamodb.table_keys import Check, KeyNames, TableKeys
from awsidecar_server.errors import Draining, Unauthenticated

ARN = "arn:aws:dynamodb:eu-central-1:123456789012:table/T"


def test_key_that_was_not_told_at_first_counts_in_a_stream_that_never_pauses() -> None:
    aws = Late(1.0)
    assert done(aws, alike(10_000, items=4000)) < 11
    # It is asked for after five seconds; what has come in by then without it goes one by one.
    assert max(aws.singles()) < 5 + 400 * 0.011
    assert len(aws.calls) < 1400
    assert aws.counts["DescribeTable"] == 2
    assert_in_order(aws)


def test_key_that_is_not_told_is_asked_for_every_five_seconds_which_holds_nothing_up() -> None:
    aws = Late(1000.0)
    assert done(aws, alike(3000)) == pytest.approx(30)
    assert aws.longest_pause() == pytest.approx(0.01)
    assert aws.counts["DescribeTable"] == 6


class Noting(Writes):
    """Is told no key but the second time that it asks, three seconds late where it is not urgent; notes when it asks, and whether that is urgent."""

    def __init__(self, means: Means) -> None:
        super().__init__(means, SCOPE)
        self.questions: list[tuple[float, bool]] = []

    async def key_names(self, table: str, check: Check | None, is_urgent: bool) -> KeyNames | None:
        self.questions.append((loop_time(), is_urgent))
        is_told = len(self.questions) == 2
        await asyncio.sleep(0 if is_urgent else 3)
        return ("pk",) if is_told else None


def test_key_that_is_not_told_any_more_when_it_is_to_count_is_done_without() -> None:
    aws = Late(0.0)
    work = Noting(Means(aws, TableKeys(aws, CONNECTIONS)))

    async def play() -> None:
        assert kinds((await told(BatchStream(work, SCOPE, LoopTiming()), requests_of(alike(2500))))[0]) == (
            ["done"] * 2500
        )

    virtual_time.run(play())
    moments, urgent = zip(*work.questions, strict=True)
    assert moments == pytest.approx((0, 5, 12, 17), abs=0.05)
    assert urgent == (True, False, True, False)


def test_question_that_hangs_holds_up_nothing_but_what_came_first() -> None:
    aws = Late(0.0)
    aws.pause_describing = lambda table: asyncio.sleep(1000)
    assert done(aws, alike(3000)) == pytest.approx(40)
    assert aws.longest_pause() == pytest.approx(0.01)
    assert aws.counts["DescribeTable"] == 3


def test_writes_without_the_key_that_differ_go_in_full_batches() -> None:
    aws = Late(1000.0)
    seconds = done(aws, [put(pk=str(number), v=number) for number in range(20_000)])
    assert seconds < 20_000 / 200 * 0.011
    assert len(aws.calls) < 20_000 / 25 * 1.02


@pytest.mark.parametrize("is_known", [False, True])
def test_few_writes_come_in_without_the_key_and_as_many_as_there_are_with_it(is_known: bool) -> None:
    aws, most = Late(0.0 if is_known else 1000.0), 0

    async def play() -> None:
        nonlocal most
        stream = stream_of(aws, LoopTiming())
        telling = asyncio.ensure_future(told(stream, requests_of(alike(2000))))
        while not telling.done():
            most = max(most, len(stream._plan))
            await asyncio.sleep(0.001)

    virtual_time.run(play())
    assert most > 1000 if is_known else most == 400


def test_other_tables_go_on_while_one_is_finished_without_its_key() -> None:
    aws = Late(1.0, "U")
    both = [one for pair in zip(alike(1500), alike(1500, table="U"), strict=True) for one in pair]

    async def play() -> None:
        async def requests() -> AsyncIterator[Message]:
            for at in range(0, 3000, 20):
                yield BatchWriteStreamRequest(writes=both[at : at + 20])
                await asyncio.sleep(0.06)

        assert kinds((await told(stream_of(aws, LoopTiming()), requests()))[0]) == ["done"] * 3000

    virtual_time.run(play())
    of_other = [at for at, table, _ in aws.calls if table == "U"]
    assert max(later - earlier for earlier, later in pairwise(of_other)) < 0.2


@pytest.mark.parametrize("late", ["T", ARN])
def test_names_of_one_table_keep_the_order_when_the_key_is_told_late_under_one(late: str) -> None:
    aws = Late(0.0, ARN)
    aws.tables[ARN] = aws.tables["T"]

    async def describing(table: str) -> None:
        if table == late and loop_time() < 3:
            raise failing()

    aws.pause_describing = describing
    order: list[int] = []
    apply = aws._apply

    def note(table: str, write: StreamedWrite, key: object) -> None:
        order.append(int(write.put_request.item["v"].n))  # type: ignore[attr-defined]
        apply(table, write, key)  # type: ignore[arg-type]

    aws._apply = note  # type: ignore[assignment,method-assign]
    writes = [
        put(ARN if number // 50 % 2 else "T", pk=str(number % 7), kind="x", v=number) for number in range(2000)
    ]
    assert done(aws, writes) < 30
    for item in range(7):
        of_item = [number for number in order if number % 7 == item]
        assert of_item == sorted(of_item)


@pytest.mark.parametrize("deadline", [4.0, 5.5, 7.0])
def test_at_the_deadline_each_write_has_its_outcome_while_the_key_is_asked_for_again(deadline: float) -> None:
    aws = Late(1.0, seconds=1)

    async def play() -> list[Outcome]:
        stream = stream_of(aws, LoopTiming(), deadline)
        outcomes, _ = await told(stream, requests_of(alike(3000)))
        assert loop_time() <= deadline
        return outcomes

    found = kinds(virtual_time.run(play()))
    written = sum(map(len, aws.history.values()))
    assert found[:written] == ["done"] * written
    assert found.count("not_attempted") >= 3000 - written - 1


@pytest.mark.parametrize("moment", [4.0, 5.5, 7.0])
def test_drain_ends_a_stream_soon_while_its_key_is_asked_for_again(moment: float) -> None:
    aws = Late(1.0)
    drain = asyncio.Event()

    async def play() -> list[Outcome]:
        work = Writes(Means(aws, TableKeys(aws, CONNECTIONS)), SCOPE)
        stream = BatchStream(work, SCOPE, LoopTiming(), drain=drain)
        asyncio.get_running_loop().call_at(moment, drain.set)
        outcomes: list[Outcome] = []

        async def tell() -> None:
            async for report in stream.reports(requests_of(alike(3000))):
                outcomes.extend(report.outcomes)

        with pytest.raises(Draining):
            await tell()
        assert loop_time() <= moment + 0.011
        return outcomes

    found = kinds(virtual_time.run(play()))
    assert found.count("done") == sum(map(len, aws.history.values())) == int(moment * 100)


def test_stream_does_not_wait_for_a_key_that_it_does_not_need_any_more() -> None:
    aws = Late(1.0, seconds=100)
    assert done(aws, alike(1000)) == pytest.approx(10)
    assert aws.counts["DescribeTable"] == 2


def test_stream_that_is_cut_leaves_no_question_behind() -> None:
    aws = Late(1.0, seconds=100)

    async def play() -> None:
        keys = TableKeys(aws, CONNECTIONS)
        stream = BatchStream(Writes(Means(aws, keys), SCOPE), SCOPE, LoopTiming())
        async with aclosing(stream.reports(requests_of(alike(3000)))) as reports:
            async for _ in reports:
                if loop_time() > 6:
                    break
        assert aws.counts["DescribeTable"] == 2
        # The question is everybody's.
        assert len(asyncio.all_tasks()) == 2
        await keys.aclose()

    virtual_time.run(play())


def test_tables_that_are_asked_about_again_hold_up_the_first_question_for_another_one_for_two_seconds() -> None:
    """Each of a hundred has writes that are throttled when it is to be asked about again, and then it hangs."""
    aws = Late(0.0, *(f"hangs{number}" for number in range(100)), "new")
    written: list[float] = []

    async def describing(table: str) -> None:
        if table.startswith("hangs"):
            if loop_time() < 1:
                raise failing()
            await asyncio.sleep(1000)

    def throttled(table: str, number: int) -> None:
        if table != "new" and loop_time() < 15:
            raise refusal("BatchWriteItem", "ThrottlingException")

    aws.pause_describing, aws.before = describing, throttled
    aws.after = lambda table, number: written.append(loop_time()) if table == "new" else None

    async def play() -> None:
        async def requests() -> AsyncIterator[Message]:
            writes = [put(f"hangs{number}", pk="1", kind="x", v=1) for number in range(100)]
            yield BatchWriteStreamRequest(writes=writes)
            await asyncio.sleep(5.5)
            yield BatchWriteStreamRequest(writes=writes)
            await asyncio.sleep(2.5)
            yield BatchWriteStreamRequest(writes=[put("new", pk="1", v=1)])

        # Without a deadline, those that are throttled twelve times would be given up, as chance has it before the end.
        stream = stream_of(aws, LoopTiming(), deadline=1000)
        assert kinds((await told(stream, requests()))[0]) == ["done"] * 201

    virtual_time.run(play())
    assert 8 < written[0] <= 10.1


def test_key_is_not_asked_for_again_for_a_session_that_has_ended() -> None:
    aws = Late(1000.0)
    aws.pause = lambda table: asyncio.sleep(5)

    async def check() -> None:
        if loop_time() > 3:
            raise Unauthenticated("closed", reason="SESSION_NOT_FOUND")

    async def play() -> None:
        async def requests() -> AsyncIterator[Message]:
            for one in alike(2):
                yield BatchWriteStreamRequest(writes=[one])
                await asyncio.sleep(6)

        work = Writes(Means(aws, TableKeys(aws, CONNECTIONS)), SCOPE)
        stream = BatchStream(work, SCOPE, LoopTiming(), check=check)
        # The first one was on its way.
        assert kinds((await told(stream, requests()))[0]) == ["done", "failure"]

    virtual_time.run(play())
    assert aws.counts["DescribeTable"] == 1


def test_defect_of_a_question_that_is_asked_again_ends_the_stream() -> None:
    aws = Late(1000.0)

    class Defective(Writes):
        async def key_names(self, table: str, check: Check | None, is_urgent: bool) -> KeyNames | None:
            if not is_urgent:
                raise ZeroDivisionError
            return None

    async def play() -> None:
        stream = BatchStream(Defective(Means(aws, TableKeys(aws, CONNECTIONS)), SCOPE), SCOPE, LoopTiming())
        with pytest.raises(ZeroDivisionError):
            await told(stream, requests_of(alike(1000)))
        assert loop_time() == pytest.approx(5, abs=0.1)

    virtual_time.run(play())


def test_tables_that_are_to_be_asked_about_again_are_bounded_and_others_follow() -> None:
    """A hundred have writes that are throttled, and more of them every second, while their questions hang for long."""
    names = [f"hangs{number}" for number in range(100)]
    aws = Late(0.0, *names)
    asked: list[tuple[float, str]] = []

    async def describing(table: str) -> None:
        asked.append((loop_time(), table))
        await asyncio.sleep(1000 if 4 < loop_time() < 15 else 0)
        raise failing()

    def throttled(table: str, number: int) -> None:
        if loop_time() < 25:
            raise refusal("BatchWriteItem", "ThrottlingException")

    aws.pause_describing, aws.before = describing, throttled

    async def play() -> int:
        async def requests() -> AsyncIterator[Message]:
            for _ in range(25):
                yield BatchWriteStreamRequest(writes=[put(name, pk="1", kind="x", v=1) for name in names])
                await asyncio.sleep(1)

        stream, most = stream_of(aws, LoopTiming(), deadline=1000), 0
        telling = asyncio.ensure_future(told(stream, requests()))
        while not telling.done():
            most = max(most, len(stream._asking_again))
            await asyncio.sleep(0.1)
        telling.result()
        assert not stream._asking_again
        return most

    assert virtual_time.run(play()) == 80
    assert {table for at, table in asked if at > 4} == set(names)
