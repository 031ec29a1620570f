"""Streams of writes while AWS fails in any way: each write is told of once, and truly."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.dynamodb.batch_writing import kinds, stream_of
from tests.unit.dynamodb.fake_batches import (
    FakeDynamoDb,
    delete,
    lost,
    put,
    refusal,
    requests_of,
    told,
)

from awsidecar_server.dynamodb.key_values import key_of


class Chaos:
    """Faults from a seed. What is lost after it was done is ambiguous; all else was not done."""

    def __init__(self, aws: FakeDynamoDb, seed: int) -> None:
        self._random = random.Random(seed)
        aws.before, aws.after = self.before, self.after
        aws.unprocessed = lambda size: self._random.choice([0, 0, self._random.randint(0, size)])
        aws.pause = aws.pause_describing = self.pause

    def before(self, table: str, number: int) -> None:
        chance = self._random.random()
        if chance < 0.15:
            raise refusal("BatchWriteItem", "ProvisionedThroughputExceededException")
        if chance < 0.25:
            raise refusal("BatchWriteItem", "InternalServerError", status=500)

    def after(self, table: str, number: int) -> None:
        if self._random.random() < 0.1:
            raise lost()

    async def pause(self, table: str) -> None:
        for _ in range(self._random.randint(0, 5)):
            await asyncio.sleep(0)


WRITES = st.lists(
    st.tuples(
        st.sampled_from(["A", "B"]), st.integers(0, 12), st.sampled_from(["put", "put", "put", "delete", "bad"])
    ),
    max_size=120,
)


@settings(max_examples=60, deadline=None)
@given(writes=WRITES, seed=st.integers(0, 1 << 20), described=st.booleans(), size=st.integers(1, 60))
async def test_whatever_aws_does_each_write_is_told_of_once_and_the_table_is_what_was_told(
    writes: list[tuple[str, int, str]], seed: int, described: bool, size: int
) -> None:
    aws = FakeDynamoDb({"A": ("pk",), "B": ("pk",)})
    aws.is_described = described
    Chaos(aws, seed)
    asked = [
        delete(table, pk=str(key))
        if kind == "delete"
        else put(table, pk=str(key), v=number, **({"bad": "x"} if kind == "bad" else {}))
        for number, (table, key, kind) in enumerate(writes)
    ]
    stream = stream_of(aws)
    outcomes, _ = await told(stream, requests_of(asked, size))
    found = kinds(outcomes)
    assert len(found) == len(writes)
    possible: dict[tuple[str, int], set[str]] = {}
    for outcome in sorted(outcomes, key=lambda one: one.index):
        table, key, kind = writes[outcome.index]
        value = "gone" if kind == "delete" else str(outcome.index)
        if outcome.result.kind == "done":
            assert kind != "bad"
            possible[table, key] = {value}
        elif outcome.result.is_ambiguous:
            possible.setdefault((table, key), {"gone"}).add(value)
    for (table, key), values in possible.items():
        names = key_of(put(pk=str(key)).put.item, ("pk",))
        item = aws.tables[table].get(names)
        assert ("gone" if item is None else item["v"].n) in values
    assert sum(map(len, aws.tables.values())) <= len(possible)
    assert not aws.counts["duplicates"]
    _assert_in_order(aws)


def _assert_in_order(aws: FakeDynamoDb) -> None:
    """Each item had its values in the order of the stream, some of them more than once in a row."""
    for values in aws.history.values():
        numbers = [int(value) for value in values if value != "gone"]
        assert numbers == sorted(numbers)
