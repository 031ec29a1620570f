"""Batches of any size: a writer that is told of each write what became of it, and reads of any number of keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Required, Self, TypeAlias, TypedDict, Unpack

from awsidecar.batch_progress import GET_STREAM, WRITE_STREAM, FailedWrite, ReadProgress, WriteProgress
from awsidecar.exceptions import SidecarError
from awsidecar.exchanges import AioExchange, Exchange
from awsidecar.values import Value

if TYPE_CHECKING:
    from awsidecar.calls import AioCalls, Calls

# Is told of a write that failed. What it raises ends the batch: nothing more is sent, and what it was not told of is open.
OnFailure: TypeAlias = Callable[[FailedWrite], object]

# A batch takes as long as its items; this is for those that would not end.
DEFAULT_BATCH_SECONDS = 3600.0


class Put(TypedDict, total=False):
    """A put of a batch."""

    Item: Required[Mapping[str, Value]]
    TableName: str


class Delete(TypedDict, total=False):
    """A deletion of a batch."""

    Key: Required[Mapping[str, Value]]
    TableName: str


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


class BatchWriter:
    """Writes any number of items, in batches; for one thread. Use it in a `with` statement, whose end sends the rest.

    Writes to one item are done in order. Leaving the block waits for all outcomes and raises `BatchFailed`, which names
    the first writes that were not done and counts all of them. Leaving it by an exception ends the work; what was sent
    may have been done.
    """

    def __init__(
        self, calls: Calls, table_name: str | None, timeout: float, on_failure: OnFailure | None = None
    ) -> None:
        self._progress = WriteProgress(table_name, on_failure)
        self._exchange = Exchange(calls, WRITE_STREAM, timeout)

    @property
    def done(self) -> int:
        """How many writes are known to be done."""
        return self._progress.done

    def put_item(self, **parameters: Unpack[Put]) -> None:
        """Adds a put. Raises `BatchFailed` when the stream has ended, and RuntimeError after the block."""
        self._progress.put(*_only(parameters, "Item", "TableName"))
        self._send_if_due()

    def delete_item(self, **parameters: Unpack[Delete]) -> None:
        """Adds a deletion. Raises `BatchFailed` when the stream has ended, and RuntimeError after the block."""
        self._progress.delete(*_only(parameters, "Key", "TableName"))
        self._send_if_due()

    def flush(self) -> None:
        """Sends what is there, and returns when each write has its outcome; failures are raised at the end."""
        self._progress.check_open()
        while self._progress.has_open_of(self._progress.count):
            # Each time: `on_failure` may have added something.
            self._send()
            self._take()

    def _send_if_due(self) -> None:
        if self._progress.is_due:
            self._send()
        while self._progress.is_full:
            self._send()
            self._take()

    def _send(self) -> None:
        request = self._progress.request()
        if request is not None:
            self._exchange.send(request)

    def _take(self) -> None:
        """Takes note of one response. When the stream has ended, what is open was not attempted."""
        try:
            response = self._exchange.receive()
            while response is not None:
                self._progress.note(response)
                if not self._progress.is_over:
                    return
                self._exchange.finish()
                response = self._exchange.receive()
        except SidecarError as broken:
            self._progress.check(broken)
            raise
        self._progress.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.flush()
                self._exchange.end()
                self._progress.check()
        finally:
            self._progress.is_closed = True
            self._exchange.cancel()


class AioBatchWriter:
    """A `BatchWriter` for asyncio, to be used in an `async with` statement; tasks may share it."""

    def __init__(
        self, calls: AioCalls, table_name: str | None, timeout: float, on_failure: OnFailure | None = None
    ) -> None:
        self._progress = WriteProgress(table_name, on_failure)
        self._exchange = AioExchange(calls, WRITE_STREAM, timeout)
        # Who sends or takes: a stream has one at a time.
        self._turn = asyncio.Lock()

    @property
    def done(self) -> int:
        """How many writes are known to be done."""
        return self._progress.done

    async def put_item(self, **parameters: Unpack[Put]) -> None:
        """Adds a put. Raises `BatchFailed` when the stream has ended, and RuntimeError after the block."""
        self._progress.put(*_only(parameters, "Item", "TableName"))
        await self._send_if_due()

    async def delete_item(self, **parameters: Unpack[Delete]) -> None:
        """Adds a deletion. Raises `BatchFailed` when the stream has ended, and RuntimeError after the block."""
        self._progress.delete(*_only(parameters, "Key", "TableName"))
        await self._send_if_due()

    async def flush(self) -> None:
        """Sends what is there, and returns when each of these writes has its outcome; failures are raised at the end."""
        async with self._turn:
            self._progress.check_open()
            count = self._progress.count
            await self._send()
            while self._progress.has_open_of(count):
                await self._take()

    async def _send_if_due(self) -> None:
        if not (self._progress.is_due or self._progress.is_full):
            return
        async with self._turn:
            if self._progress.is_due:
                await self._send()
            while self._progress.is_full:
                await self._send()
                await self._take()

    async def _send(self) -> None:
        request = self._progress.request()
        if request is not None:
            await self._exchange.send(request)

    async def _take(self) -> None:
        """Takes note of one response. When the stream has ended, what is open was not attempted."""
        try:
            response = await self._exchange.receive()
            while response is not None:
                self._progress.note(response)
                if not self._progress.is_over:
                    return
                await self._exchange.finish()
                response = await self._exchange.receive()
        except SidecarError as broken:
            self._progress.check(broken)
            raise
        self._progress.check()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self.flush()
                await self._exchange.end()
                self._progress.check()
        finally:
            self._progress.is_closed = True
            self._exchange.cancel()


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


def _only(parameters: Mapping[str, Any], required: str, optional: str) -> tuple[Any, Any]:
    for name in parameters:
        if name not in {required, optional}:
            raise TypeError(f"{name}: there is no such member")
    if required not in parameters:
        raise TypeError(f"{required}: is missing")
    return parameters[required], parameters.get(optional)


def _reads(parameters: Mapping[str, Any]) -> tuple[str, Any, Mapping[str, object]]:
    """The table, the keys, and how to read them, which is checked where it is sent."""
    how = dict(parameters)
    try:
        return how.pop("TableName"), how.pop("Keys"), how
    except KeyError as missing:
        raise TypeError(f"{missing.args[0]}: is missing") from missing
