"""Opens watches: which stream is watched, and by whom it is read already."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial

from awsidecar.dynamodb.v1 import table_description_pb2, tables_pb2
from awsidecar.dynamodb.v1.watch_pb2 import WatchTableRequest, WatchTableResponse
from awsidecar_server.dynamodb.changes.checkpoints import Checkpoint
from awsidecar_server.dynamodb.changes.pages import PageStore
from awsidecar_server.dynamodb.changes.starts import LATEST, Order, not_enabled
from awsidecar_server.dynamodb.changes.stream_calls import Performer
from awsidecar_server.dynamodb.changes.stream_reading import StreamReadings
from awsidecar_server.dynamodb.changes.watch import Watch
from awsidecar_server.errors import AwsRejected, naming_fields
from awsidecar_server.identity.clock import Clock
from awsidecar_server.operations import Scope, converted

# Of all pages that are kept for watches that come after the first; a page has up to 1 MB.
_STORE_BYTES = 64 * 1024 * 1024


class Watches:
    """Serves WatchTable."""

    def __init__(self, operations: Performer, clock: Clock, *, store_bytes: int = _STORE_BYTES) -> None:
        self._operations = operations
        self._clock = clock
        self._readings = StreamReadings(operations, clock, PageStore(store_bytes))

    async def messages(
        self, request: WatchTableRequest, scope: Scope, verify: Callable[[], Awaitable[object]]
    ) -> AsyncGenerator[WatchTableResponse, None]:
        """What the caller is sent; without an end of its own. `verify` raises when the caller's session has ended."""
        # Reading a checkpoint of thousands of shards takes its time.
        order = await converted(partial(Order.of, request), request.ByteSize())
        order.check_times(int(self._clock().timestamp() * 1000))
        with naming_fields(order.naming):
            stream_arn = await self._stream_of(order, scope)
            async with (
                self._readings.of(scope, stream_arn) as reading,
                aclosing(Watch(reading, stream_arn, order, verify).messages()) as messages,
            ):
                async for message in messages:
                    yield message

    async def _stream_of(self, order: Order, scope: Scope) -> str:
        if order.stream_arn:
            order.check_stream(order.stream_arn)
            return order.stream_arn
        table = await self._table(order, scope)
        if table is None or not table.latest_stream_arn:
            # What a stream has is readable for 24 hours after its end, whatever is with its table.
            past = order.stream_of_the_past()
            if not past:
                raise not_enabled()
            return past
        if isinstance(order.start, Checkpoint):
            # It may be of an earlier stream of the table.
            order.check_stream(table.latest_stream_arn)
            return order.start.stream_arn
        if order.start == LATEST and not table.stream_specification.stream_enabled:
            raise not_enabled()
        return table.latest_stream_arn

    async def _table(self, order: Order, scope: Scope) -> table_description_pb2.TableDescription | None:
        """As AWS describes it; None when it is gone, and a checkpoint says that it has been there."""
        try:
            described = await self._operations.call(
                "DescribeTable",
                tables_pb2.DescribeTableRequest(table_name=order.table_name),
                scope,
                tables_pb2.DescribeTableResponse,
            )
        except AwsRejected as refused:
            if refused.code != "ResourceNotFoundException" or not isinstance(order.start, Checkpoint):
                raise
            return None
        return described.table
