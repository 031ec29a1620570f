"""The connections to one origin: how many there may be, who gets the next one, and how long they are kept."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import count
from typing import NamedTuple

from awsidecar_server.aws.http.connection import HttpConnection
from awsidecar_server.aws.http.messages import HttpFailure
from awsidecar_server.aws.http.places import Places
from awsidecar_server.aws.retries import Stage

# AWS's front ends close what was idle for about 20 seconds; a request that crosses this on its way may be lost.
_KEEPALIVE_SECONDS = 15.0
# Then it makes room for another, so that a change of AWS's addresses is followed.
_MAX_AGE_SECONDS = 600.0


class Connections(NamedTuple):
    """How many there are, for the gauges."""

    in_use: int
    idle: int


class _Waiting(NamedTuple):
    """Somebody who waits."""

    turn: int
    given: asyncio.Future[HttpConnection | None]


class HttpPool:
    """Lends connections, each to one at a time; whoever waits gets one in turn.

    The state is what is open, what of it is idle, and who waits. It changes only where nothing is awaited. What is
    open or being opened has a place each, never exceeds the size, and nobody waits while anything is idle or may be
    opened.
    """

    def __init__(
        self,
        dial: Callable[[Callable[[HttpConnection], None]], Awaitable[HttpConnection]],
        size: int,
        places: Places | None = None,
        *,
        keepalive_seconds: float = _KEEPALIVE_SECONDS,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`places` are those of all origins together. The clock is the one of the loop, and another in tests only."""
        self._dial = dial
        self._size = size
        self._places = places or Places(size)
        self._keepalive_seconds = keepalive_seconds
        self._loop = asyncio.get_running_loop()
        self._clock = clock or self._loop.time
        self._open: set[HttpConnection] = set()
        self._opening = 0
        # The one that was used last is used next, so that those that are not needed grow old.
        self._idle: list[HttpConnection] = []
        # By their turn, with what they are given: a connection, or None for a place to open one.
        self._waiting: deque[_Waiting] = deque()
        self._turns = count()
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

    @property
    def wanted(self) -> int:
        """How many more connections those who wait have a use for, as far as the size allows."""
        return min(len(self._waiting), self._size - len(self._open) - self._opening)

    @property
    def idle_since(self) -> float | None:
        """Since when the longest idle connection is so; None when none is idle."""
        return self._idle[0].idle_since if self._idle else None

    def close_longest_idle(self) -> None:
        self._idle.pop(0).abort()

    async def acquire(self, deadline: float | None) -> HttpConnection:
        """A connection that is ready, to be given back to `release`. Raises `HttpFailure` of stage `UNSENT`."""
        turn = None
        while True:
            connection = self._take_idle()
            if connection is not None:
                return connection
            if self._is_closed:
                raise _closed()
            if self._has_room and self._places.take(self):
                self._opening += 1
            else:
                turn = next(self._turns) if turn is None else turn
                connection = await self._wait(turn, deadline)
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
        while self._waiting and self._waiting[0].given.done():
            self._waiting.popleft()
        if self._places.are_due_from(self, is_of_use=bool(self._waiting)):
            connection.abort()
            return
        if self._waiting:
            self._waiting.popleft().given.set_result(connection)
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
        for waiting in self._waiting:
            if not waiting.given.done():
                waiting.given.set_exception(_closed())
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

    async def _wait(self, turn: int, deadline: float | None) -> HttpConnection | None:
        """Waits for a connection or a place. Who was given a connection that was lost keeps its turn."""
        given: asyncio.Future[HttpConnection | None] = self._loop.create_future()
        waiting = _Waiting(turn, given)
        place = len(self._waiting)
        while place and self._waiting[place - 1].turn > turn:
            place -= 1
        self._waiting.insert(place, waiting)
        if self._has_room:
            self._places.ask(self)
        try:
            async with asyncio.timeout_at(deadline):
                return await given
        except BaseException as gone:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            elif given.done() and not given.cancelled() and given.exception() is None:
                self._give_back(given.result())
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
        if connection.closed.done():  # so soon that `_lost` did not know of it
            self._give_back(None)
        else:
            self._opening -= 1
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
        self._places.put_back(self)
        self.offer_places()

    def _lost(self, connection: HttpConnection) -> None:
        if connection not in self._open:  # it failed while it was opened
            return
        self._open.remove(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._places.put_back(self)
        self.offer_places()

    @property
    def _has_room(self) -> bool:
        return len(self._open) + self._opening < self._size

    def offer_places(self) -> None:
        """Gives places to those who wait, as many as there are."""
        while self._waiting and self._has_room:
            if self._waiting[0].given.done():
                self._waiting.popleft()
            elif self._places.take(self):
                self._opening += 1
                self._waiting.popleft().given.set_result(None)
            else:
                self._places.ask(self)
                return

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
