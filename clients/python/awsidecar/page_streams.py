"""Queries, scans and statements as streams of pages, which go on where they stopped when the sidecar goes away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack, cast

from awsidecar.exceptions import DeadlineExceeded, SidecarError, Unavailable
from awsidecar.page_progress import Progress, SegmentPosition, query_progress, scan_progress, statement_progress

if TYPE_CHECKING:
    from awsidecar import shapes
    from awsidecar.calls import AioCalls, Calls

PageT = TypeVar("PageT")

# Between a failure and the next attempt; a page begins them anew. Together they outlast the restart of a sidecar.
_PAUSES_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0)


class PageStream(Generic[PageT]):
    """The pages of a stream. Iterating over it calls the sidecar; leaving the iteration ends the call.

    Where the sidecar goes away meanwhile, the stream goes on after the newest page. Iterating once more does, too.
    """

    def __init__(
        self, calls: Calls, progress: Progress, timeout: float | None, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._calls = calls
        self._progress = progress
        self._timeout = timeout
        self._pause = pause

    @property
    def positions(self) -> list[SegmentPosition]:
        """How far a scan with `segments` has come: with the newest page, or the newest whose items were all given."""
        return self._progress.positions

    def __iter__(self) -> Iterator[PageT]:
        """Yields page after page."""
        for response in self._responses():
            self._progress.note(response)
            yield cast(PageT, self._progress.decode(response))

    def items(self) -> Iterator[dict[str, Any]]:
        """Yields the items of page after page."""
        for response in self._responses():
            yield from self._progress.decode(response)["Items"]
            self._progress.note(response)

    def _responses(self) -> Generator[Any, None, None]:
        attempts = Attempts()
        while not self._progress.is_done:
            try:
                for response in self._calls.stream(self._progress.method, self._progress.rest(), self._timeout):
                    attempts.note_page()
                    yield response
                return
            except SidecarError as error:
                pause = attempts.pause_after(error)
                if pause is None:
                    raise
            self._pause(pause)


class AioPageStream(Generic[PageT]):
    """The pages of a stream, as `PageStream` has them, for asyncio."""

    def __init__(
        self,
        calls: AioCalls,
        progress: Progress,
        timeout: float | None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._calls = calls
        self._progress = progress
        self._timeout = timeout
        self._pause = pause

    @property
    def positions(self) -> list[SegmentPosition]:
        """How far a scan with `segments` has come: with the newest page, or the newest whose items were all given."""
        return self._progress.positions

    async def __aiter__(self) -> AsyncIterator[PageT]:
        """Yields page after page."""
        async with aclosing(self._responses()) as responses:
            async for response in responses:
                self._progress.note(response)
                yield cast(PageT, self._progress.decode(response))

    async def items(self) -> AsyncIterator[dict[str, Any]]:
        """Yields the items of page after page."""
        async with aclosing(self._responses()) as responses:
            async for response in responses:
                for item in self._progress.decode(response)["Items"]:
                    yield item
                self._progress.note(response)

    async def _responses(self) -> AsyncGenerator[Any, None]:
        attempts = Attempts()
        while not self._progress.is_done:
            try:
                rest = self._progress.rest()
                async with aclosing(self._calls.stream(self._progress.method, rest, self._timeout)) as responses:
                    async for response in responses:
                        attempts.note_page()
                        yield response
                return
            except SidecarError as error:
                pause = attempts.pause_after(error)
                if pause is None:
                    raise
            await self._pause(pause)


class Attempts:
    """Decides whether a stream that failed goes on, and when."""

    def __init__(self) -> None:
        self._failures = 0
        self._has_page = False

    def note_page(self) -> None:
        self._failures = 0
        self._has_page = True

    def pause_after(self, error: SidecarError) -> float | None:
        """The seconds to wait before the next call; None: the failure is the caller's to deal with."""
        had_page, self._has_page = self._has_page, False
        if isinstance(error, DeadlineExceeded):
            # The time limit is for a stream that gives nothing.
            return 0.0 if had_page else None
        # Not where AWS is away: the sidecar has tried that already.
        is_sidecar_away = isinstance(error, Unavailable) and error.reason in {"", "DRAINING"}
        if not is_sidecar_away or self._failures == len(_PAUSES_SECONDS):
            return None
        self._failures += 1
        return _PAUSES_SECONDS[self._failures - 1]


class PageStreams:
    """The methods of DynamoDB that stream pages, for threads."""

    _calls: Calls

    def query_stream(
        self,
        *,
        limit_items: int | None = None,
        timeout: float | None = None,
        **parameters: Unpack[shapes.QueryRequest],
    ) -> PageStream[shapes.QueryResponse]:
        """Streams the pages of a query, up to `limit_items` items in all.

        `timeout` ends a stream that has given no page for so long.
        """
        return PageStream(self._calls, query_progress(parameters, limit_items), timeout)

    def scan_stream(
        self,
        *,
        segments: int | None = None,
        positions: Iterable[SegmentPosition] = (),
        limit_items: int | None = None,
        timeout: float | None = None,
        **parameters: Unpack[shapes.ScanRequest],
    ) -> PageStream[shapes.ScanResponse]:
        """Streams the pages of a scan, `segments` parts of the table side by side, up to `limit_items` items in all.

        `positions` are those of an earlier stream with the same `segments`, which this one goes on with. `timeout`
        ends a stream that has given no page for so long.
        """
        return PageStream(self._calls, scan_progress(parameters, limit_items, segments, positions), timeout)

    def execute_statement_stream(
        self,
        *,
        limit_items: int | None = None,
        timeout: float | None = None,
        **parameters: Unpack[shapes.ExecuteStatementRequest],
    ) -> PageStream[shapes.ExecuteStatementResponse]:
        """Streams the pages of a PartiQL SELECT, up to `limit_items` items in all.

        `timeout` ends a stream that has given no page for so long.
        """
        return PageStream(self._calls, statement_progress(parameters, limit_items), timeout)


class AioPageStreams:
    """The methods of DynamoDB that stream pages, for asyncio."""

    _calls: AioCalls

    def query_stream(
        self,
        *,
        limit_items: int | None = None,
        timeout: float | None = None,
        **parameters: Unpack[shapes.QueryRequest],
    ) -> AioPageStream[shapes.QueryResponse]:
        """Streams the pages of a query, up to `limit_items` items in all.

        `timeout` ends a stream that has given no page for so long.
        """
        return AioPageStream(self._calls, query_progress(parameters, limit_items), timeout)

    def scan_stream(
        self,
        *,
        segments: int | None = None,
        positions: Iterable[SegmentPosition] = (),
        limit_items: int | None = None,
        timeout: float | None = None,
        **parameters: Unpack[shapes.ScanRequest],
    ) -> AioPageStream[shapes.ScanResponse]:
        """Streams the pages of a scan, `segments` parts of the table side by side, up to `limit_items` items in all.

        `positions` are those of an earlier stream with the same `segments`, which this one goes on with. `timeout`
        ends a stream that has given no page for so long.
        """
        return AioPageStream(self._calls, scan_progress(parameters, limit_items, segments, positions), timeout)

    def execute_statement_stream(
        self,
        *,
        limit_items: int | None = None,
        timeout: float | None = None,
        **parameters: Unpack[shapes.ExecuteStatementRequest],
    ) -> AioPageStream[shapes.ExecuteStatementResponse]:
        """Streams the pages of a PartiQL SELECT, up to `limit_items` items in all.

        `timeout` ends a stream that has given no page for so long.
        """
        return AioPageStream(self._calls, statement_progress(parameters, limit_items), timeout)
