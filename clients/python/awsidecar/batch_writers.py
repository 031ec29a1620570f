"""Writers of batches, which are told of each write what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Required, Self, TypeAlias, TypedDict, Unpack

from awsidecar.batch_progress import WRITE_STREAM, FailedWrite, WriteProgress
from awsidecar.exceptions import SidecarError
from awsidecar.exchanges import AioExchange, Exchange
from awsidecar.values import Value

if TYPE_CHECKING:
    from awsidecar.calls import AioCalls, Calls

# How often a batch that is left waits for all that is there before it takes nothing more: or a task that goes on writing
# would keep the one that leaves it.
_MOST_ROUNDS = 5

# Is told of a write that failed. What it raises ends the batch: nothing more is sent, and what it was not told of is open.
# But for the refusal of a write to this batch, whose stream has ended: that is passed over.
OnFailure: TypeAlias = Callable[[FailedWrite], object]


class Put(TypedDict, total=False):
    """A put of a batch."""

    Item: Required[Mapping[str, Value]]
    TableName: str


class Delete(TypedDict, total=False):
    """A deletion of a batch."""

    Key: Required[Mapping[str, Value]]
    TableName: str


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
        """Sends what is there, and returns when each write has its outcome; failures are raised at the end.

        Raises `BatchFailed` when the stream has ended, unless all was done.
        """
        self._progress.check_flush()
        while self._progress.has_open_of(self._progress.count):
            # Each time: `on_failure` may have added something.
            self._go_on()
        self._progress.check_stream()

    def _send_if_due(self) -> None:
        while self._progress.is_due or self._progress.is_full:
            self._go_on()

    def _go_on(self) -> None:
        """Sends one request, or takes one response when there is none, or enough is under way."""
        if self._progress.may_send_of(self._progress.count):
            self._exchange.send(self._progress.request())
        else:
            self._take()

    def _take(self) -> None:
        """Takes note of one response, and when time is up of all. What is open when the stream has ended was not attempted."""
        while True:
            try:
                response = self._exchange.receive()
            except SidecarError as broken:
                self._progress.check(broken)
                raise
            if response is None:
                self._progress.check()
                return
            self._progress.note(response)
            if not self._progress.is_over:
                return
            self._exchange.finish()

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
    """A `BatchWriter` for asyncio, to be used in an `async with` statement; tasks may share it.

    Leaving the block waits also for what other tasks add meanwhile. One that goes on adding is refused after a while.
    """

    def __init__(
        self, calls: AioCalls, table_name: str | None, timeout: float, on_failure: OnFailure | None = None
    ) -> None:
        self._progress = WriteProgress(table_name, on_failure)
        self._exchange = AioExchange(calls, WRITE_STREAM, timeout)
        # Who sends or takes: a stream has one at a time.
        self._turn = asyncio.Lock()
        # Whether a task leaves the block, which does the work of all; and set when it has left.
        self._is_leaving = False
        self._left = asyncio.Event()

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
        """Sends what is there, and returns when each of these writes has its outcome; failures are raised at the end.

        Raises `BatchFailed` when the stream has ended, unless all was done.
        """
        self._progress.check_open()
        count = self._progress.count
        async with self._turn:
            # Who had the turn before may have ended the batch; or has waited for all of these, and then all is well.
            if self._progress.has_open_of(count):
                self._progress.check_open()
            await self._wait_for(count)
        self._progress.check_stream()

    async def _finish(self) -> None:
        """Waits for all writes, for a while those that other tasks add meanwhile included, and ends the call."""
        self._is_leaving = True
        async with self._turn:
            self._progress.check_open()
            for _ in range(_MOST_ROUNDS):
                await self._wait_for(self._progress.count)
                # A task that `on_failure` has just begun comes to its write.
                await asyncio.sleep(0)
            # What is written from now on would be sent by nobody, or nobody would take its outcome.
            self._progress.is_closed = True
            await self._wait_for(self._progress.count)
            await self._exchange.end()

    async def _wait_for(self, count: int) -> None:
        """Returns when each of the first so many writes has its outcome."""
        while self._progress.has_open_of(count):
            await self._go_on(count)

    async def _send_if_due(self) -> None:
        while self._progress.is_due or self._progress.is_full:
            # A turn for each step: a task that leaves the block comes to its own soon, although others go on writing.
            async with self._turn:
                # Who had the turn before may have ended the batch; or has sent all of this, and then all is well.
                if self._progress.is_due or self._progress.is_full:
                    self._progress.check_open()
                    if not self._is_leaving:
                        await self._go_on(self._progress.count)
            if self._is_leaving and (self._progress.is_due or self._progress.is_full):
                await self._left.wait()

    async def _go_on(self, count: int) -> None:
        """Sends one request with some of the first so many writes, or takes one response.

        It takes one when these are sent, or when enough is under way.
        """
        if self._progress.may_send_of(count):
            await self._exchange.send(self._progress.request())
        else:
            await self._take()

    async def _take(self) -> None:
        """Takes note of one response, and when time is up of all. What is open when the stream has ended was not attempted."""
        while True:
            try:
                response = await self._exchange.receive()
            except SidecarError as broken:
                self._progress.check(broken)
                raise
            if response is None:
                self._progress.check()
                return
            self._progress.note(response)
            if not self._progress.is_over:
                return
            await self._exchange.finish()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self._finish()
                self._progress.check()
        finally:
            self._progress.is_closed = True
            self._left.set()
            self._exchange.cancel()


def _only(parameters: Mapping[str, Any], required: str, optional: str) -> tuple[Any, Any]:
    for name in parameters:
        if name not in {required, optional}:
            raise TypeError(f"{name}: there is no such member")
    if required not in parameters:
        raise TypeError(f"{required}: is missing")
    return parameters[required], parameters.get(optional)
