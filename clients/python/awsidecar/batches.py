"""The methods of DynamoDB for batches of any size: writers of them, and reads of any number of keys."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Required, TypedDict, Unpack

from awsidecar.batch_progress import GET_STREAM, ReadProgress
from awsidecar.batch_writers import AioBatchWriter, BatchWriter, OnFailure
from awsidecar.exchanges import AioExchange, Exchange
from awsidecar.values import Value

if TYPE_CHECKING:
    from awsidecar.calls import AioCalls, Calls

# A batch takes as long as its items; this is for those that would not end.
DEFAULT_BATCH_SECONDS = 3600.0


class How(TypedDict, total=False):
    """How a table is read."""

    ConsistentRead: bool
    ProjectionExpression: str
    ExpressionAttributeNames: Mapping[str, str]


class Reads(How, total=False):
    """The reads of a table."""

    TableName: Required[str]
    Keys: Required[Iterable[Mapping[str, Value]]]


class AioReads(How, total=False):
    """The reads of a table, whose keys may come one by one."""

    TableName: Required[str]
    Keys: Required[Iterable[Mapping[str, Value]] | AsyncIterable[Mapping[str, Value]]]


class BatchStreams:
    """The methods of DynamoDB for batches of any size, for threads."""

    _calls: Calls

    def batch_writer(
        self,
        table_name: str | None = None,
        *,
        timeout: float = DEFAULT_BATCH_SECONDS,
        on_failure: OnFailure | None = None,
    ) -> BatchWriter:
        """Returns a writer for a `with` statement; each write may name another table than `table_name`.

        `timeout` is the time limit of all its writes together. `on_failure` is called with each write that fails, as
        soon as that is known; the `BatchFailed` at the end has only the first of them.
        """
        return BatchWriter(self._calls, table_name, timeout, on_failure)

    def batch_get(
        self, *, timeout: float = DEFAULT_BATCH_SECONDS, **parameters: Unpack[Reads]
    ) -> Iterator[dict[str, Any] | None]:
        """Yields the item of each of `Keys`, in their order, and None for an item that does not exist.

        A key that comes twice is answered twice. Raises what failed when it comes to it. `timeout` is the time limit of
        all reads together.
        """
        table_name, keys, how = _reads(parameters)
        progress = ReadProgress(table_name, how)
        exchange = Exchange(self._calls, GET_STREAM, timeout)
        try:
            for key in keys:
                progress.get(key)
                request = progress.request() if progress.is_due else None
                if request is not None:
                    exchange.send(request)
                while progress.is_full:
                    yield from progress.items(exchange.receive())
            request = progress.request()
            if request is not None:
                exchange.send(request)
            exchange.finish()
            while progress.has_open:
                yield from progress.items(exchange.receive())
            exchange.end()
        finally:
            exchange.cancel()


class AioBatchStreams:
    """The methods of DynamoDB for batches of any size, for asyncio."""

    _calls: AioCalls

    def batch_writer(
        self,
        table_name: str | None = None,
        *,
        timeout: float = DEFAULT_BATCH_SECONDS,
        on_failure: OnFailure | None = None,
    ) -> AioBatchWriter:
        """Returns a writer for an `async with` statement; each write may name another table than `table_name`.

        `timeout` is the time limit of all its writes together. `on_failure` is called with each write that fails, as
        soon as that is known, and must not wait; the `BatchFailed` at the end has only the first of them.
        """
        return AioBatchWriter(self._calls, table_name, timeout, on_failure)

    async def batch_get(
        self, *, timeout: float = DEFAULT_BATCH_SECONDS, **parameters: Unpack[AioReads]
    ) -> AsyncGenerator[dict[str, Any] | None, None]:
        """Yields the item of each of `Keys`, in their order, and None for an item that does not exist.

        A key that comes twice is answered twice. Raises what failed when it comes to it. `timeout` is the time limit of
        all reads together.
        """
        table_name, keys, how = _reads(parameters)
        progress = ReadProgress(table_name, how)
        exchange = AioExchange(self._calls, GET_STREAM, timeout)
        try:
            async for key in _each(keys):
                progress.get(key)
                request = progress.request() if progress.is_due else None
                if request is not None:
                    await exchange.send(request)
                while progress.is_full:
                    for item in progress.items(await exchange.receive()):
                        yield item
            request = progress.request()
            if request is not None:
                await exchange.send(request)
            await exchange.finish()
            while progress.has_open:
                for item in progress.items(await exchange.receive()):
                    yield item
            await exchange.end()
        finally:
            exchange.cancel()


async def _each(
    keys: Iterable[Mapping[str, Value]] | AsyncIterable[Mapping[str, Value]],
) -> AsyncIterator[Mapping[str, Value]]:
    if isinstance(keys, AsyncIterable):
        async for key in keys:
            yield key
    else:
        for key in keys:
            yield key


def _reads(parameters: Mapping[str, Any]) -> tuple[str, Any, Mapping[str, object]]:
    """The table, the keys, and how to read them, which is checked where it is sent."""
    how = dict(parameters)
    try:
        return how.pop("TableName"), how.pop("Keys"), how
    except KeyError as missing:
        raise TypeError(f"{missing.args[0]}: is missing") from missing
