"""Batches of any size that are asked in plain JSON. A write or a read that cannot be understood fails alone."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from awsidecar.documents.v1.batches_pb2 import (
    BatchedGet,
    BatchedTable,
    BatchedWrite,
    BatchGetOptions,
    BatchWriteOptions,
)
from awsidecar.dynamodb.v1.attribute_value_pb2 import Item, Key
from awsidecar.dynamodb.v1.batch_pb2 import DeleteRequest, KeysAndAttributes, PutRequest
from awsidecar_server.bridge.faults import Fault
from awsidecar_server.documents.messages import Requests, allows_large_as_text
from awsidecar_server.documents.values import NotExact, to_attributes, to_struct
from awsidecar_server.dynamodb.batches.entries import Asked, Report
from awsidecar_server.dynamodb.batches.reads import Reads
from awsidecar_server.dynamodb.batches.stream import BatchStream
from awsidecar_server.dynamodb.batches.work import checked_capacity
from awsidecar_server.dynamodb.batches.writes import Writes
from awsidecar_server.dynamodb.field_names import Names
from awsidecar_server.errors import InvalidRequest, NumberNotExact
from awsidecar_server.operations import converted

_tables = Requests(BatchedTable.DESCRIPTOR, KeysAndAttributes.DESCRIPTOR)


@dataclass(frozen=True, slots=True)
class TypedRequest:
    """One request, with its elements in DynamoDB's types. `options` is None where the request has none."""

    options: Any
    elements: Sequence[Asked] = field(repr=False)


class DocumentWrites(Writes):
    """The writes of one stream."""

    def elements(self, request: Any, *, is_first: bool) -> Sequence[Any]:
        options: BatchWriteOptions | None = request.options
        if options is not None:
            self.in_order, self._capacity = _settings(options, is_first=is_first)
        return request.elements  # type: ignore[no-any-return]

    def asked(self, number: int, element: Any) -> Asked:
        return element  # type: ignore[no-any-return]

    @staticmethod
    def typed(request: Any) -> TypedRequest:
        return _typed(request, request.writes, _write)


class DocumentReads(Reads):
    """The reads of one stream."""

    tables_field = "Options.Tables"
    # Whether a number that a double does not hold exactly may be text; known after the first request.
    large_as_text = False

    def elements(self, request: Any, *, is_first: bool) -> Sequence[Any]:
        options: BatchGetOptions | None = request.options
        if options is not None:
            self.in_order, self._capacity = _settings(options, is_first=is_first)
            self.large_as_text = allows_large_as_text(options, "Options.LargeNumbers")
            self._tables = {name: _tables.of(how) for name, how in options.tables.items()}  # type: ignore[misc]
        return request.elements  # type: ignore[no-any-return]

    def asked(self, number: int, element: Any) -> Asked:
        return element  # type: ignore[no-any-return]

    @staticmethod
    def typed(request: Any) -> TypedRequest:
        return _typed(request, request.gets, _get)


async def reports(
    work: DocumentWrites | DocumentReads, requests: AsyncIterator[Message], stream: BatchStream
) -> AsyncGenerator[Report, None]:
    """What became of the elements of the requests, each of which is told of once; `stream` is one of the work."""
    async with aclosing(stream.reports(_all_typed(work, requests))) as found:
        async for report in found:
            yield report


def fill_item(told: Any, item: Item, *, large_as_text: bool) -> None:
    """Puts an item into its outcome; raises `NumberNotExact` for a number that it may not write as text."""
    told.item.SetInParent()
    try:
        to_struct(item.attributes, told.item, large_as_text=large_as_text)
    except NotExact as fault:
        raise NumberNotExact(fault.within(".Item").path) from None


async def _all_typed(work: DocumentWrites | DocumentReads, requests: AsyncIterator[Message]) -> AsyncIterator[Any]:
    async for request in requests:
        yield await converted(partial(work.typed, request), request.ByteSize())


def _settings(options: BatchWriteOptions | BatchGetOptions, *, is_first: bool) -> tuple[bool, str]:
    if not is_first:
        raise InvalidRequest.of("Options", "must be in the first message")
    return options.in_order, checked_capacity(options.return_consumed_capacity, "Options.ReturnConsumedCapacity")


def _typed(request: Any, elements: Any, read: Callable[[str, Any], Asked]) -> TypedRequest:
    (listed,) = (one.json_name for one in request.DESCRIPTOR.fields if one.is_repeated)
    asked = [read(f"{listed}[{number}]", element) for number, element in enumerate(elements)]
    return TypedRequest(request.options if request.HasField("options") else None, asked)


def _write(path: str, write: BatchedWrite) -> Asked:
    if not write.table_name:
        return _refused(path, ".TableName", "is required")
    kind = write.WhichOneof("write")
    if kind == "put":
        put = PutRequest()
        return _asked(write.table_name, put, put.item, write.put, path, ".Put")
    if kind == "delete":
        delete = DeleteRequest()
        return _asked(write.table_name, delete, delete.key, write.delete, path, ".Delete")
    return _refused(path, "", "has neither Put nor Delete")


def _get(path: str, get: BatchedGet) -> Asked:
    if not get.table_name:
        return _refused(path, ".TableName", "is required")
    if not get.key.fields:
        return _refused(path, ".Key", "is required")
    key = Key()
    return _asked(get.table_name, key, key.attributes, get.key, path, ".Key")


def _asked(table: str, message: Message, attributes: Any, struct: Struct, path: str, member: str) -> Asked:
    names = Names(f"{path}.TableName", path + member)
    try:
        to_attributes(struct, attributes)
    except Fault as fault:
        return Asked("", message, fault.within(names.attributes).as_request_error())
    return Asked(table, message, names=names)


def _refused(path: str, member: str, problem: str) -> Asked:
    return Asked("", Key(), Fault(problem).within(path + member).as_request_error())
