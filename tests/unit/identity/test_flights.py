from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest
from tests.unit.identity.fakes import settle

from awsidecar_server.errors import Draining
from awsidecar_server.identity.flights import Flights

colour: ContextVar[str] = ContextVar("colour", default="none")


async def test_all_who_come_during_the_work_share_it() -> None:
    flights: Flights[str, int] = Flights()
    started = 0
    done = asyncio.Event()

    async def work() -> int:
        nonlocal started
        started += 1
        await done.wait()
        return started

    waiters = [asyncio.create_task(flights.join("key", work)) for _ in range(100)]
    await settle()
    done.set()
    assert await asyncio.gather(*waiters) == [1] * 100
    await settle()
    assert len(flights) == 0
    assert await flights.join("key", work) == 2


async def test_one_callers_cancellation_cancels_nobody_else() -> None:
    flights: Flights[str, str] = Flights()
    done = asyncio.Event()

    async def work() -> str:
        await done.wait()
        return "done"

    first = asyncio.create_task(flights.join("key", work))
    second = asyncio.create_task(flights.join("key", work))
    await settle()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    done.set()
    assert await second == "done"


async def test_the_work_ends_even_when_all_its_callers_are_cancelled() -> None:
    flights: Flights[str, None] = Flights()
    done, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await done.wait()
        ended.set()

    waiter = asyncio.create_task(flights.join("key", work))
    await settle()
    waiter.cancel()
    done.set()
    await settle()
    assert ended.is_set()


async def test_a_failure_that_nobody_waits_for_is_not_reported_as_lost() -> None:
    flights: Flights[str, None] = Flights()

    async def work() -> None:
        raise ValueError

    flights.start("key", work)
    await settle()
    assert not flights.is_under_way("key")


async def test_closing_cancels_the_work_and_tells_those_who_wait() -> None:
    flights: Flights[str, None] = Flights()

    async def work() -> None:
        await asyncio.Event().wait()

    waiter = asyncio.create_task(flights.join("key", work))
    await settle()
    await flights.aclose()
    with pytest.raises(Draining):
        await waiter
    with pytest.raises(Draining):
        await flights.join("key", work)


async def test_a_caller_cancelled_during_closing_is_cancelled() -> None:
    flights: Flights[str, None] = Flights()

    async def work() -> None:
        await asyncio.Event().wait()

    waiter = asyncio.create_task(flights.join("key", work))
    await settle()
    waiter.cancel()
    await flights.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiter


async def test_shared_work_sees_no_callers_context() -> None:
    flights: Flights[str, str] = Flights()
    colour.set("first caller's")

    async def work() -> str:
        return colour.get()

    assert await flights.join("key", work) == "none"
