"""A call with a stream of requests: how they are cut from what comes, counted, and held back."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any, cast

import grpc
from tests.unit.api.calling import LIMIT, FakeHost, FakeStream, join, message

from awsidecar_server.api.grpc_stream_call import StreamCall
from awsidecar_server.http2.budget import Budget
from awsidecar_server.http2.request import Head


def streaming(host: FakeHost, stream: FakeStream, serve: Any = join) -> StreamCall:
    stream.share = host.share
    handler: Any = grpc.stream_unary_rpc_method_handler(serve)
    return StreamCall(host, cast(Any, stream), handler, Head("/s/join", "POST", ()))


async def test_stream_of_requests_is_cut_into_its_messages_however_it_comes() -> None:
    raw = message(b"one") + message(b"") + message(b"three")
    for step in range(1, len(raw) + 1):
        host, stream = FakeHost(), FakeStream()
        call = streaming(host, stream)
        for at in range(0, len(raw), step):
            call.data(raw[at : at + step])
        call.ended()
        await host.some_finished.wait()
        assert stream.body == message(b"one++three")
        assert stream.consumed_bytes == len(raw)


async def test_request_of_a_stream_that_cannot_be_taken_ends_the_call_as_if_its_caller_had_left() -> None:
    """A handler that makes something of every exception does not get to see it, whichever task of its own reads."""
    seen: list[str] = []

    async def careful(requests: Any, context: Any) -> bytes:
        try:
            reading = asyncio.create_task(join(requests, context))
            return await reading
        except Exception as unforeseen:  # noqa: BLE001 - as the edge does
            seen.append(repr(unforeseen))
            return b""
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    for raw, status in (
        (message(b"one") + message(b"x" * (LIMIT + 1))[:9], "8"),
        (message(b"one") + b"\1" + message(b"compressed")[1:], "13"),
        (message(b"one")[:-1], "3"),
    ):
        host, stream = FakeHost(), FakeStream()
        call = streaming(host, stream, careful)
        call.data(raw)
        call.ended()
        await host.some_finished.wait()
        assert (stream.status, seen) == (status, ["cancelled"])
        assert host.budget.held_bytes == 0
        seen.clear()


async def test_stream_of_requests_that_nobody_reads_counts_against_the_budget() -> None:
    host, stream = FakeHost(limit_bytes=3 * LIMIT), FakeStream()
    going_on = asyncio.Event()

    async def late(requests: Any, context: Any) -> bytes:
        await going_on.wait()
        return await join(requests, context)

    call = streaming(host, stream, late)
    for _ in range(4):
        call.data(message(b"x" * (LIMIT - 100)))
    assert 2 * LIMIT < host.budget.held_bytes <= 3 * LIMIT
    going_on.set()
    await host.some_finished.wait()
    assert (stream.status, host.budget.held_bytes) == ("8", 0)


async def test_budget_of_a_long_stream_comes_back_with_each_message() -> None:
    host, stream = FakeHost(), FakeStream()
    call = streaming(host, stream)
    for _ in range(1000):
        raw = message(b"x")
        call.data(raw[:3])
        call.data(raw[3:])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert host.budget.held_bytes == 0
    call.ended()
    await host.some_finished.wait()
    assert stream.status == "0"


async def test_requests_of_a_stream_that_were_read_are_not_kept() -> None:
    host, stream = FakeHost(), FakeStream()
    host.max_message_bytes = 1 << 20
    host.share = Budget(1 << 24).share()
    read = asyncio.Event()

    async def size(requests: Any, context: Any) -> bytes:
        async for raw in requests:
            assert len(raw) == 1 << 20
            del raw
            read.set()
        return b""

    call = streaming(host, stream, size)
    tracemalloc.start()
    call.data(message(bytes(1 << 20)) + b"\0")  # and a beginning of the next one
    await read.wait()
    await asyncio.sleep(0)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1 << 19
    call.lost()
    await host.some_finished.wait()


async def test_requests_of_a_stream_are_not_made_before_they_are_asked_for() -> None:
    host, stream = FakeHost(limit_bytes=1 << 20), FakeStream()
    asked = asyncio.Event()

    async def first(requests: Any, context: Any) -> bytes:
        asked.set()
        await asyncio.Event().wait()
        return b""

    call = streaming(host, stream, first)
    await asked.wait()
    tracemalloc.start()
    call.data(message(b"") * 100_000)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1_500_000
    call.lost()
    await host.some_finished.wait()
