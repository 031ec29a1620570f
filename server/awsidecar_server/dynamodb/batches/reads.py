"""Streams of reads by key, by BatchGetItem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue, Key
from awsidecar.dynamodb.v1.batch_pb2 import BatchGetItemRequest, BatchGetItemResponse, KeysAndAttributes
from awsidecar.dynamodb.v1.batch_streams_pb2 import BatchGetStreamRequest, StreamedGet
from awsidecar_server.dynamodb.batches.entries import (
    JSON_BYTES_PER_BYTE,
    NOT_FOUND,
    Answer,
    Asked,
    Entry,
    Failure,
    Result,
)
from awsidecar_server.dynamodb.batches.ordering import Ordering, Together
from awsidecar_server.dynamodb.batches.work import Means, checked_capacity, naming_of
from awsidecar_server.dynamodb.field_names import Names
from awsidecar_server.dynamodb.key_values import KeyValues, key_of, same_items, scalars
from awsidecar_server.dynamodb.projections import KeyedProjection, keyed_projection
from awsidecar_server.dynamodb.table_keys import KeyNames
from awsidecar_server.errors import AwsUnreachable, InvalidRequest
from awsidecar_server.operations import Scope

_KEY_BYTES = 16_384


class Reads:
    """The reads of one stream."""

    # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
    most_entries = 100
    # Each answer may have 16 MB.
    most_in_flight = 4
    # Where the caller says how a table is read.
    tables_field = "options.tables"
    # Each read brings its own: its key has no other attributes. And there is no order to keep.
    key_names = None

    def __init__(self, means: Means, scope: Scope) -> None:
        self._means = means
        self._capacity = ""
        self._tables: Mapping[str, KeysAndAttributes] = {}
        self.in_order = False

    def ordering(self) -> Ordering:
        return Together()

    def elements(self, request: BatchGetStreamRequest, *, is_first: bool) -> Sequence[StreamedGet]:
        if request.HasField("options"):
            if not is_first:
                raise InvalidRequest.of("options", "must be in the first message")
            self.in_order = request.options.in_order
            self._capacity = checked_capacity(request.options.return_consumed_capacity)
            self._tables = request.options.tables
            for name, how in self._tables.items():
                if how.keys:
                    raise InvalidRequest.of(
                        f"{self.tables_field}.{name}.Keys", "must be empty: the keys are in gets"
                    )
        return request.gets

    def asked(self, number: int, element: StreamedGet) -> Asked:
        names = Names(f"gets[{number}].table_name", f"gets[{number}].key")
        if not element.table_name:
            return Asked("", element, InvalidRequest.of(names.table, "is required"))
        if not element.key:
            return Asked("", element, InvalidRequest.of(names.attributes, "is required"))
        key = Key()
        for name, value in element.key.items():
            key.attributes[name].CopyFrom(value)
        return Asked(element.table_name, key, names=names)

    def is_denied(self, table: str) -> bool:
        """Nobody is asked."""
        return False

    def entry(self, index: int, asked: Asked, key_names: KeyNames | None) -> Entry:
        assert isinstance(asked.message, Key)
        identity = asked.table, same_items(asked.message.attributes)
        size = _KEY_BYTES + JSON_BYTES_PER_BYTE * len(asked.table)
        return Entry(index, asked.table, asked.message, size, identity, (), asked.names)

    async def send(self, table: str, key_names: KeyNames | None, entries: Sequence[Entry], scope: Scope) -> Answer:
        request = BatchGetItemRequest()
        if self._capacity:
            request.return_consumed_capacity = self._capacity
        asked = request.request_items[table]
        if table in self._tables:
            asked.CopyFrom(self._tables[table])
        keys = [entry.message for entry in entries if isinstance(entry.message, Key)]
        for key in keys:
            asked.keys.add().CopyFrom(key)  # what `extend` does by way of bytes, not as deep as AWS may be asked
        names = tuple(sorted({name for key in keys for name in key.attributes}))
        # One that is asked for alone is known without its key. So a refusal, which each gets alone, is about what the
        # caller wrote, and not about what was added to it.
        projection = keyed_projection(asked, names) if len(keys) > 1 else KeyedProjection()
        with naming_of(entries, table, self.tables_field, KeysAndAttributes.DESCRIPTOR):
            reply = await self._means.operations.call("BatchGetItem", request, scope, BatchGetItemResponse)
        return _answer(table, entries, reply, names, projection)

    def refused(self, table: str, failure: Failure) -> None:
        """Nothing that is remembered was wrong."""


def _answer(
    table: str, entries: Sequence[Entry], reply: BatchGetItemResponse, names: KeyNames, projection: KeyedProjection
) -> Answer:
    unanswered: dict[KeyValues, Entry] = {}
    for entry in entries:
        assert isinstance(entry.message, Key)
        unanswered[scalars(entry.message.attributes)] = entry
    results: list[tuple[Entry, Result]] = []
    left: list[Entry] = []
    strangers = 0
    for item in (item for listed in reply.responses.values() for item in listed.items):
        found = _taken_item(unanswered, item.attributes, names, is_alone=len(entries) == 1)
        if found is None:
            strangers += 1
            continue
        projection.remove_added(item)
        results.append((found, Result("item", item=item, size=item.ByteSize())))
    for key in (key for listed in reply.unprocessed_keys.values() for key in listed.keys):
        found = _taken(unanswered, key.attributes, names)
        if found is None:
            strangers += 1
        else:
            left.append(found)
    # What is neither there nor unprocessed does not exist, unless there is something that nobody has asked for.
    absent = NOT_FOUND if not strangers else Result("failure", failure=_unreadable())
    results += [(entry, absent) for entry in unanswered.values()]
    return Answer(results, left, list(reply.consumed_capacity))


def _taken(
    unanswered: dict[KeyValues, Entry], attributes: Mapping[str, AttributeValue], names: KeyNames
) -> Entry | None:
    key = key_of(attributes, names)
    return None if key is None else unanswered.pop(key, None)


def _taken_item(
    unanswered: dict[KeyValues, Entry], attributes: Mapping[str, AttributeValue], names: KeyNames, *, is_alone: bool
) -> Entry | None:
    if is_alone and key_of(attributes, names) is None:
        return unanswered.popitem()[1] if unanswered else None
    return _taken(unanswered, attributes, names)


def _unreadable() -> AwsUnreachable:
    return AwsUnreachable("AWS answered with keys that were not asked for", cause="bad_response")
