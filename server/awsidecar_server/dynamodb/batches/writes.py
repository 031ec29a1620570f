"""Streams of puts and deletes, by BatchWriteItem."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue
from awsidecar.dynamodb.v1.batch_pb2 import (
    BatchWriteItemRequest,
    BatchWriteItemResponse,
    DeleteRequest,
    PutRequest,
    WriteRequest,
)
from awsidecar.dynamodb.v1.batch_streams_pb2 import BatchWriteStreamRequest, StreamedWrite
from awsidecar_server.dynamodb.batches.entries import DONE, JSON_BYTES_PER_BYTE, Answer, Asked, Entry, Failure
from awsidecar_server.dynamodb.batches.ordering import InTurn, Ordering
from awsidecar_server.dynamodb.batches.refusals import speaks_of_another_key
from awsidecar_server.dynamodb.batches.turns import simple_name
from awsidecar_server.dynamodb.batches.work import Means, checked_capacity, naming_of
from awsidecar_server.dynamodb.field_names import Names
from awsidecar_server.dynamodb.key_values import key_of, same_items, scalars
from awsidecar_server.dynamodb.table_keys import Check, KeyNames, Room
from awsidecar_server.errors import AwsRejected, InvalidRequest, SidecarError
from awsidecar_server.operations import Scope

_AROUND_A_WRITE_BYTES = 128


class Writes:
    """The writes of one stream."""

    # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
    most_entries = 25
    most_in_flight = 8

    def __init__(self, means: Means, scope: Scope) -> None:
        self._means = means
        self._scope = scope
        self._capacity = ""
        self._room = Room()
        self.in_order = False

    def ordering(self) -> Ordering:
        return InTurn()

    def elements(self, request: BatchWriteStreamRequest, *, is_first: bool) -> Sequence[StreamedWrite]:
        if request.HasField("options"):
            if not is_first:
                raise InvalidRequest.of("options", "must be in the first message")
            self.in_order = request.options.in_order
            self._capacity = checked_capacity(request.options.return_consumed_capacity)
        return request.writes

    def asked(self, number: int, element: StreamedWrite) -> Asked:
        path, kind = f"writes[{number}]", element.WhichOneof("write")
        table = f"{path}.table_name"
        if not element.table_name:
            return Asked("", element, InvalidRequest.of(table, "is required"))
        if kind is None:
            return Asked("", element, InvalidRequest.of(path, "has neither put nor delete"))
        if kind == "put":
            return Asked(element.table_name, element.put, names=Names(table, f"{path}.put.Item"))
        return Asked(element.table_name, element.delete, names=Names(table, f"{path}.delete.Key"))

    async def key_names(self, table: str, check: Check | None, is_urgent: bool) -> KeyNames | None:
        try:
            return await self._means.table_keys.of(table, self._scope, self._room, check, is_urgent=is_urgent)
        except (AwsRejected, SidecarError):
            # The session is not good any more: that is what each write will be told.
            return None

    def is_denied(self, table: str) -> bool:
        return self._means.table_keys.is_denied(table, self._scope)

    def entry(self, index: int, asked: Asked, key_names: KeyNames | None) -> Entry:
        message = asked.message
        attributes = _attributes(message)
        identity = _identity(message, key_names)
        name = simple_name(asked.table)
        tokens: tuple[Hashable, ...]
        if key_names is None:
            # Whichever attributes are the key, two writes of one item have them in common.
            tokens = tuple((name, one) for one in scalars(attributes))
        else:
            # Without a whole key, AWS will refuse it.
            key = key_of(attributes, key_names)
            tokens = () if key is None else ((name, key),)
        size = JSON_BYTES_PER_BYTE * (message.ByteSize() + len(asked.table)) + _AROUND_A_WRITE_BYTES
        known_by = ("no key", index) if identity is None else identity
        return Entry(index, asked.table, message, size, known_by, tokens, asked.names)

    async def send(self, table: str, key_names: KeyNames | None, entries: Sequence[Entry], scope: Scope) -> Answer:
        request = BatchWriteItemRequest()
        if self._capacity:
            request.return_consumed_capacity = self._capacity
        requests = request.request_items[table].requests
        for entry in entries:
            if isinstance(entry.message, PutRequest):
                requests.add().put_request.CopyFrom(entry.message)
            elif isinstance(entry.message, DeleteRequest):
                requests.add().delete_request.CopyFrom(entry.message)
        with naming_of(entries, table):
            done = await self._means.operations["BatchWriteItem"].perform(request, scope, request.ByteSize())
        reply = done.read(BatchWriteItemResponse)
        unprocessed = [one for listed in reply.unprocessed_items.values() for one in listed.requests]
        left = _left(entries, unprocessed, key_names)
        results = [(entry, DONE) for entry in entries if entry not in left]
        return Answer(results, left, list(reply.consumed_capacity), done.progress.was_ambiguous)

    def refused(self, table: str, failure: Failure) -> None:
        if speaks_of_another_key(failure):
            self._means.table_keys.forget(table, self._scope)


def _attributes(message: object) -> Mapping[str, AttributeValue]:
    assert isinstance(message, PutRequest | DeleteRequest)
    return message.item if isinstance(message, PutRequest) else message.key


def _identity(message: object, key_names: KeyNames | None) -> Hashable | None:
    """What a write is known by among those of a batch; None when it has no key."""
    attributes = _attributes(message)
    return same_items(attributes) if key_names is None else key_of(attributes, key_names)


def _left(entries: Sequence[Entry], unprocessed: Sequence[WriteRequest], key_names: KeyNames | None) -> list[Entry]:
    """The entries that AWS has not processed: all of them when it names one that is not there."""
    by_identity = {entry.identity: entry for entry in entries}
    left: list[Entry] = []
    for one in unprocessed:
        message = one.put_request if one.HasField("put_request") else one.delete_request
        found = by_identity.get(_identity(message, key_names))
        if found is None:
            return list(entries)
        left.append(found)
    return left
