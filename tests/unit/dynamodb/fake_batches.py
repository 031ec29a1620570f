"""A DynamoDB in memory that keeps AWS's limits for batches and misbehaves as it is told; and a clock for streams."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from google.protobuf.message import Message

from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue
from awsidecar.dynamodb.v1.batch_pb2 import (
    BatchGetItemRequest,
    BatchGetItemResponse,
    BatchWriteItemRequest,
    BatchWriteItemResponse,
    DeleteRequest,
    PutRequest,
    WriteRequest,
)
from awsidecar.dynamodb.v1.batch_streams_pb2 import (
    BatchGetStreamRequest,
    BatchWriteStreamRequest,
    StreamedGet,
    StreamedWrite,
)
from awsidecar.dynamodb.v1.tables_pb2 import DescribeTableRequest, DescribeTableResponse
from awsidecar_server.aws.idempotency import nature_of
from awsidecar_server.aws.progress import Progress
from awsidecar_server.aws.retries import Failure, Stage
from awsidecar_server.dynamodb.batches.entries import Outcome, Report
from awsidecar_server.dynamodb.batches.stream import BatchStream
from awsidecar_server.dynamodb.key_values import key_of
from awsidecar_server.errors import AwsRejected, AwsUnreachable
from awsidecar_server.identity.credentials import Credentials, ServiceAccountCaller, SessionCaller
from awsidecar_server.operations import Operation, Operations, Performed, Scope

SCOPE = Scope(ServiceAccountCaller(), "eu-central-1", None)
KEY = ("pk",)
# To AWS: so many that a single stream asks for no more keys at once than they let it.
CONNECTIONS = 1000
# How often the others run before nothing more is expected of them.
_TURNS = 200


def session(key: str) -> Scope:
    """That of a caller who is not `SCOPE`'s."""
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    return Scope(SessionCaller(Credentials(key, "secret", expires_at=moment), moment), SCOPE.region)


def attributes(**values: str | int | bytes | list[str]) -> dict[str, AttributeValue]:
    """`attributes(pk="1", n=2)`"""
    found = {}
    for name, value in values.items():
        one = found[name] = AttributeValue()
        if isinstance(value, str):
            one.s = value
        elif isinstance(value, int):
            one.n = str(value)
        elif isinstance(value, bytes):
            one.b = value
        else:
            one.ss.values.extend(value)
    return found


def put(table: str = "T", /, **values: str | int | bytes | list[str]) -> StreamedWrite:
    return StreamedWrite(table_name=table, put=PutRequest(item=attributes(**values)))


def delete(table: str = "T", /, **values: str | int | bytes | list[str]) -> StreamedWrite:
    return StreamedWrite(table_name=table, delete=DeleteRequest(key=attributes(**values)))


def get(table: str = "T", /, **values: str | int | bytes | list[str]) -> StreamedGet:
    return StreamedGet(table_name=table, key=attributes(**values))


def refusal(operation: str, code: str, message: str = "", status: int = 400) -> AwsRejected:
    return AwsRejected("dynamodb", operation, code, message, "REQ", status, ambiguous=status >= 500)


class FakeTiming:
    """A clock that stands still until all wait for it."""

    def __init__(self, now: float = 0.0, chance: float = 1.0) -> None:
        self.time = now
        self._chance = chance

    def now(self) -> float:
        return self.time

    def chance(self) -> float:
        return self._chance

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        for _ in range(_TURNS):
            if event.is_set():
                return
            await asyncio.sleep(0)
        if until is None:
            async with asyncio.timeout(10):
                await event.wait()
        else:
            self.time = max(self.time, until)


# Of a table, and the number of a batch.
class FakeOperation:
    """One operation, which notes how far a call has come."""

    def __init__(self, aws: FakeDynamoDb, name: str) -> None:
        self._aws = aws
        self._name = name

    async def perform(self, message: Message, scope: Scope, size: int) -> Performed:
        progress = Progress()
        progress.begin(lambda: nature_of(self._name, dict))
        progress.sent()
        try:
            return Performed(await self._aws.answer(self._name, message), "REQ", 1, progress)
        except (AwsRejected, AwsUnreachable) as failure:
            is_open = Failure(Stage.UNANSWERED) if failure.ambiguous else Failure(Stage.UNSENT)
            progress.failed(is_open)
            raise
        finally:
            scope.progress.absorb(progress)


Fault = Callable[[str, int], None]


class FakeDynamoDb(Operations):
    """Tables by name, each a dict of items by key.

    `keys` has the key of each table. `before` and `after` are called for each batch of writes, with its table and its
    number from 1, and may raise; `unprocessed` says how many of the elements of a batch are left.
    """

    def __init__(self, keys: Mapping[str, tuple[str, ...]] | None = None) -> None:
        super().__init__((), lambda rpc: cast(Any, None))
        self.keys = dict(keys or {"T": KEY})
        self.tables: dict[str, dict[Any, dict[str, AttributeValue]]] = {name: {} for name in self.keys}
        self.is_described = True
        self.before: Fault = lambda table, number: None
        self.after: Fault = lambda table, number: None
        self.unprocessed: Callable[[int], int] = lambda size: 0
        self.is_bad: Callable[[Mapping[str, AttributeValue]], bool] = lambda item: "bad" in item
        self.denied: Callable[[Mapping[str, AttributeValue]], bool] = lambda item: "denied" in item
        # What it calls unprocessed although nobody has asked for it.
        self.strangers: list[WriteRequest] = []
        self.sizes: list[int] = []
        self.counts: Counter[str] = Counter()
        self.most_at_once = 0
        # What is being written now, and each value that a key has had.
        self.in_flight: Counter[Any] = Counter()
        self.history: dict[Any, list[str]] = {}
        # Waits before it answers, where a test wants it to.
        self.pause: Callable[[str], Awaitable[object]] = lambda table: asyncio.sleep(0)
        self.pause_describing: Callable[[str], Awaitable[object]] = lambda table: asyncio.sleep(0)
        self._random = random.Random(7)

    def __getitem__(self, name: str) -> Operation:
        return FakeOperation(self, name)

    async def answer(self, name: str, message: Message) -> Message:
        """What an operation answers; raises what it refuses."""
        self.counts[name] += 1
        answer: Message
        if isinstance(message, DescribeTableRequest):
            await self.pause_describing(message.table_name)
            answer = self._described(message.table_name)
        elif isinstance(message, BatchWriteItemRequest):
            answer = await self._written(message)
        else:
            assert isinstance(message, BatchGetItemRequest)
            answer = await self._read(message)
        return answer

    def _described(self, table: str) -> DescribeTableResponse:
        if not self.is_described:
            raise refusal("DescribeTable", "AccessDeniedException")
        if table not in self.keys:
            raise refusal("DescribeTable", "ResourceNotFoundException")
        response = DescribeTableResponse()
        for name in self.keys[table]:
            response.table.key_schema.add(attribute_name=name, key_type="HASH")
        return response

    async def _written(self, request: BatchWriteItemRequest) -> BatchWriteItemResponse:
        ((table, listed),) = request.request_items.items()
        writes = list(listed.requests)
        self._check("BatchWriteItem", table, list(map(_written_attributes, writes)), 25)
        keys = [(table, key_of(_written_attributes(write), self.keys[table])) for write in writes]
        self.in_flight.update(keys)
        assert not [key for key, count in self.in_flight.items() if count > 1], "two writes of one item in flight"
        self.most_at_once = max(self.most_at_once, self.in_flight.total())
        try:
            await self.pause(table)
            number = self.counts["BatchWriteItem"]
            self.before(table, number)
            left = self._left(writes)
            for write, key in zip(writes, keys, strict=True):
                if write not in left:
                    self._apply(table, write, key)
            await self.pause(table)
            self.after(table, number)
        finally:
            self.in_flight.subtract(keys)
        response = BatchWriteItemResponse()
        for write in [*left, *self.strangers]:
            response.unprocessed_items[table].requests.append(write)
        if request.return_consumed_capacity:
            response.consumed_capacity.add(table_name=table, capacity_units=float(len(writes)))
        return response

    def _apply(self, table: str, write: WriteRequest, key: Any) -> None:
        if write.HasField("put_request"):
            self.tables[table][key[1]] = dict(write.put_request.item)
            self.history.setdefault(key, []).append(write.put_request.item["v"].n)
        else:
            self.tables[table].pop(key[1], None)
            self.history.setdefault(key, []).append("gone")

    async def _read(self, request: BatchGetItemRequest) -> BatchGetItemResponse:
        ((table, asked),) = request.request_items.items()
        keys = list(asked.keys)
        self._check("BatchGetItem", table, [key.attributes for key in keys], 100)
        await self.pause(table)
        self.before(table, self.counts["BatchGetItem"])
        left = self._left(keys)
        response = BatchGetItemResponse()
        listed = response.responses[table]
        for key in keys:
            found = self.tables[table].get(key_of(key.attributes, self.keys[table]))
            if key not in left and found is not None:
                item = listed.items.add()
                for name, value in found.items():
                    if _is_projected(name, asked):
                        item.attributes[name].CopyFrom(value)
        for key in left:
            response.unprocessed_keys[table].keys.append(key)
        self._random.shuffle(keys)
        return response

    def _check(self, operation: str, table: str, elements: list[Mapping[str, AttributeValue]], most: int) -> None:
        self.sizes.append(len(elements))
        assert 0 < len(elements) <= most
        if table not in self.keys:
            raise refusal(operation, "ResourceNotFoundException")
        keys = [key_of(one, self.keys[table]) for one in elements]
        if None in keys:
            raise refusal(operation, "ValidationException", "The provided key element does not match the schema")
        if len(set(keys)) < len(keys):
            self.counts["duplicates"] += 1
            raise refusal(operation, "ValidationException", "Provided list of item keys contains duplicates")
        if any(map(self.is_bad, elements)):
            raise refusal(operation, "ValidationException", "An item is bad")
        if any(map(self.denied, elements)):
            raise refusal(operation, "AccessDeniedException", "Not this item")

    def _left(self, elements: list[Any]) -> list[Any]:
        return self._random.sample(elements, self.unprocessed(len(elements)))


def _written_attributes(write: WriteRequest) -> Mapping[str, AttributeValue]:
    return write.put_request.item if write.HasField("put_request") else write.delete_request.key


def _is_projected(name: str, asked: Any) -> bool:
    if not asked.projection_expression:
        return True
    paths = (path.strip() for path in asked.projection_expression.split(","))
    return name in {asked.expression_attribute_names.get(path, path) for path in paths}


def lost(cause: str = "connection_lost") -> AwsUnreachable:
    return AwsUnreachable("lost", cause=cause, attempts=1, ambiguous=True)


async def requests_of(
    elements: Iterable[StreamedWrite] | Iterable[StreamedGet], size: int = 40, **options: Any
) -> AsyncIterator[Message]:
    """The elements in requests of so many; the options in the first one."""
    listed: list[Any] = list(elements)
    is_write = not listed or isinstance(listed[0], StreamedWrite)
    for start in range(0, max(len(listed), 1), size):
        part = listed[start : start + size]
        request: Any = BatchWriteStreamRequest(writes=part) if is_write else BatchGetStreamRequest(gets=part)
        if options and not start:
            for name, value in options.items():
                if name == "tables":
                    for table, how in value.items():
                        request.options.tables[table].CopyFrom(how)
                else:
                    setattr(request.options, name, value)
        yield request
        await asyncio.sleep(0)


async def told(stream: BatchStream, requests: AsyncIterator[Message]) -> tuple[list[Outcome], list[Report]]:
    """All that a stream tells."""
    reports = [report async for report in stream.reports(requests)]
    return [outcome for report in reports for outcome in report.outcomes], reports
