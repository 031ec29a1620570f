"""A call with a stream in both directions, whose tasks are cancelled at bad moments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from grpc import aio

from awsidecar.batch_progress import WRITE_STREAM
from awsidecar.exceptions import SidecarError, Unavailable
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


class CallWithFailedWrite(FakeCall):
    """A call of which gRPC says that a write has failed, in place of the sidecar's status; that comes later, or never."""

    def __init__(self) -> None:
        super().__init__()
        self.status = (grpc.StatusCode.INTERNAL, "Internal error from Core")

    async def _responses(self) -> AsyncIterator[Any]:
        if not self.cancelled():
            code, details = self.status
            raise aio.AioRpcError(code, aio.Metadata(), aio.Metadata(), details)
        yield None

    async def code(self) -> grpc.StatusCode:
        return self.status[0]

    async def details(self) -> str:
        return self.status[1]

    async def trailing_metadata(self) -> aio.Metadata:
        return aio.Metadata()


def exchange_of(call: FakeCall, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> AioExchange:
    channel = SimpleNamespace(stream_stream=lambda *path, **how: lambda **options: call)
    calls: Any = SimpleNamespace(channel=channel, settings=SimpleNamespace(metadata=()))
    return AioExchange(calls, WRITE_STREAM, 10, pause)


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


async def test_status_that_comes_some_time_after_a_failed_write_is_what_the_reader_is_told() -> None:
    call = CallWithFailedWrite()
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 7:
            call.status = (grpc.StatusCode.UNAVAILABLE, "bye")

    with pytest.raises(Unavailable, match="bye"):
        await exchange_of(call, pause).receive()
    assert len(pauses) == 7


async def test_reader_that_waits_for_a_status_is_let_go_when_the_call_is_cancelled() -> None:
    paused = asyncio.Event()

    async def pause(seconds: float) -> None:
        paused.set()
        await asyncio.Event().wait()

    exchange = exchange_of(CallWithFailedWrite(), pause)
    reading = asyncio.ensure_future(exchange.receive())
    await paused.wait()
    exchange.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(SidecarError, match="in the middle of the call"):
            await reading


async def test_status_that_never_comes_is_waited_for_for_a_second() -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        assert len(pauses) < 1_000, "it is waited for for ever"
        pauses.append(seconds)

    with pytest.raises(SidecarError) as caught:
        await exchange_of(CallWithFailedWrite(), pause).receive()
    assert caught.value.code is grpc.StatusCode.INTERNAL
    assert caught.value.ambiguous
    assert sum(pauses) == pytest.approx(1.0)
