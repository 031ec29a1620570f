"""How many calls are served at once, how large they are, and how they end in a drain."""

from __future__ import annotations

import asyncio
from typing import Any

from awsidecar_server.config import ListenConfig
from awsidecar_server.errors import Draining, LimitReached


class Admission:
    """Counts the calls in flight and their bytes, and takes no more of them than the configuration allows."""

    def __init__(self, config: ListenConfig) -> None:
        self._config = config
        self._in_flight = 0
        self._in_flight_bytes = 0
        self._endless: set[asyncio.Task[Any]] = set()
        # Set when a drain begins: for calls that end themselves then, once what they have begun is done.
        self.drain_begun = asyncio.Event()
        self._stopped = False
        self._turning_away = asyncio.Event()
        self._idle = asyncio.Event()

    def enter(self, size: int) -> None:
        """Counts a call whose request has so many bytes; `leave` it with the same."""
        self._in_flight += 1
        self._in_flight_bytes += size

    def leave(self, size: int) -> None:
        self._in_flight -= 1
        self._in_flight_bytes -= size
        self._idle.set()

    async def admit(self, size: int) -> None:
        """Returns when the call that has entered may be served, and raises why it may not."""
        if self.draining:
            await self._turning_away.wait()
            raise Draining
        most, most_bytes = self._config.max_in_flight, self._config.max_in_flight_bytes
        if self._in_flight > most:
            raise LimitReached("too many calls are in flight", reason="OVERLOADED", limit=str(most))
        # A single request is never too much: it has its own limit.
        if self._in_flight_bytes > most_bytes and self._in_flight > 1:
            raise LimitReached("too many bytes are in flight", reason="OVERLOADED", limit_bytes=str(most_bytes))
        self.check_size(size, "request")

    def check_size(self, size: int, direction: str) -> None:
        """Raises `LimitReached` for a message that is larger than the configuration allows."""
        limit = self._config.max_message_bytes
        if size > limit:
            raise LimitReached(
                f"the {direction} has {size} bytes, more than {limit}",
                reason="MESSAGE_TOO_LARGE",
                direction=direction,
                size_bytes=str(size),
                limit_bytes=str(limit),
            )

    def begin_endless(self, task: asyncio.Task[Any]) -> None:
        """Takes note of a call that a drain must end; `end_endless` when it has ended by itself."""
        self._endless.add(task)

    def end_endless(self, task: asyncio.Task[Any]) -> None:
        self._endless.discard(task)

    @property
    def draining(self) -> bool:
        return self.drain_begun.is_set()

    def drain(self) -> None:
        """Takes no more calls; those in flight go on, unless they are endless, and new ones wait to be turned away."""
        self.drain_begun.set()
        for task in self._endless:
            task.cancel()

    @property
    def stopped(self) -> bool:
        return self._stopped

    def stop(self) -> None:
        """Takes note that calls are ended by us from now on, not by their callers."""
        self._stopped = True

    async def idle(self) -> None:
        """Returns when no call is in flight any more; only during a drain."""
        while self._in_flight:
            self._idle.clear()
            await self._idle.wait()

    def turn_away(self) -> None:
        """Answers what came during the drain, and what still comes."""
        self._turning_away.set()
