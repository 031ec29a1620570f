"""Streams of writes to tables of like names, some of which hang, refuse or throttle: order, and who waits for whom."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit import virtual_time
from tests.unit.dynamodb.batch_writing import kinds, stream_of
from tests.unit.dynamodb.fake_batches import FakeDynamoDb, lost, put, refusal

from awsidecar.dynamodb.v1.batch_pb2 import BatchWriteItemRequest, BatchWriteItemResponse
from awsidecar.dynamodb.v1.batch_streams_pb2 import BatchWriteStreamRequest
from awsidecar_server.dynamodb.batches import plan
from awsidecar_server.dynamodb.batches.entries import Outcome
from awsidecar_server.dynamodb.batches.timing import LoopTiming
from awsidecar_server.dynamodb.key_values import key_of

ARNS = [f"arn:aws:dynamodb:{place}:table/T" for place in ("eu-central-1:1", "eu-central-1:2", "us-east-1:1")]
NAMES = ["T", *ARNS, "U"]


@dataclass(frozen=True)
class Name:
    """How AWS behaves towards a table that is called by one of its names."""

    # What becomes of each question for its key, one after the other; the last one goes on. A number: told so late.
    key: list[float | str] = field(default_factory=lambda: [0.0])
    # Batches that are throttled before the first one is not; and how many are lost after they were written, then.
    throttled: int = 0
    lost: int = 0

    @property
    def is_healthy(self) -> bool:
        return not self.throttled and not self.lost and all(one in {0.0, "denied"} for one in self.key)


class Likenesses(FakeDynamoDb):
    """Tables of which some have two names."""

    def __init__(self, names: dict[str, Name], truth: str | None, keys: dict[str, tuple[str, ...]]) -> None:
        """`truth` is the ARN of the table that is called `T`, if it is one of the stream's."""
        super().__init__({name: keys[self.table_of(name, truth)] for name in names})
        self.names = names
        self.truth = truth
        self.asked: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.writing: Counter[object] = Counter()
        # The values that each item has had, in their order.
        self.values: dict[object, list[int]] = {}
        self.pause_describing = self._describe
        self.before, self.after = self._throttle, self._lose

    @staticmethod
    def table_of(name: str, truth: str | None) -> str:
        return truth or name if name == "T" else name

    async def _describe(self, table: str) -> None:
        answers = self.names[table].key
        answer = answers[min(self.asked[table], len(answers) - 1)]
        self.asked[table] += 1
        if isinstance(answer, str):
            raise refusal("DescribeTable", "AccessDeniedException")
        await asyncio.sleep(answer)

    def _throttle(self, table: str, number: int) -> None:
        self.sent[table] += 1
        if self.sent[table] <= self.names[table].throttled:
            raise refusal("BatchWriteItem", "ProvisionedThroughputExceededException")

    def _lose(self, table: str, number: int) -> None:
        if self.sent[table] <= self.names[table].throttled + self.names[table].lost:
            raise lost()

    async def _written(self, request: BatchWriteItemRequest) -> BatchWriteItemResponse:
        ((name, listed),) = request.request_items.items()
        table = self.table_of(name, self.truth)
        puts = [one.put_request.item for one in listed.requests]
        items = [(table, key_of(item, self.keys[name])) for item in puts]
        self.writing.update(items)
        assert all(self.writing[item] == 1 for item in items), "two writes of one item in flight"
        written_before = {item: len(self.history.get((name, item[1]), ())) for item in items}
        try:
            return await super()._written(request)
        finally:
            self.writing.subtract(items)
            for item, attributes in zip(items, puts, strict=True):
                if len(self.history.get((name, item[1]), ())) > written_before[item]:
                    self.values.setdefault(item, []).append(int(attributes["v"].n))


BEHAVIOURS = st.one_of(
    st.just(Name()),
    st.just(Name(["denied"])),
    st.builds(
        Name,
        st.lists(st.sampled_from([0.0, "denied", 3.0, 100.0]), min_size=1, max_size=3),
        st.sampled_from([0, 0, 1, 5]),
        st.sampled_from([0, 0, 1]),
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    names=st.fixed_dictionaries(dict.fromkeys(NAMES, BEHAVIOURS)),
    truth=st.sampled_from([None, *ARNS]),
    keys=st.fixed_dictionaries({name: st.sampled_from([("pk",), ("id",), ("id", "pk")]) for name in NAMES}),
    writes=st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 2), st.integers(0, 2)), max_size=60),
    size=st.integers(1, 40),
    pause=st.sampled_from([0.0, 0.0, 0.3, 5.0]),
    latency=st.sampled_from([0.0, 0.0, 3.0]),
    most=st.sampled_from([2, 400]),
)
def test_names_of_one_table_keep_the_order_of_each_item_and_hold_up_no_other_table(
    names: dict[str, Name],
    truth: str | None,
    keys: dict[str, tuple[str, ...]],
    writes: list[tuple[str, int, int]],
    size: int,
    pause: float,
    latency: float,
    most: int,
) -> None:
    """A stream in which everybody waits for what will not happen fails in the loop. `most` come in without their key."""
    aws = Likenesses(names, truth, keys)
    aws.pause = lambda table: asyncio.sleep(latency)
    asked = [put(name, pk=pk, id=id_, v=number) for number, (name, pk, id_) in enumerate(writes)]
    at: dict[int, float] = {}
    begun: dict[int, float] = {}

    async def play() -> list[Outcome]:
        time = asyncio.get_running_loop().time

        async def requests() -> AsyncIterator[Message]:
            for number in range(0, len(asked), size):
                begun.update(dict.fromkeys(range(number, number + size), time()))
                yield BatchWriteStreamRequest(writes=asked[number : number + size])
                await asyncio.sleep(pause)

        outcomes: list[Outcome] = []
        async for report in stream_of(aws, LoopTiming()).reports(requests()):
            outcomes += report.outcomes
            at.update((outcome.index, time()) for outcome in report.outcomes)
        return outcomes

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "_MOST_WITHOUT_KEY", most)
        assert kinds(virtual_time.run(play())) == ["done"] * len(writes)
    for values in aws.values.values():
        assert values == sorted(values)
    for number, (name, _, _) in enumerate(writes):
        if not latency and all(names[other].is_healthy for other in _that_may_matter(name, writes)):
            assert at[number] == begun[number], "held up by another table"


def _that_may_matter(name: str, writes: list[tuple[str, int, int]]) -> set[str]:
    """The names for whose writes those under this one may have to wait."""
    return {"T", *ARNS} if name != "U" and "T" in {used for used, _, _ in writes} else {name}
