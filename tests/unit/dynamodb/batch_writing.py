"""A stream of writes in memory, as a test drives it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from tests.unit.dynamodb.fake_batches import (
    CONNECTIONS,
    SCOPE,
    FakeDynamoDb,
    FakeTiming,
    requests_of,
    told,
)

from awsidecar.dynamodb.v1.batch_streams_pb2 import StreamedWrite
from awsidecar_server.dynamodb.batches.entries import Outcome
from awsidecar_server.dynamodb.batches.stream import BatchStream
from awsidecar_server.dynamodb.batches.timing import Timing
from awsidecar_server.dynamodb.batches.work import Means
from awsidecar_server.dynamodb.batches.writes import Writes
from awsidecar_server.dynamodb.table_keys import TableKeys
from awsidecar_server.operations import Scope


class SlowKey:
    """The key of a table named `slow` comes when a test wants it to."""

    def __init__(self, aws: FakeDynamoDb) -> None:
        self.asked, self.told = asyncio.Event(), asyncio.Event()
        aws.pause_describing = self._pause

    async def _pause(self, table: str) -> None:
        if table == "slow":
            self.asked.set()
            await self.told.wait()


def stream_of(aws: FakeDynamoDb, timing: Timing | None = None, deadline: float | None = None) -> BatchStream:
    scope = Scope(SCOPE.caller, SCOPE.region, deadline)
    return BatchStream(Writes(Means(aws, TableKeys(aws, CONNECTIONS)), scope), scope, timing or FakeTiming())


async def outcomes_of(
    aws: FakeDynamoDb, writes: Iterable[StreamedWrite], *, deadline: float | None = None, **options: Any
) -> list[Outcome]:
    return (await told(stream_of(aws, deadline=deadline), requests_of(writes, **options)))[0]


def kinds(outcomes: list[Outcome]) -> list[str]:
    """What became of each, in the order of the stream; each must be told of once."""
    assert sorted(outcome.index for outcome in outcomes) == list(range(len(outcomes)))
    return [outcome.result.kind for outcome in sorted(outcomes, key=lambda one: one.index)]


def failure_of(outcomes: list[Outcome], index: int) -> Any:
    (found,) = (outcome.result for outcome in outcomes if outcome.index == index)
    assert found.kind == "failure"
    return found.failure
