"""A call with a stream in both directions, whose tasks are cancelled at bad moments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from awsidecar.batch_progress import WRITE_STREAM
from awsidecar.exceptions import SidecarError
from awsidecar.exchanges import AioExchange


class FakeCall:
    """As much of a call of gRPC as an exchange asks for. Each write waits for room; nothing is answered."""

    def __init__(self) -> None:
        self.written: list[Any] = []
        self.room = asyncio.Semaphore(0)
        self.is_cancelled = asyncio.Event()
        self._callbacks: list[Callable[[object], None]] = []

    async def write(self, request: Any) -> None:
        await self.room.acquire()
        self.written.append(request)

    async def done_writing(self) -> None:
        self.written.append(None)

    async def _responses(self) -> AsyncIterator[Any]:
        while not self.cancelled():
            await self.is_cancelled.wait()
            if self.cancelled():
                raise asyncio.CancelledError  # as gRPC does, whoever waits
            yield None

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._responses()

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        self._callbacks.append(callback)

    def end(self) -> None:
        for callback in self._callbacks[1:]:  # the first is for the status, which it has not
            callback(self)

    def cancel(self) -> None:
        self.is_cancelled.set()

    def cancelled(self) -> bool:
        return self.is_cancelled.is_set()


def exchange_of(call: FakeCall) -> AioExchange:
    channel = SimpleNamespace(stream_stream=lambda *path, **how: lambda **options: call)
    calls: Any = SimpleNamespace(channel=channel, settings=SimpleNamespace(metadata=()))
    return AioExchange(calls, WRITE_STREAM, 10)


async def cancelled(task: asyncio.Future[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("turns", [0, 1, 5])
async def test_requests_of_cancelled_senders_are_sent_in_their_order(turns: int) -> None:
    call = FakeCall()
    exchange = exchange_of(call)
    for request in ("one", "two", "three"):
        sending = asyncio.ensure_future(exchange.send(request))  # type: ignore[arg-type]
        for _ in range(turns + 1):
            await asyncio.sleep(0)
        await cancelled(sending)
    finishing = asyncio.ensure_future(exchange.finish())
    await asyncio.sleep(0)
    await cancelled(finishing)
    for _ in range(3):
        call.room.release()
    async with asyncio.timeout(5):
        while len(call.written) < 4:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
    assert call.written == ["one", "two", "three", None]


async def test_call_that_is_cancelled_under_its_reader_is_an_error_and_no_cancellation() -> None:
    call = FakeCall()
    exchange = exchange_of(call)
    reading = asyncio.ensure_future(exchange.receive())
    await asyncio.sleep(0)
    exchange.cancel()
    with pytest.raises(SidecarError, match="in the middle of the call") as caught:
        await reading
    assert caught.value.ambiguous
    waiting = asyncio.ensure_future(exchange.receive())
    with pytest.raises(SidecarError):
        await waiting


@pytest.mark.parametrize("end", ["cancelled", "ended by itself"])
async def test_senders_to_a_peer_that_says_nothing_are_let_go_when_the_call_ends(end: str) -> None:
    call = FakeCall()
    exchange = exchange_of(call)
    sending = [asyncio.ensure_future(exchange.send("request")) for _ in range(3)]  # type: ignore[arg-type]
    await asyncio.sleep(0)
    if end == "cancelled":
        exchange.cancel()
    else:
        call.end()
    async with asyncio.timeout(5):
        assert await asyncio.gather(*sending) == [None] * 3
    assert call.written == []
