"""Tables whose keys are told late or never, to streams of writes that never pause."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

from tests.unit import virtual_time
from tests.unit.dynamodb.batch_writing import kinds
from tests.unit.dynamodb.fake_batches import CONNECTIONS, SCOPE, FakeDynamoDb, put, refusal, requests_of, told

from awsidecar.dynamodb.v1.batch_streams_pb2 import StreamedWrite
from awsidecar_server.dynamodb.batches.stream import BatchStream
from awsidecar_server.dynamodb.batches.timing import LoopTiming
from awsidecar_server.dynamodb.batches.work import Means
from awsidecar_server.dynamodb.batches.writes import Writes
from awsidecar_server.dynamodb.table_keys import TableKeys
from awsidecar_server.errors import AwsRejected


def loop_time() -> float:
    return asyncio.get_running_loop().time()


def failing() -> AwsRejected:
    """For a reason that passes."""
    return refusal("DescribeTable", "InternalServerError", status=500)


def denied() -> AwsRejected:
    return refusal("DescribeTable", "AccessDeniedException")


class Late(FakeDynamoDb):
    """Does not tell the key of `T` until a moment, and takes `seconds` for it then.

    A call takes 10 ms; notes when, of which table and with how many writes.
    """

    def __init__(
        self,
        told_at: float,
        *others: str,
        seconds: float = 0.0,
        why_not: Callable[[], AwsRejected] = failing,
    ) -> None:
        super().__init__(dict.fromkeys(("T", *others), ("pk",)))
        self._told_at = told_at
        self._seconds = seconds
        self._why_not = why_not
        self.calls: list[tuple[float, str, int]] = []
        self.pause_describing = self._describe
        self.pause = self._write
        self.before = self._note

    async def _describe(self, table: str) -> None:
        if table != "T":
            return
        if loop_time() < self._told_at:
            raise self._why_not()
        await asyncio.sleep(self._seconds)

    async def _write(self, table: str) -> None:
        await asyncio.sleep(0.005)

    def _note(self, table: str, number: int) -> None:
        self.calls.append((loop_time(), table, self.sizes[-1]))

    def longest_pause(self) -> float:
        return max(later - earlier for (earlier, *_), (later, *_) in pairwise(self.calls))

    def singles(self) -> list[float]:
        """When writes went alone."""
        return [at for at, _, size in self.calls if size == 1]


def alike(count: int, items: int = 10_000, table: str = "T") -> list[StreamedWrite]:
    """Writes that may be of one item as long as the key is not known."""
    return [put(table, pk=str(number % items), kind="user", v=number) for number in range(count)]


def done(aws: FakeDynamoDb, writes: list[StreamedWrite]) -> float:
    """Writes all; returns how long it took."""

    async def play() -> float:
        keys = TableKeys(aws, CONNECTIONS)
        stream = BatchStream(Writes(Means(aws, keys), SCOPE), SCOPE, LoopTiming())
        assert kinds((await told(stream, requests_of(writes)))[0]) == ["done"] * len(writes)
        ended_at = loop_time()
        await keys.aclose()
        assert len(asyncio.all_tasks()) == 1
        return ended_at

    return virtual_time.run(play())


def assert_in_order(aws: FakeDynamoDb) -> None:
    assert all([int(one) for one in values] == sorted(map(int, values)) for values in aws.history.values())
