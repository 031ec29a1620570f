from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dynamodb.fake_batches import attributes

from awsidecar.dynamodb.v1.batch_pb2 import PutRequest
from awsidecar_server.dynamodb.batches.entries import Entry
from awsidecar_server.dynamodb.batches.ordering import InTurn, Together
from awsidecar_server.dynamodb.batches.plan import Plan

LIMIT = 15_900_000


def entry(index: int, key: str, *, table: str = "T", size: int = 100, tokens: bool = True) -> Entry:
    message = PutRequest(item=attributes(pk=key))
    return Entry(index, table, message, size, key, ((table, key),) if tokens else ())


def taken(plan: Plan, now: float = 0.0) -> list[int]:
    """The numbers of the next batch."""
    batch = plan.take(now)
    return [] if batch is None else [one.index for one in batch[1]]


def test_two_reads_of_one_item_are_never_in_one_batch() -> None:
    plan = Plan(Together(), 100, 9)
    plan.add(entry(0, "a", tokens=False))
    batch = plan.take(0.0)
    assert batch is not None
    plan.add(entry(1, "a", tokens=False))  # the first is under way, so this one is fetched for itself
    plan.put_back(batch[1][0])
    assert taken(plan) == [0]
    assert taken(plan) == [1]


def test_a_batch_that_is_not_full_waits_while_two_are_under_way() -> None:
    plan = Plan(InTurn(), 3, 2)
    for number in range(2):
        plan.add(entry(number, str(number)))
        assert taken(plan) == [number]
    plan.add(entry(2, "2"))
    assert taken(plan) == []
    plan.add(entry(3, "3"))
    plan.add(entry(4, "4"))
    assert taken(plan) == [2, 3, 4]


def test_the_table_that_has_waited_longest_comes_first_unless_it_pauses() -> None:
    plan = Plan(InTurn(), 25, 9)
    plan.add(entry(0, "a", table="A"))
    plan.add(entry(1, "b", table="B"))
    plan.tables["A"].resumes_at = 5.0
    assert plan.resumes_at(0.0) == 5.0
    assert taken(plan) == [1]
    assert taken(plan) == []
    assert taken(plan, 5.0) == [0]


def test_what_is_known_of_tables_and_their_names_is_bounded() -> None:
    plan = Plan(InTurn(), 25, 9)
    arns = [f"arn:aws:dynamodb:eu-central-1:{account:012d}:table/{name}" for name in "AB" for account in (1, 2)]
    for number, table in enumerate([*(f"T{number}" for number in range(300)), "A", *arns]):
        plan.add(entry(number, "a", table=table))
    batches = [batch for batch in (plan.take(0.0) for _ in range(305)) if batch is not None]
    assert repr(plan) == "<Plan of 305 entries, 305 tables, 302 names>"
    for _, (one,) in reversed(batches):
        plan.finish(one)
    assert repr(plan) == "<Plan of 0 entries, 256 tables, 256 names>"


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 2 * LIMIT // 3)), max_size=80), st.data())
def test_batches_keep_all_limits_and_writes_to_one_item_their_order(
    writes: list[tuple[int, int]], data: st.DataObject
) -> None:
    plan, under_way, finished = Plan(InTurn(), 25, 4), [], []
    for number, (key, size) in enumerate(writes):
        plan.add(entry(number, str(key), size=size))
    while len(plan):
        batch = plan.take(0.0)
        if batch is not None:
            table, entries = batch
            assert len(entries) == 1 or sum(one.size for one in entries) <= LIMIT
            assert len(entries) <= 25
            under_way += entries
            keys = [one.identity for one in under_way]
            assert len(set(keys)) == len(keys)
            table.in_flight -= 1
            continue
        one = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
        if data.draw(st.booleans()):
            plan.put_back(one)
        else:
            plan.finish(one)
            finished.append(one)
    assert sorted(one.index for one in finished) == list(range(len(writes)))
    for key in {key for key, _ in writes}:
        numbers = [one.index for one in finished if one.identity == str(key)]
        assert numbers == sorted(numbers)
