"""The addresses behind the names of hosts. A name that is being looked up is not looked up once more beside that."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple

from awsidecar_server.identity.flights import Flights

# uvloop has as many threads for it. A lookup cannot be stopped, however long a name server that says nothing makes it
# take; what waited for a thread would be looked up even when nobody wants it any more.
_MOST_LOOKUPS = 4


class Place(NamedTuple):
    """What is looked up."""

    host: str
    port: int


# What `socket.getaddrinfo` gives: family, type, protocol, canonical name, address.
Addresses = list[tuple[int, int, int, str, tuple[Any, ...]]]


async def _look_up(place: Place) -> Addresses:
    loop = asyncio.get_running_loop()
    return list(await loop.getaddrinfo(*place, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP))


class Names:
    """Looks each name up once for all who wait for it, and no more names at a time than there are threads.

    So a name whose servers say nothing keeps one thread busy and not all, and when they speak again, no lookups that
    nobody wants any more come before those that somebody does.
    """

    def __init__(self, look_up: Callable[[Place], Coroutine[Any, Any, Addresses]] = _look_up) -> None:
        self._look_up = look_up
        self._flights: Flights[Place, Addresses] = Flights()
        self._room = asyncio.Semaphore(_MOST_LOOKUPS)
        self._wanted: Counter[Place] = Counter()

    def __repr__(self) -> str:
        return f"<Names {len(self._flights)} being looked up>"

    async def addresses(self, host: str, port: int) -> Addresses:
        """Raises `OSError`; `UnicodeError` for what cannot be a name; `Draining` once it is closed."""
        try:  # without a thread, where there is nothing to look up
            return list(
                socket.getaddrinfo(
                    host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_NUMERICHOST
                )
            )
        except socket.gaierror:
            return await self._found(Place(host, port))

    async def aclose(self) -> None:
        """Nobody waits for a lookup any more."""
        await self._flights.aclose()

    async def _found(self, place: Place) -> Addresses:
        self._wanted[place] += 1
        try:
            return await self._flights.join(place, partial(self._in_turn, place))
        finally:
            self._wanted[place] -= 1
            if not self._wanted[place]:
                del self._wanted[place]

    async def _in_turn(self, place: Place) -> Addresses:
        async with self._room:
            if place not in self._wanted:  # all who waited have given up before it was its turn
                return []
            return await self._look_up(place)
