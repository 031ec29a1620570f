"""Streams of batches beside calls of one element each, in the order of the elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.differential.comparison import Comparison, unordered_sets
from tests.differential.contract import can_carry
from tests.differential.databases import Databases, only_in_one
from tests.differential.other_orders import OtherOrders
from tests.differential.outcomes import Compared
from tests.differential.paths import RPCS, STREAMS, Refusal, Ways, refusal_of, values_of
from tests.differential.requests import Parameters, Request
from tests.differential.schema import TABLES

from awsidecar.dynamodb.v1.batch_pb2 import DeleteRequest, KeysAndAttributes, PutRequest
from awsidecar.dynamodb.v1.batch_streams_pb2 import (
    BatchGetStreamRequest,
    BatchWriteStreamRequest,
    StreamedGet,
    StreamedWrite,
)
from awsidecar_server.bridge import codec_of

WRITES, GETS = "BatchWriteStream", "BatchGetStream"
_DONE, _NOT_FOUND = "done", "not found"


class BatchStreams:
    """Compares what became of each element; after writes, the tables, too."""

    def __init__(self, ways: Ways, comparison: Comparison, orders: OtherOrders, databases: Databases) -> None:
        self._ways = ways
        self._comparison = comparison
        self._orders = orders
        self._databases = databases

    def writes(self, request: Request) -> Compared:
        elements = [(table, write) for table, write in request.parameters["elements"] if _can_write(write)]
        calls = [Request("BatchWriteItem", {"RequestItems": {table: [write]}}) for table, write in elements]
        direct = [one if isinstance(one, Refusal) else _DONE for one in map(self._ways.direct.send, calls)]
        messages: list[Any] = [BatchWriteStreamRequest() for _ in range(request.parameters["messages"])]
        for message, part in zip(messages, _split(elements, len(messages)), strict=True):
            message.writes.extend(_streamed_write(table, write) for table, write in part)
        found = self._compared(request, messages, calls, direct)
        for table in TABLES:
            contents = self._databases.contents(table)
            if contents[0] != contents[1]:
                return Compared(False, *only_in_one(*contents), elements=len(elements))
        return found

    def gets(self, request: Request) -> Compared:
        ways = {name: way for name, way in request.parameters["tables"].items() if _can_read(way)}
        elements = [(table, key) for table, key in request.parameters["elements"] if _can_read({"Keys": [key]})]
        calls = [
            Request("BatchGetItem", {"RequestItems": {table: {"Keys": [key], **ways.get(table, {})}}})
            for table, key in elements
        ]
        direct = [_item_of(self._ways.direct.send(call)) for call in calls]
        messages: list[Any] = [BatchGetStreamRequest() for _ in range(request.parameters["messages"])]
        for message, part in zip(messages, _split(elements, len(messages)), strict=True):
            message.gets.extend(_streamed_get(table, key) for table, key in part)
        for name, way in ways.items():
            messages[0].options.tables[name].CopyFrom(codec_of(KeysAndAttributes.DESCRIPTOR).encode(way))
        return self._compared(request, messages, calls, direct)

    def _compared(
        self, request: Request, messages: Sequence[Any], calls: Sequence[Request], direct: list[Any]
    ) -> Compared:
        in_order = request.parameters["in_order"]
        messages[0].options.in_order = in_order
        streamed = self._ways.sidecar.stream(STREAMS[request.operation], messages)
        outcomes = [outcome for response in streamed.responses for outcome in response.outcomes]
        told = {outcome.index: _told(outcome) for outcome in outcomes}
        indexes = [outcome.index for outcome in outcomes]
        sidecar = [told.get(index) for index in range(len(direct))]
        is_same = (
            streamed.refusal is None
            and sorted(indexes) == list(range(len(direct)))
            and (indexes == sorted(indexes) or not in_order)
            and all(map(self._is_same, calls, direct, sidecar))
        )
        return Compared(is_same, direct, streamed.refusal or sidecar, elements=len(direct))

    def _is_same(self, call: Request, direct: Any, sidecar: Any) -> bool:
        if isinstance(direct, Refusal) and isinstance(sidecar, Refusal):
            return self._comparison.refusals_agree(direct, sidecar) or self._orders.agree(call, direct, sidecar)
        return bool(unordered_sets(direct) == unordered_sets(sidecar))


def _can_write(write: Parameters) -> bool:
    return all(
        can_carry(PutRequest.DESCRIPTOR if kind == "PutRequest" else DeleteRequest.DESCRIPTOR, members)
        for kind, members in write.items()
    )


def _can_read(members: Parameters) -> bool:
    return can_carry(RPCS["BatchGetItem"].request, {"RequestItems": {"any": members}})


def _split(elements: Sequence[Any], parts: int) -> list[Sequence[Any]]:
    return [elements[len(elements) * n // parts : len(elements) * (n + 1) // parts] for n in range(parts)]


def _streamed_write(table: str, write: Parameters) -> StreamedWrite:
    element = StreamedWrite(table_name=table)
    ((kind, members),) = write.items()
    if kind == "PutRequest":
        element.put.CopyFrom(codec_of(PutRequest.DESCRIPTOR).encode(members))  # type: ignore[arg-type]
    else:
        element.delete.CopyFrom(codec_of(DeleteRequest.DESCRIPTOR).encode(members))  # type: ignore[arg-type]
    return element


def _streamed_get(table: str, key: Parameters) -> StreamedGet:
    element = StreamedGet(table_name=table)
    delete: Any = codec_of(DeleteRequest.DESCRIPTOR).encode({"Key": key})
    for name, value in delete.key.items():
        element.key[name].CopyFrom(value)
    return element


def _item_of(reply: Any) -> Any:
    if isinstance(reply, Refusal):
        return reply
    ((_, items),) = reply["Responses"].items()
    return items[0] if items else _NOT_FOUND


def _told(outcome: Any) -> Any:
    kind = outcome.WhichOneof("result")
    if kind == "failure":
        return refusal_of(outcome.failure.message, outcome.failure.details)
    if kind == "item":
        return values_of(outcome.item)
    return {"done": _DONE, "not_found": _NOT_FOUND}.get(kind, kind)
