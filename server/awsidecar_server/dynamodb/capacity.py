"""Counts the capacity that AWS says a call has consumed, by table and operation, for callers who have AWS say it."""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from awsidecar.dynamodb.v1.capacity_pb2 import ConsumedCapacity
from awsidecar_server.aws.idempotency import READS
from awsidecar_server.contract import Rpc
from awsidecar_server.operations import Operation, Performed, Scope
from awsidecar_server.ops.telemetry import Telemetry

# Each table is up to three series for each operation, and some accounts have thousands.
_MOST_TABLES = 100
_OTHER_TABLES = "other"
# PartiQL's operations read or write as their statements say, and AWS does not tell which it was.
_STATEMENTS = frozenset({"ExecuteStatement", "BatchExecuteStatement", "ExecuteTransaction"})


class CapacityMeter:
    """The counts of one process. Tables beyond the first hundred are counted as one."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._counter = cache(telemetry.consumed_capacity.labels)
        self._tables: set[str] = set()

    def metered(self, rpc: Rpc, operation: Operation) -> Operation:
        """The operation, counted where its answer can tell what it has consumed."""
        field = rpc.response.fields_by_name.get("consumed_capacity")
        if field is None or field.message_type is not ConsumedCapacity.DESCRIPTOR:
            return operation
        return _MeteredOperation(rpc.aws_operation, field, operation, self)

    def count(self, operation: str, consumed: ConsumedCapacity) -> None:
        table = self._label(consumed.table_name)
        reads, writes = consumed.read_capacity_units, consumed.write_capacity_units
        if reads or writes:
            for kind, units in (("read", reads), ("write", writes)):
                if units:
                    self._counter(table, operation, kind).inc(units)
        elif consumed.capacity_units:
            self._counter(table, operation, _kind(operation)).inc(consumed.capacity_units)

    def _label(self, named: str) -> str:
        # By its name also where the caller gave its ARN, which has the number of an account.
        name = named.rpartition(":table/")[2].partition("/")[0]
        if name not in self._tables:
            if len(self._tables) >= _MOST_TABLES:
                return _OTHER_TABLES
            self._tables.add(name)
        return name


class _MeteredOperation:
    def __init__(self, name: str, field: FieldDescriptor, operation: Operation, meter: CapacityMeter) -> None:
        self._name = name
        self._operation = operation
        self._meter = meter
        self._field = field
        self._lean_class = _lean_class(field.number)

    async def perform(self, message: Message, scope: Scope, size: int) -> Performed:
        done = await self._operation.perform(message, scope, size)
        request: Any = message
        if request.return_consumed_capacity:  # unasked, AWS does not tell
            for consumed in self._consumed(done.message):
                self._meter.count(self._name, consumed)
        return done

    def _consumed(self, answer: Any) -> list[ConsumedCapacity]:
        if isinstance(answer, bytes):
            return list(self._lean_class.FromString(answer).consumed)
        found = answer.consumed_capacity
        return list(found) if self._field.is_repeated else [found]


def _kind(operation: str) -> str:
    if operation in _STATEMENTS:
        return "total"
    return "read" if operation in READS else "write"


@cache
def _lean_class(number: int) -> Any:
    """A message with consumed capacity in the field of this number and nothing else: a page's items are passed over.

    What is there once is read as a list of one.
    """
    capacity = ConsumedCapacity.DESCRIPTOR
    package, name = "awsidecar_server.dynamodb.capacity", f"At{number}"
    file = FileDescriptorProto(name=f"{package}/{name}.proto", package=package, syntax="proto3")
    file.dependency.append(capacity.file.name)
    file.message_type.add(name=name).field.add(
        name="consumed",
        number=number,
        type=FieldDescriptorProto.TYPE_MESSAGE,
        label=FieldDescriptorProto.LABEL_REPEATED,
        type_name=f".{capacity.full_name}",
    )
    pool = descriptor_pool.Default()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
