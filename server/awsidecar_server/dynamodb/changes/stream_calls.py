"""The calls to AWS that read one stream, as one caller; each has a time limit of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from awsidecar.dynamodb.v1 import streams_pb2 as pb
from awsidecar_server.aws.retries import THROTTLING
from awsidecar_server.dynamodb.changes.lineage import MOST_SHARDS, ListedShard
from awsidecar_server.errors import AwsRejected, AwsUnreachable, Draining, LimitReached, Unavailable
from awsidecar_server.identity.credentials import Caller
from awsidecar_server.operations import Scope

MessageT = TypeVar("MessageT", bound=Message)

# A call is shared by watches with different deadlines, or none. AWS answers in milliseconds; this has room for retries.
_CALL_SECONDS = 30.0
# Of a hundred shards each, as AWS has them.
_MOST_PAGES = MOST_SHARDS // 100
# Shards that are asked about at once.
_AT_ONCE = 8


class Performer(Protocol):
    """Performs AWS's operations; see `operations.Operations`."""

    async def call(self, name: str, message: Message, scope: Scope, response_class: type[MessageT]) -> MessageT:
        """Performs an operation and reads its answer."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A stream as AWS describes it."""

    # One of `ENABLING`, `ENABLED`, `DISABLING`, `DISABLED`.
    status: str
    label: str
    shards: Collection[ListedShard]
    # When it was asked for, on the event loop's clock.
    asked_at: float


class StreamCalls:
    """Reads one stream, signed as one caller. Errors are those of `awsidecar_server.errors`."""

    def __init__(self, operations: Performer, caller: Caller, region: str, stream_arn: str) -> None:
        self._operations = operations
        self._caller = caller
        self._region = region
        self._stream_arn = stream_arn

    async def listing(self) -> Listing:
        """All shards of the stream, in as many calls as it takes."""
        asked_at = asyncio.get_running_loop().time()
        shards: dict[str, ListedShard] = {}
        request = pb.DescribeStreamRequest(stream_arn=self._stream_arn)
        for _ in range(_MOST_PAGES):
            answer = await self._call("DescribeStream", request, pb.DescribeStreamResponse)
            found = answer.stream_description
            shards.update((shard.shard_id, _listed(shard)) for shard in found.shards)
            if not found.last_evaluated_shard_id:
                return Listing(found.stream_status, found.stream_label, shards.values(), asked_at)
            request.exclusive_start_shard_id = found.last_evaluated_shard_id
        raise LimitReached("the stream has too many shards", reason="OVERLOADED", limit=str(MOST_SHARDS))

    async def iterator(
        self, shard_id: str, kind: str, *, sequence_number: str | None = None, moment: int | None = None
    ) -> str:
        """A place to read from. `kind` is AWS's `ShardIteratorType`; `moment` is in milliseconds since 1970."""
        request = pb.GetShardIteratorRequest(
            stream_arn=self._stream_arn,
            shard_id=shard_id,
            shard_iterator_type=kind,
            sequence_number=sequence_number,
        )
        if moment is not None:
            request.timestamp.FromDatetime(datetime.fromtimestamp(moment / 1000, UTC))
        return (await self._call("GetShardIterator", request, pb.GetShardIteratorResponse)).shard_iterator

    async def records(self, iterator: str) -> pb.GetRecordsResponse:
        """The next records from there, as many as AWS gives at once."""
        return await self._call("GetRecords", pb.GetRecordsRequest(shard_iterator=iterator), pb.GetRecordsResponse)

    async def _call(self, name: str, request: Message, response_class: type[MessageT]) -> MessageT:
        deadline = asyncio.get_running_loop().time() + _CALL_SECONDS
        scope = Scope(self._caller, self._region, deadline)
        try:
            async with asyncio.timeout_at(deadline):
                return await self._operations.call(name, request, scope, response_class)
        except TimeoutError as late:
            raise AwsUnreachable("AWS gave no answer in time", cause="timeout") from late


async def few_at_once(work: Callable[[str], Awaitable[None]], shard_ids: Iterable[str]) -> None:
    """Does it for all shards, some at a time; a failure ends it."""
    waiting = list(shard_ids)

    async def do() -> None:
        while waiting:
            try:
                await work(waiting.pop())
            except BaseException:
                waiting.clear()
                raise

    ended = await asyncio.gather(*(do() for _ in range(_AT_ONCE)), return_exceptions=True)
    failed = next((one for one in ended if one is not None), None)
    if failed is not None:
        raise failed


def is_passing(failure: Exception) -> bool:
    """Whether the same call may succeed later, and nobody must act for it."""
    if isinstance(failure, AwsRejected):
        return failure.http_status >= 500 or failure.code in THROTTLING
    return isinstance(failure, Unavailable) and not isinstance(failure, Draining)


def _listed(shard: pb.Shard) -> ListedShard:
    numbers = shard.sequence_number_range
    return ListedShard(
        shard.shard_id,
        shard.parent_shard_id or None,
        numbers.starting_sequence_number or None,
        is_open=not numbers.ending_sequence_number,
    )
