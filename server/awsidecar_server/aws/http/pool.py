"""The connections to one origin: how many there may be, who gets the next one, and how long they are kept."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from awsidecar_server.aws.http.connection import HttpConnection
from awsidecar_server.aws.http.messages import HttpFailure
from awsidecar_server.aws.retries import Stage

# AWS's front ends close what was idle for about 20 seconds; a request that crosses this on its way may be lost.
_KEEPALIVE_SECONDS = 15.0
# Then it makes room for another, so that a change of AWS's addresses is followed.
_MAX_AGE_SECONDS = 600.0


class Connections(NamedTuple):
    """How many there are, for the gauges."""

    in_use: int
    idle: int


class HttpPool:
    """Lends connections, each to one at a time; whoever waits gets one in turn.

    The state is what is open, what of it is idle, and who waits. It changes only where nothing is awaited. What is
    open or being opened never exceeds the size, and nobody waits while anything is idle or may be opened.
    """

    def __init__(
        self,
        dial: Callable[[Callable[[HttpConnection], None]], Awaitable[HttpConnection]],
        size: int,
        *,
        keepalive_seconds: float = _KEEPALIVE_SECONDS,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """The clock is the one of the loop, and another in tests only."""
        self._dial = dial
        self._size = size
        self._keepalive_seconds = keepalive_seconds
        self._loop = asyncio.get_running_loop()
        self._clock = clock or self._loop.time
        self._open: set[HttpConnection] = set()
        self._opening = 0
        # The one that was used last is used next, so that those that are not needed grow old.
        self._idle: list[HttpConnection] = []
        # What they are given: a connection, or None for a place to open one.
        self._waiting: deque[asyncio.Future[HttpConnection | None]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        in_use, idle = self.connections
        return f"<HttpPool {in_use} in use, {idle} idle, {self._opening} opening, {len(self._waiting)} waiting>"

    @property
    def connections(self) -> Connections:
        return Connections(len(self._open) - len(self._idle), len(self._idle))

    @property
    def is_empty(self) -> bool:
        return not (self._open or self._opening or self._waiting)

    async def acquire(self, deadline: float | None) -> HttpConnection:
        """A connection that is ready, to be given back to `release`. Raises `HttpFailure` of stage `UNSENT`."""
        while True:
            connection = self._take_idle()
            if connection is not None:
                return connection
            if self._is_closed:
                raise _closed()
            if len(self._open) + self._opening < self._size:
                self._opening += 1
            else:
                connection = await self._wait(deadline)
            if connection is None:
                return await self._fill_place(deadline)
            if connection.is_ready and connection.is_silent:  # else lost in the moment since it was handed over
                return connection
            connection.abort()

    def release(self, connection: HttpConnection) -> None:
        """Takes a connection back; one that is not clean is closed, and then makes room for another."""
        now = self._clock()
        if not connection.is_ready or self._is_closed or now - connection.born > _MAX_AGE_SECONDS:
            connection.abort()
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        connection.idle_since = now
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self._keepalive_seconds, self._sweep)

    async def aclose(self) -> None:
        """Closes everything; requests in progress fail."""
        self._is_closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(_closed())
        self._waiting.clear()
        ends = [connection.closed for connection in self._open]
        for connection in list(self._open):
            connection.abort()
        await asyncio.gather(*ends)

    def _take_idle(self) -> HttpConnection | None:
        now = self._clock()
        while self._idle:
            connection = self._idle.pop()
            is_fresh = now - connection.idle_since < self._keepalive_seconds
            # What the peer said since would be taken for the next answer, which may be somebody else's.
            if connection.is_ready and is_fresh and connection.is_silent:
                return connection
            connection.abort()
        return None

    async def _wait(self, deadline: float | None) -> HttpConnection | None:
        waiter: asyncio.Future[HttpConnection | None] = self._loop.create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout_at(deadline):
                return await waiter
        except BaseException as gone:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give_back(waiter.result())
            if isinstance(gone, TimeoutError):
                raise HttpFailure(Stage.UNSENT, "deadline", "no connection to AWS came free in time") from gone
            raise

    async def _fill_place(self, deadline: float | None) -> HttpConnection:
        try:
            async with asyncio.timeout_at(deadline):
                connection = await self._dial(self._lost)
        except BaseException as failure:
            self._give_back(None)
            if isinstance(failure, TimeoutError):
                raise HttpFailure(Stage.UNSENT, "deadline", "AWS was not connected to in time") from failure
            raise
        self._opening -= 1
        if connection.closed.done():  # so soon that `_lost` did not know of it
            self._offer_places()
        else:
            self._open.add(connection)
        if connection.is_ready and not self._is_closed:
            return connection
        connection.abort()
        raise _closed()

    def _give_back(self, lent: HttpConnection | None) -> None:
        """Takes back what a waiter was given and has no more use for."""
        if lent is not None:
            self.release(lent)
            return
        self._opening -= 1
        self._offer_places()

    def _lost(self, connection: HttpConnection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._offer_places()

    def _offer_places(self) -> None:
        while self._waiting and len(self._open) + self._opening < self._size:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._opening += 1
                waiter.set_result(None)

    def _sweep(self) -> None:
        """Closes what has been idle for long; the longest idle come first."""
        self._sweeper = None
        now = self._clock()
        for connection in list(self._idle):
            rest = connection.idle_since + self._keepalive_seconds - now
            if rest > 0:
                self._sweeper = self._loop.call_later(rest, self._sweep)
                return
            self._idle.remove(connection)
            connection.abort()


def _closed() -> HttpFailure:
    return HttpFailure(Stage.UNSENT, "connect", "the connection to AWS was closed before the request was sent")
