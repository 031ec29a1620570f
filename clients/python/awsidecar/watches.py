"""The changes of a table as a stream, which goes on without a gap when the sidecar goes away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import aclosing, closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from awsidecar.dynamodb.v1.streams_pb2 import Record
from awsidecar.dynamodb.v1.watch_pb2 import WatchTableRequest
from awsidecar.exceptions import DeadlineExceeded, SidecarError, Unavailable
from awsidecar.messages import converter
from awsidecar.operations import OWN

if TYPE_CHECKING:
    from awsidecar import shapes
    from awsidecar.calls import AioCalls, Calls

DEFAULT_PATIENCE_SECONDS = 300.0

# Every call has an end, after which the next one goes on; so none is forgotten by both sides for ever.
_CALL_SECONDS = 3600.0
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0

_RECORD = converter(Record.DESCRIPTOR)


class Progress:
    """How far a watch has come, and how long it has been without a message."""

    def __init__(self, request: WatchTableRequest, patience: float, clock: Callable[[], float]) -> None:
        self.method = OWN["WatchTable"]
        self.request = request
        self._patience = patience
        self._clock = clock
        self._pause = _FIRST_PAUSE_SECONDS
        self._failing_since: float | None = None

    @property
    def checkpoint(self) -> str | None:
        """Where to go on; None before the watch is in place."""
        return self.request.checkpoint or None

    def forget_failures(self) -> None:
        """Notes a message, or a new beginning: whatever fails next, fails for the first time."""
        self._failing_since, self._pause = None, _FIRST_PAUSE_SECONDS

    def note(self, response: Any) -> None:
        """Notes that all changes of a message have been given."""
        if response.checkpoint:
            self.request.checkpoint = response.checkpoint

    def pause_after(self, error: SidecarError) -> float | None:
        """The seconds to wait before the next call; None: the failure is the application's to deal with."""
        if not isinstance(error, Unavailable | DeadlineExceeded):
            return None
        now = self._clock()
        if self._failing_since is None:
            self._failing_since = now
        pause, self._pause = self._pause, min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
        return pause if now + pause - self._failing_since <= self._patience else None


class Watch:
    """The changes of a table, each as `get_records` would give it. Leaving the iteration ends the call.

    Every change comes at least once, those of one item in order. Where the sidecar goes away, or AWS, the watch goes on
    after `checkpoint`; iterating once more does, too.
    """

    def __init__(self, calls: Calls, progress: Progress, pause: Callable[[float], None] = time.sleep) -> None:
        self._calls = calls
        self._progress = progress
        self._pause = pause
        self._opened: Generator[Any, None, None] | None = None

    @property
    def checkpoint(self) -> str | None:
        """Where to go on: after the newest message whose changes were all given, and dealt with; None before it begins.

        It moves on when the next change is asked for after the last one of a message.
        """
        return self._progress.checkpoint

    def begin(self) -> None:
        """Returns when the watch is in place: what is written from now on will come."""
        if self._opened is None:
            opened = self._responses()
            self._progress.note(next(opened))
            # Not before: one that has failed gives nothing more.
            self._opened = opened

    def __iter__(self) -> Iterator[shapes.Record]:
        """Yields change after change."""
        opened, self._opened = self._opened or self._responses(), None
        with closing(opened) as responses:
            for response in responses:
                for record in response.records:
                    yield cast("shapes.Record", _RECORD.plain(record))
                # Not before the application asks for more: it has dealt with the last one then.
                self._progress.note(response)

    def _responses(self) -> Generator[Any, None, None]:
        progress = self._progress
        # Those of a beginning or an iteration that has ended may be long ago.
        progress.forget_failures()
        while True:
            try:
                for response in self._calls.stream(progress.method, progress.request, _CALL_SECONDS):
                    progress.forget_failures()
                    yield response
                return
            except SidecarError as error:
                pause = progress.pause_after(error)
                if pause is None:
                    raise
            self._pause(pause)


class AioWatch:
    """The changes of a table, as `Watch` has them, for asyncio."""

    def __init__(
        self, calls: AioCalls, progress: Progress, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._calls = calls
        self._progress = progress
        self._pause = pause
        self._opened: AsyncGenerator[Any, None] | None = None
        self._beginning = asyncio.Lock()

    @property
    def checkpoint(self) -> str | None:
        """Where to go on, as `Watch.checkpoint` has it."""
        return self._progress.checkpoint

    async def begin(self) -> None:
        """Returns when the watch is in place: what is written from now on will come."""
        async with self._beginning:
            if self._opened is None:
                opened = self._responses()
                self._progress.note(await anext(opened))
                # Not before: one that has failed, or was cancelled, gives nothing more.
                self._opened = opened

    async def __aiter__(self) -> AsyncIterator[shapes.Record]:
        """Yields change after change."""
        # What another task is beginning is waited for, and taken over.
        async with self._beginning:
            opened, self._opened = self._opened or self._responses(), None
        async with aclosing(opened) as responses:
            async for response in responses:
                for record in response.records:
                    yield cast("shapes.Record", _RECORD.plain(record))
                self._progress.note(response)

    async def _responses(self) -> AsyncGenerator[Any, None]:
        progress = self._progress
        # Those of a beginning or an iteration that has ended may be long ago.
        progress.forget_failures()
        while True:
            try:
                stream = self._calls.stream(progress.method, progress.request, _CALL_SECONDS)
                async with aclosing(stream) as responses:
                    async for response in responses:
                        progress.forget_failures()
                        yield response
                return
            except SidecarError as error:
                pause = progress.pause_after(error)
                if pause is None:
                    raise
            await self._pause(pause)


class Watches:
    """The method of DynamoDB that watches a table, for threads."""

    _calls: Calls

    def watch_table(
        self,
        table_name: str,
        *,
        start: str = "LATEST",
        checkpoint: str | None = None,
        heartbeat: float | None = None,
        max_records: int | None = None,
        patience: float = DEFAULT_PATIENCE_SECONDS,
    ) -> Watch:
        """Watches the changes of a table, by its name or ARN, through its DynamoDB stream.

        It begins with what is written from then on (`start="LATEST"`), with the oldest change that the stream keeps
        (`"TRIM_HORIZON"`), or after a checkpoint of an earlier watch. `heartbeat` is the longest time in seconds
        without a new checkpoint, 1 to 300; `max_records` the most changes between two, 1 to 1000. `patience` is how
        many seconds the sidecar may be away.
        """
        request = _request(table_name, start, checkpoint, heartbeat, max_records)
        return Watch(self._calls, Progress(request, patience, time.monotonic))


class AioWatches:
    """The method of DynamoDB that watches a table, for asyncio."""

    _calls: AioCalls

    def watch_table(
        self,
        table_name: str,
        *,
        start: str = "LATEST",
        checkpoint: str | None = None,
        heartbeat: float | None = None,
        max_records: int | None = None,
        patience: float = DEFAULT_PATIENCE_SECONDS,
    ) -> AioWatch:
        """Watches the changes of a table, by its name or ARN, through its DynamoDB stream.

        The arguments are those of `Watches.watch_table`.
        """
        request = _request(table_name, start, checkpoint, heartbeat, max_records)
        return AioWatch(self._calls, Progress(request, patience, time.monotonic))


def _request(
    table_name: str, start: str, checkpoint: str | None, heartbeat: float | None, max_records: int | None
) -> WatchTableRequest:
    request = WatchTableRequest(table_name=table_name, max_records=max_records)
    if checkpoint is None:
        request.position = start
    else:
        request.checkpoint = checkpoint
    if heartbeat is not None:
        request.heartbeat_interval.FromTimedelta(timedelta(seconds=heartbeat))
    return request
