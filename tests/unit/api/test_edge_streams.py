"""The edge of calls with a stream of answers, or of requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from tests.unit.api.serving import WHO_AM_I, Aborted, FakeContext, counted, in_flight

from awsidecar.credentials.v1 import credentials_pb2 as pb
from awsidecar_server.api.admission import Admission
from awsidecar_server.api.calls import Request, Streamed, Streaming, Upload
from awsidecar_server.api.edge import Edge
from awsidecar_server.api.metadata import Regions
from awsidecar_server.config import ListenConfig
from awsidecar_server.contract import Rpc
from awsidecar_server.errors import LimitReached
from awsidecar_server.ops.telemetry import Telemetry


class FakeStreamContext(FakeContext):
    """As much of gRPC's context as a stream asks for."""

    def __init__(self, time_remaining: float | None = None) -> None:
        super().__init__(time_remaining)
        self.written: list[str] = []

    async def write(self, raw: bytes) -> None:
        self.written.append(pb.WhoAmIResponse.FromString(raw).region)


WATCH = replace(WHO_AM_I, gives_stream=True)
EXCHANGE = replace(WHO_AM_I, takes_stream=True, gives_stream=True)


class Streams:
    """An edge with its admission, and a method of it that answers with a stream."""

    def __init__(self, rpc: Rpc, handler: Any, *, endless: bool = False, limit_bytes: int = 1024) -> None:
        self.telemetry = Telemetry()
        self.admission = Admission(ListenConfig(max_message_bytes=limit_bytes))
        edge = Edge(self.admission, Regions("eu-central-1", frozenset({"eu-central-1"})), self.telemetry)
        method: Any = edge.stream(rpc, Streaming(handler, endless=endless))
        self.serve = method.stream_stream if rpc.takes_stream else method.unary_stream


async def streamed_regions(request: Request) -> Streamed:
    async def messages() -> AsyncGenerator[Message | bytes, None]:
        yield pb.WhoAmIResponse(region="one")
        yield pb.WhoAmIResponse(region="two").SerializeToString()

    return Streamed(messages(), "session")


async def test_stream_is_written_message_by_message_and_counted() -> None:
    streams, context = Streams(WATCH, streamed_regions), FakeStreamContext()
    await streams.serve(b"", context)
    assert context.written == ["one", "two"]
    assert context.trailers == {"x-awsidecar-tier": "session"}
    assert (counted(streams.telemetry, "OK"), in_flight(streams.telemetry)) == (1, 0)


async def test_stream_that_fails_says_what_came_before_and_why_and_closes_its_source() -> None:
    closed = False

    async def handler(request: Request) -> Streamed:
        async def messages() -> AsyncGenerator[Message | bytes, None]:
            nonlocal closed
            try:
                yield pb.WhoAmIResponse(region="one")
                raise LimitReached("enough", reason="OVERLOADED")
            finally:
                closed = True

        return Streamed(messages(), "session")

    streams, context = Streams(WATCH, handler), FakeStreamContext()
    with pytest.raises(Aborted):
        await streams.serve(b"", context)
    assert (context.written, context.code, closed) == (["one"], grpc.StatusCode.RESOURCE_EXHAUSTED, True)
    assert context.trailers["x-awsidecar-tier"] == "session"
    assert counted(streams.telemetry, "RESOURCE_EXHAUSTED") == 1


async def test_deadline_ends_a_stream_between_its_messages() -> None:
    async def handler(request: Request) -> Streamed:
        async def messages() -> AsyncGenerator[Message | bytes, None]:
            yield pb.WhoAmIResponse(region="one")
            await asyncio.Event().wait()

        return Streamed(messages())

    context = FakeStreamContext(0.05)
    with pytest.raises(Aborted):
        await Streams(WATCH, handler).serve(b"", context)
    assert (context.written, context.code) == (["one"], grpc.StatusCode.DEADLINE_EXCEEDED)


@pytest.mark.parametrize(
    ("endless", "answers", "words"),
    [
        (True, True, "the deadline passed, and nothing else ended the call; go on with the last checkpoint"),
        (True, False, "the deadline passed before AWS answered"),
        (False, True, "the deadline passed before AWS answered"),
    ],
)
async def test_deadline_of_an_endless_answer_that_has_begun_is_no_delay_of_aws(
    endless: bool, answers: bool, words: str
) -> None:
    async def handler(request: Request) -> Streamed:
        async def messages() -> AsyncGenerator[Message | bytes, None]:
            if answers:
                yield pb.WhoAmIResponse(region="one")
            await asyncio.Event().wait()

        return Streamed(messages())

    context = FakeStreamContext(0.05)
    with pytest.raises(Aborted):
        await Streams(WATCH, handler, endless=endless).serve(b"", context)
    assert (context.code, context.message) == (grpc.StatusCode.DEADLINE_EXCEEDED, words)


async def test_slow_reader_holds_the_source_back() -> None:
    made: list[int] = []
    taken = asyncio.Event()

    class SlowContext(FakeStreamContext):
        async def write(self, raw: bytes) -> None:
            await super().write(raw)
            if len(self.written) == 2:
                taken.set()
                await asyncio.Event().wait()

    async def handler(request: Request) -> Streamed:
        async def messages() -> AsyncGenerator[Message | bytes, None]:
            for number in range(10):
                made.append(number)
                yield pb.WhoAmIResponse(region=str(number))

        return Streamed(messages())

    serving = asyncio.create_task(Streams(WATCH, handler).serve(b"", SlowContext()))
    await taken.wait()
    assert made == [0, 1]
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_stream_that_outlasts_the_grace_is_told_that_the_sidecar_goes() -> None:
    started = asyncio.Event()

    async def handler(request: Request) -> Streamed:
        async def messages() -> AsyncGenerator[Message | bytes, None]:
            started.set()
            await asyncio.Event().wait()
            yield pb.WhoAmIResponse()

        return Streamed(messages())

    streams, context = Streams(WATCH, handler), FakeStreamContext()
    serving = asyncio.create_task(streams.serve(b"", context))
    await started.wait()
    streams.admission.drain()
    streams.admission.stop()
    serving.cancel()
    with pytest.raises(Aborted):
        await serving
    assert context.code is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("endless", [True, False])
async def test_drain_ends_a_stream_only_when_it_is_endless(endless: bool) -> None:
    started, going_on = asyncio.Event(), asyncio.Event()

    async def handler(request: Request) -> Streamed:
        async def messages() -> AsyncGenerator[Message | bytes, None]:
            started.set()
            await going_on.wait()
            yield pb.WhoAmIResponse(region="end")

        return Streamed(messages())

    streams, context = Streams(WATCH, handler, endless=endless), FakeStreamContext()
    serving = asyncio.create_task(streams.serve(b"", context))
    await started.wait()
    streams.admission.drain()
    going_on.set()
    if endless:
        with pytest.raises(Aborted):
            await serving
        assert (context.written, context.code) == ([], grpc.StatusCode.UNAVAILABLE)
    else:
        await serving
        assert context.written == ["end"]
    await streams.admission.idle()


async def test_exchange_reads_its_caller_message_by_message_and_refuses_one_that_is_too_large() -> None:
    async def handler(upload: Upload) -> Streamed:
        async def messages() -> AsyncGenerator[Message | bytes, None]:
            async for message in upload.messages:
                assert isinstance(message, pb.WhoAmIRequest)
                yield pb.WhoAmIResponse(region="read")

        return Streamed(messages())

    async def requests() -> AsyncGenerator[bytes, None]:
        yield b""
        yield b"\x00" * 11

    streams, context = Streams(EXCHANGE, handler, limit_bytes=10), FakeStreamContext()
    with pytest.raises(Aborted):
        await streams.serve(requests(), context)
    assert (context.written, context.code) == (["read"], grpc.StatusCode.RESOURCE_EXHAUSTED)
