"""Streams of writes to tables that have several names, and to tables that only seem to be one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from types import FrameType
from typing import Any

import pytest
from tests.unit import virtual_time
from tests.unit.dynamodb.batch_writing import SlowKey, kinds, outcomes_of, stream_of
from tests.unit.dynamodb.fake_batches import (
    FakeDynamoDb,
    attributes,
    put,
    refusal,
    requests_of,
    told,
)

from awsidecar.dynamodb.v1.batch_pb2 import PutRequest
from awsidecar_server.dynamodb.batches import plan as plan_module
from awsidecar_server.dynamodb.batches.entries import Asked, Entry
from awsidecar_server.dynamodb.batches.ordering import InTurn
from awsidecar_server.dynamodb.batches.plan import Plan
from awsidecar_server.dynamodb.batches.timing import LoopTiming

ARNS = [f"arn:aws:dynamodb:eu-central-1:{number:012}:table/T" for number in range(2)]
MANY_ARNS = [f"arn:aws:dynamodb:eu-central-1:{number:012}:table/T" for number in range(3000)]


async def test_a_table_by_its_name_and_by_its_arn_is_one_table() -> None:
    arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/T"
    aws = FakeDynamoDb({"T": ("pk",), arn: ("pk",)})

    async def pause(table: str) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    aws.pause = pause
    assert kinds(await outcomes_of(aws, [put("T", pk="1", v=1), put(arn, pk="1", v=2)])) == ["done"] * 2
    assert aws.most_at_once == 1


async def test_names_of_one_table_keep_the_order_between_them() -> None:
    arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/slow"
    aws = FakeDynamoDb({"slow": ("pk",), arn: ("pk",)})
    aws.tables[arn] = aws.tables["slow"]
    slow = SlowKey(aws)
    order: list[str] = []
    aws.before = lambda table, number: order.append(table)
    writes = [put("slow" if number % 2 else arn, pk="1", v=number) for number in range(6)]
    telling = asyncio.ensure_future(told(stream_of(aws), requests_of(writes, 1)))
    await slow.asked.wait()
    slow.told.set()
    outcomes, _ = await telling
    assert kinds(outcomes) == ["done"] * 6
    assert order == [arn, "slow"] * 3


@pytest.mark.parametrize("denied", ["slow", "arn", "at first"])
async def test_names_of_one_table_keep_the_order_also_where_its_key_is_known_under_one_only(denied: str) -> None:
    arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/slow"
    aws = FakeDynamoDb({"slow": ("pk",), arn: ("pk",)})
    aws.tables[arn] = aws.tables["slow"]
    asked: list[str] = []

    async def describing(table: str) -> None:
        asked.append(table)
        await asyncio.sleep(0)
        if (denied == "at first" and len(asked) == 1) or denied == ("arn" if table == arn else table):
            raise refusal("DescribeTable", "AccessDeniedException")

    aws.pause_describing = describing
    order: list[str] = []
    aws.after = lambda table, number: order.append(next(iter(aws.tables[table].values()))["v"].n)
    writes = [put("slow" if number % 3 else arn, pk="1", v=number) for number in range(30)]
    assert kinds(await outcomes_of(aws, writes)) == ["done"] * 30
    assert order == [str(number) for number in range(30)]


@pytest.fixture(params=["known", "denied", "another"])
def two(request: pytest.FixtureRequest) -> FakeDynamoDb:
    """Tables of one name in two accounts; of the second one, the key is as the parameter says."""
    aws = FakeDynamoDb({ARNS[0]: ("pk",), ARNS[1]: ("id",) if request.param == "another" else ("pk",)})

    async def describing(table: str) -> None:
        await asyncio.sleep(0)
        if request.param == "denied" and table == ARNS[1]:
            raise refusal("DescribeTable", "AccessDeniedException")

    aws.pause_describing = describing
    return aws


async def test_tables_of_one_name_in_two_accounts_do_not_take_turns(two: FakeDynamoDb) -> None:
    writes = [put(ARNS[number % 2], pk=str(number), id=str(number), v=number) for number in range(1000)]
    assert kinds(await outcomes_of(two, writes)) == ["done"] * 1000
    assert two.counts["BatchWriteItem"] < 60


async def test_table_that_is_throttled_holds_up_none_of_the_same_name_in_another_account(two: FakeDynamoDb) -> None:
    def throttles(table: str, number: int) -> None:
        if table == ARNS[1]:
            raise refusal("BatchWriteItem", "ProvisionedThroughputExceededException")

    two.before = throttles
    writes = [put(ARNS[number == 3], pk="1", id="1", v=number) for number in range(30)]
    found = kinds(await outcomes_of(two, writes, deadline=20.0))
    assert found == ["done"] * 3 + ["failure"] + ["done"] * 26


async def test_key_that_does_not_come_holds_up_no_table_of_the_same_name_in_another_account() -> None:
    aws = FakeDynamoDb(dict.fromkeys(ARNS, ("pk",)))
    asked = asyncio.Event()

    async def hangs(table: str) -> None:
        if table == ARNS[1]:
            asked.set()
            await asyncio.Event().wait()

    aws.pause_describing = hangs
    writes = [put(ARNS[number % 2], pk=str(number), v=number) for number in range(100)]
    telling = asyncio.ensure_future(told(stream_of(aws), requests_of(writes, 10)))
    await asked.wait()
    for _ in range(1000):
        await asyncio.sleep(0)
    assert len(aws.tables[ARNS[0]]) == 50
    telling.cancel()
    await asyncio.wait({telling})


@pytest.mark.parametrize("denied", ["", "T", ARNS[0]])
async def test_name_that_may_be_of_each_arn_keeps_the_order_with_each(denied: str) -> None:
    """Whose account the bare name is of is AWS's knowledge."""
    aws = FakeDynamoDb(dict.fromkeys(("T", *ARNS), ("pk",)))
    order: list[tuple[str, int]] = []
    aws.after = lambda table, number: order.append((table, int(aws.tables[table].popitem()[1]["v"].n)))

    async def describing(table: str) -> None:
        if table == denied:
            raise refusal("DescribeTable", "AccessDeniedException")

    aws.pause_describing = describing
    writes = [put((ARNS[0], "T", ARNS[1])[number % 3], pk="1", v=number) for number in range(60)]
    assert kinds(await outcomes_of(aws, writes)) == ["done"] * 60
    for arn in ARNS:
        numbers = [number for table, number in order if table in {"T", arn}]
        assert numbers == sorted(numbers)
        assert len(numbers) == 40


def test_name_waits_for_the_keys_of_all_arns_before_it_and_holds_up_those_after_it() -> None:
    """The first ARN's key comes after five seconds; the second one's is known."""
    aws = FakeDynamoDb(dict.fromkeys(("T", *ARNS), ("pk",)))
    at: list[tuple[str, float]] = []

    async def describing(table: str) -> None:
        await asyncio.sleep(5 if table == ARNS[0] else 0)

    async def play() -> None:
        aws.after = lambda table, number: at.append((table, asyncio.get_running_loop().time()))
        aws.pause_describing = describing
        writes = [put(name, pk="1", v=number) for number, name in enumerate([*ARNS, "T", ARNS[1]])]
        assert kinds((await told(stream_of(aws, LoopTiming()), requests_of(writes, 1)))[0]) == ["done"] * 4

    virtual_time.run(play())
    assert at == [(ARNS[1], 0), (ARNS[0], 5), ("T", 5), (ARNS[1], 5)]


def _lines(act: Callable[[], object]) -> int:
    """How many lines of code run."""
    ran = 0

    def count(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal ran
        ran += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        act()
    finally:
        sys.settrace(before)
    return ran


@pytest.mark.parametrize("name", ["T", MANY_ARNS[0]])
def test_what_comes_costs_the_same_however_many_tables_have_its_name(name: str) -> None:
    few, many = Plan(InTurn(), 25, 2), Plan(InTurn(), 25, 2)
    for plan, arns in ((few, MANY_ARNS[:2]), (many, MANY_ARNS)):
        for number, one in enumerate(["T", *arns]):
            plan.add(Entry(number, one, PutRequest(item=attributes(pk="1")), 100, "1", (("T", "1"),)))

    def come(plan: Plan) -> None:
        table = plan.table(name)
        assert plan.may_add(table)
        plan.hold(9999, Asked(name, PutRequest()))
        assert not plan.may_add(table)
        held = plan.first_held(name)
        assert held is not None
        assert plan.turn_of(held, table) is None
        plan.let_go(held)

    assert _lines(partial(come, few)) == _lines(partial(come, many))


def test_table_for_which_something_waits_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is this table that will be told when its turn has come."""
    monkeypatch.setattr(plan_module, "_MOST_TABLES", 0)
    plan = Plan(InTurn(), 25, 2)
    entry = Entry(0, ARNS[0], PutRequest(), 100, "1", ())
    plan.add(entry)
    plan.hold(1, Asked("T", PutRequest()))
    plan.hold(2, Asked(ARNS[0], PutRequest()))
    table, held, before = plan.table(ARNS[0]), plan.first_held(ARNS[0]), plan.first_held("T")
    assert held is not None
    assert before is not None
    turn = plan.turn_of(held, table)
    assert turn is not None
    plan.finish(entry)
    plan.let_go(before)
    assert turn.is_set()
    assert plan.turn_of(held, plan.table(ARNS[0])) is None


async def test_many_tables_that_wait_for_one_name_let_other_streams_go_on_when_it_is_their_turn() -> None:
    """They wait for the key of the bare name, which AWS does not tell, and then for the write under it."""
    aws = FakeDynamoDb(dict.fromkeys(("T", *MANY_ARNS), ("pk",)))
    all_asked, is_told = asyncio.Event(), asyncio.Event()
    steps: list[int] = []

    async def describing(table: str) -> None:
        if table == MANY_ARNS[-1]:
            all_asked.set()
        if table == "T":
            await is_told.wait()
            raise refusal("DescribeTable", "AccessDeniedException")

    aws.pause_describing = describing
    stream = stream_of(aws)
    writes = [put(name, pk="1", v=number) for number, name in enumerate(["T", *MANY_ARNS])]
    telling = asyncio.ensure_future(told(stream, requests_of(writes, 5000)))
    await all_asked.wait()
    assert not aws.counts["BatchWriteItem"]
    is_told.set()
    while not telling.done():
        steps.append(len(stream._plan))
        await asyncio.sleep(0)
    assert kinds(telling.result()[0]) == ["done"] * len(writes)
    assert max(later - earlier for earlier, later in pairwise(steps)) <= 2
