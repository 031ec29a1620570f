"""Whatever happens to stream, lists, iterators and connections: nothing is missed, and each item's order is kept."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.unit import virtual_time
from tests.unit.dynamodb.changes.fakes import FakeStreams, rejected
from tests.unit.dynamodb.changes.watching import Service, Watching, changed

from awsidecar_server.errors import AwsUnreachable

KEYS = "abcdef"
# Well within what the lineage's gaps are borne.
LAG_SECONDS = 20
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(KEYS), st.integers(1, 5)),
        st.tuples(st.just("close"), st.sampled_from(KEYS), st.booleans(), st.booleans()),
        st.tuples(st.just("reconnect"), st.integers(0, 4)),
        st.tuples(st.just("pass"), st.sampled_from([0.1, 1, 15, 400, 1500])),
        st.tuples(st.just("take"), st.integers(1, 3)),
        st.tuples(st.just("expire")),
        st.tuples(st.just("fail"), st.sampled_from(["GetRecords", "GetShardIterator", "DescribeStream"])),
    ),
    max_size=40,
)


@dataclass
class Table:
    """Writes to the shards as a table does: each key to the newest shard of its line."""

    streams: FakeStreams
    written: Counter[str] = field(default_factory=Counter)
    shards: dict[str, str] = field(default_factory=dict)

    def write(self, key: str, times: int) -> None:
        for _ in range(times):
            self.written[key] += 1
            self.streams.write(self.shards[key], key, self.written[key])

    def close(self, key: str, *, splits: bool, lags: bool) -> None:
        parent = self.shards[key]
        ours = [one for one in KEYS if self.shards[one] == parent]
        parts = [ours[: len(ours) // 2], ours[len(ours) // 2 :]] if splits else [ours]
        self.streams.close(parent)
        for part in filter(None, parts):
            child = f"shard-{len(self.streams.shards)}"
            shard = self.streams.add(child, parent, is_listed=not lags)
            self.shards.update(dict.fromkeys(part, child))
            asyncio.get_running_loop().call_later(LAG_SECONDS, partial(setattr, shard, "is_listed", True))


@dataclass
class Client:
    """Checks what comes, and comes back with a checkpoint that it got."""

    service: Service
    request: dict[str, Any]
    seen: Counter[str] = field(default_factory=Counter)
    checkpoints: list[str] = field(default_factory=list)
    opened: AsyncExitStack = field(default_factory=AsyncExitStack)
    watching: Watching | None = None
    checked: int = 0
    here: dict[str, int] = field(default_factory=dict)

    async def connect(self, back: int = 0) -> None:
        """Connects again, as if the last messages had not arrived."""
        self.check()
        await self.opened.aclose()
        if self.checkpoints:
            self.request = {"checkpoint": self.checkpoints[max(0, len(self.checkpoints) - 1 - back)]}
        self.watching = await self.opened.enter_async_context(
            self.service.watch(heartbeat=5, max_records=3, **self.request)
        )
        self.checked, self.here = 0, {}

    def check(self) -> None:
        """No change is skipped, and within a connection none comes twice."""
        messages = self.watching.messages[self.checked :] if self.watching else []
        self.checked += len(messages)
        for message in messages:
            self.checkpoints.append(message.checkpoint)
            for key, value in (change.split("/") for change in changed(message)):
                number = int(value)
                assert number <= self.seen[key] + 1, "a change was skipped"
                assert number == self.here.get(key, number - 1) + 1, "a change came out of order"
                self.here[key] = number
                self.seen[key] = max(self.seen[key], number)


@given(STEPS, st.sampled_from(["LATEST", "TRIM_HORIZON"]), st.integers(1, 4), st.booleans())
def test_every_change_comes_in_the_order_of_its_item(
    steps: list[tuple[Any, ...]], position: str, page: int, knows_timestamps: bool
) -> None:
    async def play() -> None:
        streams = FakeStreams(page=page, knows_timestamps=knows_timestamps)
        streams.add("root")
        table = Table(streams, shards=dict.fromkeys(KEYS, "root"))
        client = Client(Service.on(streams), {"position": position})
        await client.connect()
        for step in steps:
            await _take(step, table, client)
        streams.failures.clear()
        async with asyncio.timeout(3600):
            while client.seen != table.written:
                assert client.watching is not None
                await client.watching.next()
                client.check()
        await client.opened.aclose()

    virtual_time.run(play())


async def _take(step: tuple[Any, ...], table: Table, client: Client) -> None:
    assert client.watching is not None
    match step:
        case "write", key, times:
            table.write(key, times)
        case "close", key, splits, lags:
            table.close(key, splits=splits, lags=lags)
        case "reconnect", back:
            table.streams.failures.clear()
            await client.connect(back)
        case "pass", seconds:
            await asyncio.sleep(seconds)
        case "take", count:
            for _ in range(count):
                await client.watching.next()
        case ("expire",):
            table.streams.expire_iterators()
        case "fail", operation:
            table.streams.fail(operation, partial(AwsUnreachable, "lost", cause="connection_lost"))
            table.streams.fail(operation, partial(rejected, "InternalServerError", status=500))
