from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc
import hpack
from grpc import StatusCode

from awsidecar_server.api.grpc_call import Call, StreamCall, UnaryCall
from awsidecar_server.http2.budget import Budget
from awsidecar_server.http2.request import Head

LIMIT = 1000


class FakeStream:
    """As much of a stream as a call asks for."""

    def __init__(self) -> None:
        self.has_begun = False
        self.consumed_bytes = 0
        self.status: str | None = None
        self.body = b""

    def consumed(self, size: int) -> None:
        self.consumed_bytes += size

    def respond(self, head: bytes, body: bytes, trailers: bytes) -> None:
        self.body = body
        self.end(trailers)

    def end(self, block: bytes) -> None:
        fields: Any = hpack.Decoder().decode(block)
        self.status = dict(fields)["grpc-status"]


class FakeHost:
    """Keeps which calls have finished."""

    def __init__(self, limit_bytes: int = 10 * LIMIT) -> None:
        self.loop = asyncio.get_running_loop()
        self.max_message_bytes = LIMIT
        self.budget = Budget(limit_bytes)
        self.finished_calls: list[Call] = []
        self.some_finished = asyncio.Event()

    def finished(self, call: Call) -> None:
        self.finished_calls.append(call)
        self.some_finished.set()


async def echo(raw: bytes, context: Any) -> bytes:
    return raw


async def join(requests: Any, context: Any) -> bytes:
    return b"+".join([raw async for raw in requests])


def unary(host: FakeHost, stream: FakeStream) -> UnaryCall:
    handler: Any = grpc.unary_unary_rpc_method_handler(echo)
    return UnaryCall(host, cast(Any, stream), handler, Head("/s/echo", "POST", ()))


def message(raw: bytes) -> bytes:
    return b"\0" + len(raw).to_bytes(4, "big") + raw


async def test_message_is_put_together_however_it_is_cut() -> None:
    raw = message(b"hello")
    for at in range(len(raw) + 1):
        host, stream = FakeHost(), FakeStream()
        call = unary(host, stream)
        call.data(raw[:at])
        call.data(raw[at:])
        call.ended()
        await host.some_finished.wait()
        assert (stream.body, stream.status, stream.consumed_bytes) == (raw, "0", len(raw))
        assert host.budget.held_bytes == 0


async def test_request_that_is_not_whole_or_more_than_one_is_refused() -> None:
    for raw, code in (
        (b"", StatusCode.INTERNAL),
        (message(b"hello")[:-1], StatusCode.INTERNAL),
        (message(b"one") + message(b"two"), StatusCode.UNIMPLEMENTED),
        (message(b"x" * (LIMIT + 1))[:10], StatusCode.RESOURCE_EXHAUSTED),
    ):
        host, stream = FakeHost(), FakeStream()
        call = unary(host, stream)
        call.data(raw)
        if stream.status is None:
            call.ended()
        assert stream.status == str(code.value[0])
        assert len(host.finished_calls) == 1
        assert host.budget.held_bytes == 0


async def test_requests_that_do_not_end_are_refused_before_they_fill_the_memory() -> None:
    host, streams = FakeHost(limit_bytes=3 * LIMIT), [FakeStream() for _ in range(5)]
    calls = [unary(host, stream) for stream in streams]
    for call in calls:
        call.data(message(b"x" * LIMIT)[: LIMIT - 10])
    assert [stream.status for stream in streams] == [None, None, None, "8", "8"]
    for call in calls[:3]:
        call.lost()
    assert host.budget.held_bytes == 0
    assert len(host.finished_calls) == 5


async def test_call_that_is_lost_before_its_handler_took_a_step_is_finished_all_the_same() -> None:
    host, stream = FakeHost(), FakeStream()
    call = unary(host, stream)
    call.data(message(b"hello"))
    call.ended()
    call.lost()
    await host.some_finished.wait()
    assert stream.body == b""


async def test_stream_of_requests_is_cut_into_its_messages_however_it_comes() -> None:
    raw = message(b"one") + message(b"") + message(b"three")
    for step in range(1, len(raw) + 1):
        host, stream = FakeHost(), FakeStream()
        handler: Any = grpc.stream_unary_rpc_method_handler(join)
        call = StreamCall(host, cast(Any, stream), handler, Head("/s/join", "POST", ()))
        for at in range(0, len(raw), step):
            call.data(raw[at : at + step])
        call.ended()
        await host.some_finished.wait()
        assert stream.body == message(b"one++three")
        assert stream.consumed_bytes == len(raw)
