"""Several origins share the places for connections: never more than there are, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awsidecar_server.aws.http import HttpFailure
from awsidecar_server.aws.http.connection import HttpConnection
from awsidecar_server.aws.http.places import Places
from awsidecar_server.aws.http.pool import HttpPool
from awsidecar_server.aws.retries import Stage


class Network:
    """Connections that are nothing but open or closed, to any number of origins; some cannot be opened."""

    def __init__(self, *, size: int, places: int, seed: int = 0, failing: float = 0.0) -> None:
        self.random = Random(seed)
        self.failing = failing
        self.size = size
        self.places = Places(places)
        self.open: Counter[str] = Counter()
        self.opened: Counter[str] = Counter()
        self.most_open = 0
        self.pools: dict[str, HttpPool] = {}

    def pool(self, origin: str) -> HttpPool:
        if origin not in self.pools:

            async def dial(on_lost: Callable[[HttpConnection], None]) -> HttpConnection:
                await turns(self.random.randrange(3))
                if self.random.random() < self.failing:
                    raise HttpFailure(Stage.UNSENT, "connect", "refused")
                return cast(HttpConnection, FakeConnection(self, origin, on_lost))

            self.pools[origin] = HttpPool(dial, self.size, self.places)
        return self.pools[origin]

    async def use(self, origin: str, hold: int = 2) -> None:
        """Borrows a connection for some turns of the loop."""
        pool = self.pool(origin)
        connection = await pool.acquire(None)
        try:
            await turns(hold)
        finally:
            pool.release(connection)


class FakeConnection:
    def __init__(self, network: Network, origin: str, on_lost: Callable[[Any], None]) -> None:
        loop = asyncio.get_running_loop()
        self._network, self._origin, self._on_lost = network, origin, on_lost
        self.born = self.idle_since = loop.time()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.is_ready, self.is_silent = True, True
        network.open[origin] += 1
        network.opened[origin] += 1
        network.most_open = max(network.most_open, network.open.total())

    def abort(self) -> None:
        if self.is_ready:
            self.is_ready = False
            asyncio.get_running_loop().call_soon(self._lose)

    def _lose(self) -> None:
        self._network.open[self._origin] -= 1
        self.closed.set_result(None)
        self._on_lost(self)


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def finished(work: list[asyncio.Task[None]], within: int = 20_000) -> None:
    for _ in range(within):
        if all(one.done() for one in work):
            return
        await asyncio.sleep(0)
    pytest.fail(f"{sum(not one.done() for one in work)} wait for ever")


def test_there_are_never_more_connections_than_places_and_everybody_has_a_turn() -> None:
    @settings(max_examples=150, deadline=None)
    @given(
        seed=st.integers(0, 2**32),
        size=st.integers(1, 4),
        places=st.integers(1, 6),
        origins=st.integers(1, 8),
        failing=st.sampled_from([0.0, 0.3]),
    )
    def holds(seed: int, size: int, places: int, origins: int, failing: float) -> None:
        asyncio.run(storm(seed, size, places, origins, failing))

    async def storm(seed: int, size: int, places: int, origins: int, failing: float) -> None:
        network = Network(size=size, places=places, seed=seed, failing=failing)
        random = network.random
        work: list[asyncio.Task[None]] = []
        for _ in range(60):
            origin = f"origin-{random.randrange(origins)}"
            work.append(asyncio.create_task(network.use(origin, random.randrange(4))))
            if random.random() < 0.2:
                random.choice(work).cancel()
            await turns(random.randrange(3))
        await finished(work)
        failures = [one.exception() for one in work if not one.cancelled()]
        assert all(failure is None or isinstance(failure, HttpFailure) for failure in failures)
        assert network.most_open <= places
        assert all(network.open[origin] <= size for origin in network.pools)
        # What is left is idle, and its places are known.
        assert repr(network.places).startswith(f"<Places {network.open.total()} of {places} taken")
        for pool in network.pools.values():
            await pool.aclose()
        assert repr(network.places).startswith(f"<Places 0 of {places} taken")

    holds()


async def test_idle_connection_of_another_origin_makes_room() -> None:
    network = Network(size=2, places=2)
    await asyncio.gather(network.use("one"), network.use("one"))
    assert network.open == {"one": 2}
    await asyncio.wait_for(network.use("other"), 10)
    assert network.open == {"one": 1, "other": 1}


async def test_origin_that_is_always_busy_leaves_another_its_turn() -> None:
    """Otherwise its connections would go from hand to hand, and their places never come free."""
    network, ended = Network(size=4, places=4), asyncio.Event()

    async def flood() -> None:
        while not ended.is_set():
            await network.use("busy")

    busy = [asyncio.create_task(flood()) for _ in range(16)]
    await turns(20)
    assert network.open == {"busy": 4}
    await finished([asyncio.create_task(network.use("quiet"))], within=50)
    ended.set()
    await asyncio.gather(*busy)


async def test_shares_become_equal_and_stay_as_they_are() -> None:
    """A place that went to and fro would cost a handshake for each request."""
    network, ended = Network(size=8, places=8), asyncio.Event()

    async def flood(origin: str) -> None:
        while not ended.is_set():
            await network.use(origin)

    floods = [asyncio.create_task(flood("one")) for _ in range(20)]
    await turns(20)
    floods += [asyncio.create_task(flood(origin)) for origin in ("two", "three") for _ in range(20)]
    await turns(500)
    assert sorted(network.open.values()) == [2, 3, 3]
    opened = network.opened.total()
    await turns(2000)
    assert network.opened.total() == opened
    ended.set()
    await asyncio.gather(*floods)


async def test_more_origins_than_places_take_turns() -> None:
    network = Network(size=4, places=2)
    work = [asyncio.create_task(network.use(f"origin-{number % 10}")) for number in range(100)]
    await finished(work)
    assert network.most_open == 2


async def test_who_leaves_the_queue_is_given_no_place() -> None:
    network = Network(size=2, places=1)
    lent = await network.pool("one").acquire(None)
    waiting = asyncio.create_task(network.use("other"))
    await turns(2)
    waiting.cancel()
    await turns(2)
    network.pool("one").release(lent)
    assert network.open == {"one": 1}
    assert network.pool("one").connections == (0, 1)


@pytest.mark.parametrize("lost", ["is_ready", "is_silent"])
async def test_who_is_lent_a_connection_that_is_lost_keeps_its_turn(lost: str) -> None:
    network = Network(size=1, places=1)
    lent: Any = await network.pool("one").acquire(None)
    order: list[int] = []

    async def use(number: int) -> None:
        await network.use("one")
        order.append(number)

    waiting = [asyncio.create_task(use(number)) for number in range(3)]
    await turns(2)
    network.pool("one").release(lent)
    if lost == "is_ready":  # on its way to the first
        lent.abort()
    else:
        lent.is_silent = False
    await finished(waiting)
    assert order == [0, 1, 2]
