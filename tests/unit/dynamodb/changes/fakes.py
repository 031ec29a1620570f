"""DynamoDB Streams in memory: shards that split and close, lists that lag, iterators that expire, records that go."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from google.protobuf.message import Message
from tests.unit import virtual_time

from awsidecar.dynamodb.v1 import streams_pb2, tables_pb2
from awsidecar_server.errors import AwsRejected
from awsidecar_server.identity.credentials import Caller
from awsidecar_server.operations import Scope

MessageT = TypeVar("MessageT", bound=Message)

ITERATOR_SECONDS = 15 * 60
STREAM = "arn:aws:dynamodb:us-east-1:123456789012:table/users/stream/2026-03-01T12:00:00.000"


def rejected(code: str, operation: str = "", status: int = 400) -> AwsRejected:
    return AwsRejected("dynamodbstreams", operation, code, code, http_status=status)


@dataclass
class FakeShard:
    shard_id: str
    parent_id: str | None
    first: str | None
    records: list[streams_pb2.Record] = field(default_factory=list)
    is_closed: bool = False
    # How many of the records are gone.
    trimmed: int = 0
    is_listed: bool = True
    # Whether the list says that it is closed, when it is.
    shows_end: bool = True


class FakeStreams:
    """Performs the four operations, and DescribeTable, on one stream. Time is that of the running loop."""

    def __init__(self, *, page: int = 1000, knows_timestamps: bool = True, has_numbers: bool = True) -> None:
        self.shards: dict[str, FakeShard] = {}
        # Those that are listed, and that it keeps no longer.
        self.gone: set[str] = set()
        self.status = "ENABLED"
        self.has_table = True
        self.newest_arn = STREAM
        self.stream_enabled = True
        self.page = page
        self.list_page = 100
        self.knows_timestamps = knows_timestamps
        self.has_numbers = has_numbers
        self.calls: Counter[str] = Counter()
        self.callers: Counter[Caller] = Counter()
        # Calls that are on their way, and the most that ever were at once.
        self.under_way = self.most_at_once = 0
        # What the next calls of an operation fail with.
        self.failures: dict[str, deque[Exception]] = {}
        # Shards by the times of their GetRecords.
        self.read_at: dict[str, list[float]] = {}
        self.latency = 0.01
        self._number = 0
        self._expired_before = 0.0

    def add(self, shard_id: str, parent_id: str | None = None, *, is_listed: bool = True) -> FakeShard:
        first = self._next_number() if self.has_numbers else None
        shard = self.shards[shard_id] = FakeShard(shard_id, parent_id, first, is_listed=is_listed)
        return shard

    def write(self, shard_id: str, key: str, value: int = 0) -> str:
        """One change of the item; gives its sequence number."""
        shard = self.shards[shard_id]
        assert not shard.is_closed
        record = streams_pb2.Record(event_id=f"{key}/{value}", event_name="MODIFY")
        record.dynamodb.sequence_number = self._next_number()
        record.dynamodb.keys.attributes["id"].s = key
        record.dynamodb.new_image.attributes["value"].n = str(value)
        record.dynamodb.approximate_creation_date_time.FromDatetime(virtual_time.now().replace(microsecond=0))
        shard.records.append(record)
        return record.dynamodb.sequence_number

    def close(self, shard_id: str, *children: str) -> None:
        self.shards[shard_id].is_closed = True
        for child in children:
            self.add(child, shard_id)

    def trim(self, shard_id: str, count: int) -> None:
        self.shards[shard_id].trimmed = count

    def expire_iterators(self) -> None:
        self._expired_before = asyncio.get_running_loop().time() + 1e-9

    def fail(self, operation: str, failure: Callable[[], Exception], times: int = 1) -> None:
        self.failures.setdefault(operation, deque()).extend(failure() for _ in range(times))

    async def call(self, name: str, message: Message, scope: Scope, response_class: type[MessageT]) -> MessageT:
        self.calls[name] += 1
        self.callers[scope.caller] += 1
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            await asyncio.sleep(self.latency)
        finally:
            self.under_way -= 1
        if self.failures.get(name):
            raise self.failures[name].popleft()
        operations: dict[str, Callable[[Any], Message]] = {
            "DescribeTable": self._describe_table,
            "DescribeStream": self._describe_stream,
            "GetShardIterator": self._get_shard_iterator,
            "GetRecords": self._get_records,
        }
        return cast(MessageT, operations[name](message))

    def _next_number(self) -> str:
        self._number += 1
        return f"{self._number:021d}"

    def _describe_table(self, request: tables_pb2.DescribeTableRequest) -> Message:
        if request.table_name != "users" or not self.has_table:
            raise rejected("ResourceNotFoundException")
        answer = tables_pb2.DescribeTableResponse()
        answer.table.table_name = request.table_name
        if self.newest_arn:
            answer.table.latest_stream_arn = self.newest_arn
            answer.table.stream_specification.stream_enabled = self.stream_enabled
        return answer

    def _describe_stream(self, request: streams_pb2.DescribeStreamRequest) -> Message:
        if request.stream_arn != STREAM:
            raise rejected("ResourceNotFoundException")
        listed = [shard for shard in self.shards.values() if shard.is_listed]
        names = [shard.shard_id for shard in listed]
        start = names.index(request.exclusive_start_shard_id) + 1 if request.exclusive_start_shard_id else 0
        answer = streams_pb2.DescribeStreamResponse()
        description = answer.stream_description
        description.stream_arn, description.stream_status, description.stream_label = STREAM, self.status, "label"
        for shard in listed[start : start + self.list_page]:
            entry = description.shards.add(shard_id=shard.shard_id)
            if shard.parent_id:
                entry.parent_shard_id = shard.parent_id
            if shard.first:
                entry.sequence_number_range.starting_sequence_number = shard.first
                if shard.is_closed and shard.shows_end:
                    entry.sequence_number_range.ending_sequence_number = shard.first
        if start + self.list_page < len(listed):
            description.last_evaluated_shard_id = description.shards[-1].shard_id
        return answer

    def _get_shard_iterator(self, request: streams_pb2.GetShardIteratorRequest) -> Message:
        shard = self.shards.get(request.shard_id)
        if shard is None or shard.shard_id in self.gone:
            raise rejected("ResourceNotFoundException")
        kind, number = request.shard_iterator_type, request.sequence_number
        numbers = [record.dynamodb.sequence_number for record in shard.records]
        if kind == "LATEST":
            index = len(numbers)
        elif kind == "TRIM_HORIZON":
            index = shard.trimmed
        elif kind == "AT_TIMESTAMP" and self.knows_timestamps:
            at = request.timestamp.ToMilliseconds()
            made = [one.dynamodb.approximate_creation_date_time.ToMilliseconds() for one in shard.records]
            index = max(shard.trimmed, sum(moment < at for moment in made))
        elif kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):
            is_after = kind == "AFTER_SEQUENCE_NUMBER"
            index = sum(one < number or (is_after and one == number) for one in numbers)
            if index < shard.trimmed:
                raise rejected("TrimmedDataAccessException")
        else:
            raise rejected("ValidationException")
        return streams_pb2.GetShardIteratorResponse(shard_iterator=self._iterator(shard.shard_id, index))

    def _get_records(self, request: streams_pb2.GetRecordsRequest) -> Message:
        shard_id, index_text, issued = request.shard_iterator.rsplit("|", 2)
        now = asyncio.get_running_loop().time()
        self.read_at.setdefault(shard_id, []).append(now)
        if now - float(issued) > ITERATOR_SECONDS or float(issued) < self._expired_before:
            raise rejected("ExpiredIteratorException")
        shard, index = self.shards[shard_id], int(index_text)
        if index < shard.trimmed:
            raise rejected("TrimmedDataAccessException")
        answer = streams_pb2.GetRecordsResponse(records=shard.records[index : index + self.page])
        index += len(answer.records)
        if not (shard.is_closed and index == len(shard.records)):
            answer.next_shard_iterator = self._iterator(shard_id, index)
        return answer

    def _iterator(self, shard_id: str, index: int) -> str:
        return f"{shard_id}|{index}|{asyncio.get_running_loop().time()}"
