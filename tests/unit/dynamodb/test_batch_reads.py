from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from itertools import count
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.dynamodb.fake_batches import (
    CONNECTIONS,
    SCOPE,
    FakeDynamoDb,
    FakeTiming,
    attributes,
    get,
    lost,
    refusal,
    requests_of,
    told,
)

from awsidecar.dynamodb.v1.batch_pb2 import BatchGetItemRequest, BatchGetItemResponse, KeysAndAttributes
from awsidecar.dynamodb.v1.batch_streams_pb2 import BatchGetStreamRequest, StreamedGet
from awsidecar_server.dynamodb.batches import stream as stream_module
from awsidecar_server.dynamodb.batches.entries import Outcome
from awsidecar_server.dynamodb.batches.reads import Reads
from awsidecar_server.dynamodb.batches.stream import BatchStream
from awsidecar_server.dynamodb.batches.work import Means
from awsidecar_server.dynamodb.key_values import key_of
from awsidecar_server.dynamodb.table_keys import TableKeys
from awsidecar_server.errors import AwsRejected, AwsUnreachable, InvalidRequest
from awsidecar_server.operations import Scope


def aws_with(count: int, **more: str) -> FakeDynamoDb:
    """A table `T` with items `0` and so on."""
    aws = FakeDynamoDb()
    for number in range(count):
        item = attributes(pk=str(number), v=number, **more)
        aws.tables["T"][key_of(item, ("pk",))] = item
    return aws


def stream_of(aws: FakeDynamoDb, deadline: float | None = None) -> BatchStream:
    scope = Scope(SCOPE.caller, SCOPE.region, deadline)
    return BatchStream(Reads(Means(aws, TableKeys(aws, CONNECTIONS)), scope), scope, FakeTiming())


async def outcomes_of(
    aws: FakeDynamoDb, gets: Iterable[StreamedGet], *, deadline: float | None = None, **options: Any
) -> list[Outcome]:
    return (await told(stream_of(aws, deadline), requests_of(gets, **options)))[0]


def by_index(outcomes: list[Outcome]) -> list[Outcome]:
    assert sorted(outcome.index for outcome in outcomes) == list(range(len(outcomes)))
    return sorted(outcomes, key=lambda one: one.index)


def values(outcomes: list[Outcome]) -> list[str]:
    """The value of each item, or the kind of what came instead, in the order of the stream."""
    results = (outcome.result for outcome in by_index(outcomes))
    return [one.kind if one.item is None else one.item.attributes["v"].n for one in results]


async def test_any_number_is_read_in_batches_of_100() -> None:
    aws = aws_with(250)
    gets = [get(pk=str(number)) for number in range(255)]
    outcomes, _ = await told(stream_of(aws), requests_of(gets, 255))
    assert values(outcomes) == [*map(str, range(250)), *["not_found"] * 5]
    assert sorted(aws.sizes) == [55, 100, 100]
    assert not aws.counts["DescribeTable"]


async def test_one_item_that_is_asked_for_twice_is_fetched_once_and_answered_twice() -> None:
    aws = aws_with(1)
    outcomes = await outcomes_of(aws, [get(pk="0"), get(pk="1"), get(pk="0"), get(pk="1")])
    assert values(outcomes) == ["0", "not_found", "0", "not_found"]
    assert aws.sizes == [2]


async def test_a_key_that_nests_deeper_than_protobuf_reads_is_for_aws_to_refuse() -> None:
    request = BatchGetStreamRequest(gets=[get(pk="deep")])
    value = request.gets[0].key["more"]
    for _ in range(40):
        value = value.m.entries["a"]

    async def requests() -> AsyncIterator[Message]:
        yield request

    outcomes, _ = await told(stream_of(aws_with(1)), requests())
    assert values(outcomes) == ["not_found"]


async def test_a_read_that_comes_while_another_of_its_item_is_under_way_is_fetched_anew() -> None:
    aws = aws_with(1)
    asked, go_on = asyncio.Event(), asyncio.Event()

    reads = count(1)

    def change(table: str, number: int) -> None:
        aws.tables["T"][key_of(attributes(pk="0"), ("pk",))]["v"].n = str(next(reads))

    aws.before = change

    async def pause(table: str) -> None:
        asked.set()
        await go_on.wait()

    aws.pause = pause

    async def requests() -> AsyncIterator[Message]:
        yield BatchGetStreamRequest(gets=[get(pk="0")])
        await asked.wait()
        yield BatchGetStreamRequest(gets=[get(pk="0")])
        go_on.set()

    outcomes, _ = await told(stream_of(aws), requests())
    assert sorted(values(outcomes)) == ["1", "2"]


async def test_unprocessed_keys_are_asked_for_again_and_never_called_missing() -> None:
    aws = aws_with(300)
    aws.unprocessed = lambda size: size * 2 // 3
    assert values(await outcomes_of(aws, (get(pk=str(number)) for number in range(300)))) == [*map(str, range(300))]


async def test_an_item_is_known_by_its_key_though_the_projection_leaves_it_out() -> None:
    aws = aws_with(3, secret="x")
    how = KeysAndAttributes(projection_expression="#v, v2", expression_attribute_names={"#v": "v"})
    outcomes = by_index(await outcomes_of(aws, [get(pk=str(n)) for n in (2, 0, 1)], tables={"T": how}))
    items = [outcome.result.item for outcome in outcomes]
    assert [sorted(item.attributes) for item in items if item is not None] == [["v"]] * 3
    assert values(outcomes) == ["2", "0", "1"]


async def test_an_item_that_is_asked_for_alone_is_known_without_its_key() -> None:
    aws = aws_with(1)
    how = KeysAndAttributes(projection_expression="v")
    (found,) = await outcomes_of(aws, [get(pk="0")], tables={"T": how})
    assert found.result.item is not None
    assert sorted(found.result.item.attributes) == ["v"]
    assert values(await outcomes_of(aws, [get(pk="1")], tables={"T": how})) == ["not_found"]


async def test_what_aws_says_of_a_projection_is_about_what_the_caller_wrote() -> None:
    """AWS quotes it: `Syntax error; token: "b", near: "a b"`."""

    class Quoting(FakeDynamoDb):
        async def answer(self, name: str, message: Message) -> Message:
            assert isinstance(message, BatchGetItemRequest)
            asked = message.request_items["T"]
            raise refusal(name, "ValidationException", f"{asked.projection_expression} {asked.attributes_to_get}")

    gets = [get(pk=str(number)) for number in range(3)]
    for how, quoted in (
        (KeysAndAttributes(projection_expression="a b"), "a b []"),
        (KeysAndAttributes(attributes_to_get=["a", "a"]), " ['a', 'a']"),
    ):
        outcomes = await outcomes_of(Quoting(), gets, tables={"T": how})
        failures = [outcome.result.failure for outcome in outcomes]
        assert [one.message for one in failures if isinstance(one, AwsRejected)] == [quoted] * 3


async def test_a_key_that_aws_refuses_fails_alone() -> None:
    aws = aws_with(100)
    gets = [get(pk=str(number)) for number in range(100)]
    gets[40] = get(other="40")
    found = values(await outcomes_of(aws, gets))
    assert found == [str(number) if number != 40 else "failure" for number in range(100)]


async def test_what_names_no_key_fails_alone_and_is_not_sent() -> None:
    outcomes = by_index(await outcomes_of(aws_with(1), [StreamedGet(table_name="T"), get(pk="0"), get("", pk="0")]))
    failures = [outcome.result.failure for outcome in outcomes]
    fields = [failure.violations[0].field for failure in failures if isinstance(failure, InvalidRequest)]
    assert fields == ["gets[0].key", "gets[2].table_name"]


async def test_keys_in_the_options_are_refused() -> None:
    how = KeysAndAttributes()
    how.keys.add()
    with pytest.raises(InvalidRequest, match="in gets"):
        await outcomes_of(aws_with(1), [get(pk="0")], tables={"T": how})


async def test_an_answer_with_a_stranger_in_it_calls_nothing_missing() -> None:
    aws = aws_with(1)

    async def answer(name: str, message: Message) -> Message:
        response = BatchGetItemResponse()
        item = response.responses["T"].items.add()
        item.attributes["pk"].s = "stranger"
        return response

    aws.answer = answer  # type: ignore[method-assign]
    (outcome,) = await outcomes_of(aws, [get(pk="0")])
    assert isinstance(outcome.result.failure, AwsUnreachable)


async def test_what_was_read_and_not_answered_in_time_is_not_ambiguous() -> None:
    aws = aws_with(1)
    aws.pause = lambda table: asyncio.Event().wait()
    (outcome,) = await outcomes_of(aws, [get(pk="0")], deadline=2.0)
    assert (outcome.result.kind, outcome.result.is_ambiguous) == ("failure", False)


async def test_no_more_is_fetched_than_the_caller_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_MOST_HELD_BYTES", 100_000)
    aws = aws_with(3000, text="x" * 1000)
    gets = [get(pk=str(number)) for number in range(3000)]
    async with aclosing(stream_of(aws).reports(requests_of(gets, 3000))) as reports:
        await anext(reports)
        before = aws.counts["BatchGetItem"]
        for _ in range(1000):
            await asyncio.sleep(0)
        assert aws.counts["BatchGetItem"] - before <= 4
        outcomes = [outcome async for report in reports for outcome in report.outcomes]
    assert len(outcomes) > 2000


async def test_in_order_no_more_is_held_than_may_be_while_the_first_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first table is throttled on and on, while the other would fill the memory."""
    monkeypatch.setattr(stream_module, "_MOST_HELD_BYTES", 50_000)
    aws = aws_with(2000, text="x" * 1000)
    aws.keys["Busy"], aws.tables["Busy"] = ("pk",), {}
    refusals = 5
    read_meanwhile: list[int] = []

    def throttle(table: str, number: int) -> None:
        nonlocal refusals
        if table == "Busy" and refusals:
            refusals -= 1
            read_meanwhile.append(number)
            raise refusal("BatchGetItem", "ThrottlingException")

    aws.before = throttle
    gets = [get("Busy", pk="first"), *(get(pk=str(number)) for number in range(2000))]
    outcomes, _ = await told(stream_of(aws), requests_of(gets, len(gets), in_order=True))
    assert [outcome.index for outcome in outcomes] == list(range(2001))
    assert values(outcomes) == ["not_found", *map(str, range(2000))]
    assert max(read_meanwhile) < 5 + 8


async def test_at_the_deadline_each_of_two_reads_of_one_item_is_told_of() -> None:
    aws = aws_with(1)
    aws.pause = lambda table: asyncio.Event().wait()
    assert values(await outcomes_of(aws, [get(pk="0"), get(pk="0")], deadline=2.0)) == ["failure"] * 2


@settings(max_examples=50, deadline=None)
@given(
    keys=st.lists(st.tuples(st.sampled_from(["A", "B"]), st.integers(0, 30)), max_size=150),
    seed=st.integers(0, 1 << 20),
    size=st.integers(1, 60),
    in_order=st.booleans(),
)
async def test_whatever_aws_does_each_read_is_answered_once_and_rightly(
    keys: list[tuple[str, int]], seed: int, size: int, in_order: bool
) -> None:
    aws, chance = FakeDynamoDb({"A": ("pk",), "B": ("pk",)}), random.Random(seed)
    for number in range(20):
        item = attributes(pk=str(number), v=number)
        aws.tables["A"][key_of(item, ("pk",))] = item

    def fail(table: str, number: int) -> None:
        drawn = chance.random()
        if drawn < 0.15:
            raise refusal("BatchGetItem", "ThrottlingException")
        if drawn < 0.2:
            raise lost()

    aws.before = fail
    aws.unprocessed = lambda size: chance.choice([0, 0, chance.randint(0, size)])
    gets = [get(table, pk=str(key)) for table, key in keys]
    options = {"in_order": True} if in_order else {}
    requests = requests_of(gets, size, **options) if gets else _nothing()
    outcomes, _ = await told(stream_of(aws), requests)
    if in_order:
        assert [outcome.index for outcome in outcomes] == list(range(len(keys)))
    assert len(outcomes) == len(keys)
    for (table, key), value in zip(keys, values(outcomes), strict=True):
        assert not aws.counts["duplicates"]
        right = str(key) if table == "A" and key < 20 else "not_found"
        assert value in {right, "failure"}


async def _nothing() -> AsyncIterator[Message]:
    for nothing in list[Message]():
        yield nothing


async def test_one_read_answers_no_read_of_the_same_key_in_a_table_of_another_account() -> None:
    names = ["T", *(f"arn:aws:dynamodb:eu-central-1:{number:012}:table/T" for number in range(2))]
    aws = FakeDynamoDb(dict.fromkeys(names, ("pk",)))
    for number, name in enumerate(names):
        aws.tables[name][(("pk", ("s", "1")),)] = attributes(pk="1", v=number)
    gets = [get(name, pk="1") for name in names * 2]
    outcomes = await outcomes_of(aws, gets, in_order=True)
    assert [outcome.result.item.attributes["v"].n for outcome in outcomes if outcome.result.item] == list("012012")
    assert aws.counts["BatchGetItem"] == 3
