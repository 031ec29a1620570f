"""The gRPC server with gRPC's own clients on real sockets."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from awsidecar_server.api.grpc_server import GrpcServer
from awsidecar_server.api.listeners import address_of, bind_tcp
from awsidecar_server.http2 import frames
from awsidecar_server.http2.hpack import encoded

LIMIT = 4 * 1024 * 1024
_PATIENCE_SECONDS = 20.0
LARGE = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


class Service:
    """Methods of each kind, and what they met."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.going_on = asyncio.Event()
        self.read = 0
        self.written = 0

    async def echo(self, raw: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("x-said", dict(context.invocation_metadata()).get("x-say", "")),))
        return raw

    async def remaining(self, raw: bytes, context: Any) -> bytes:
        return str(context.time_remaining()).encode()

    async def hang(self, raw: bytes, context: Any) -> bytes:
        self.started.set()
        try:
            await self.going_on.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return b"at last"

    async def abort(self, raw: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.ABORTED, "no: ä %", (("x-why-bin", b"\x00\xff"),))
        raise AssertionError

    async def defect(self, raw: bytes, context: Any) -> bytes:
        raise ZeroDivisionError("canary")

    async def count(self, raw: bytes, context: Any) -> None:
        try:
            for number in range(int(raw)):
                await context.write(str(number).encode() * 1000)
                self.written += 1
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def sizes(self, requests: Any, context: Any) -> None:
        async for raw in requests:
            self.read += 1
            await context.write(str(len(raw)).encode())

    async def unread(self, requests: Any, context: Any) -> None:
        self.started.set()
        await self.going_on.wait()
        async for _ in requests:
            self.read += 1

    async def total(self, requests: Any, context: Any) -> bytes:
        return str(sum([len(raw) async for raw in requests])).encode()

    def handlers(self) -> dict[str, Any]:
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        return {
            **{name: unary(getattr(self, name)) for name in ("echo", "remaining", "hang", "abort", "defect")},
            "count": grpc.unary_stream_rpc_method_handler(self.count),
            **{name: stream(getattr(self, name)) for name in ("sizes", "unread")},
            "total": grpc.stream_unary_rpc_method_handler(self.total),
        }


def _server() -> GrpcServer:
    return GrpcServer(
        max_message_bytes=LIMIT, max_metadata_bytes=8192, max_streams=200, max_waiting_bytes=4 * LIMIT
    )


@asynccontextmanager
async def serving(service: Service) -> AsyncIterator[tuple[GrpcServer, Any]]:
    server = _server()
    server.add_registered_method_handlers("s", service.handlers())
    bound = bind_tcp("127.0.0.1", 0)
    target = address_of(bound)
    await server.listen(bound)
    options = [*LARGE, ("grpc.use_local_subchannel_pool", 1)]
    try:
        async with grpc.aio.insecure_channel(target, options=options) as channel:
            yield server, channel
    finally:
        await server.stop()


async def test_message_and_metadata_go_there_and_back() -> None:
    async with serving(Service()) as (_, channel):
        call = channel.unary_unary("/s/echo")(b"hello", metadata=(("x-say", "word"),))
        assert await call == b"hello"
        assert dict(await call.trailing_metadata()) == {"x-said": "word"}


@pytest.mark.parametrize("size", [0, 1, 16_379, 16_384, 65_536, LIMIT])
async def test_messages_of_any_size_up_to_the_limit(size: int) -> None:
    async with serving(Service()) as (_, channel):
        assert await channel.unary_unary("/s/echo")(b"x" * size, timeout=20) == b"x" * size


async def test_message_beyond_the_limit_is_refused_and_the_connection_lives_on() -> None:
    async with serving(Service()) as (_, channel):
        echo = channel.unary_unary("/s/echo")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await echo(b"x" * (LIMIT + 1))
        assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await echo(b"small") == b"small"


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_requests_are_read(compression: grpc.Compression) -> None:
    async with serving(Service()) as (_, channel):
        assert await channel.unary_unary("/s/echo")(b"x" * 10_000, compression=compression) == b"x" * 10_000


async def test_a_thousand_calls_at_once_beyond_the_streams_of_a_connection_all_answer() -> None:
    async with serving(Service()) as (_, channel):
        echo = channel.unary_unary("/s/echo")
        raws = [str(number).encode() * 500 for number in range(1000)]
        assert await asyncio.gather(*map(echo, raws)) == raws


async def test_status_and_details_reach_the_caller() -> None:
    async with serving(Service()) as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/s/abort")(b"")
        assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.ABORTED, "no: ä %")
        assert dict(failed.value.trailing_metadata())["x-why-bin"] == b"\x00\xff"


async def test_defect_is_internal_and_says_nothing_of_itself() -> None:
    async with serving(Service()) as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/s/defect")(b"")
        assert failed.value.code() is grpc.StatusCode.INTERNAL
        assert "canary" not in repr(failed.value)


async def test_method_that_takes_one_request_refuses_none_and_two() -> None:
    async with serving(Service()) as (_, channel):
        for requests in ([], [b"1", b"2"]):
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await channel.stream_unary("/s/echo")(iter(requests))
            assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert b"NOT_ONE_REQUEST" in dict(failed.value.trailing_metadata())["grpc-status-details-bin"]


async def test_unknown_method_is_unimplemented() -> None:
    async with serving(Service()) as (_, channel):
        for path in ("/s/other", "/other/echo"):
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await channel.unary_unary(path)(b"")
            assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_deadline_of_the_caller_is_known() -> None:
    async with serving(Service()) as (_, channel):
        remaining = channel.unary_unary("/s/remaining")
        # gRPC's library rounds up what it sends.
        assert 50 < float(await remaining(b"", timeout=60)) <= 61
        assert await remaining(b"") == b"None"


async def test_cancelled_call_cancels_its_handler() -> None:
    service = Service()
    async with serving(service) as (_, channel):
        call = channel.unary_unary("/s/hang")(b"")
        await service.started.wait()
        call.cancel()
        await service.cancelled.wait()


async def test_hung_up_connection_cancels_its_handlers() -> None:
    service = Service()
    async with serving(service) as (_, channel):
        call = asyncio.ensure_future(channel.unary_unary("/s/hang")(b""))
        await service.started.wait()
        await channel.close()
        await service.cancelled.wait()
        await asyncio.wait({call})


async def test_stream_of_responses_is_held_back_by_a_slow_reader_and_cancelled_with_its_call() -> None:
    service = Service()
    async with serving(service) as (_, channel):
        call = channel.unary_stream("/s/count")(b"1000000")
        assert await call.read() == b"0" * 1000
        before = -1
        while service.written != before:  # until nothing more fits what lies between us
            before = service.written
            await asyncio.sleep(0.2)
        assert service.written < 50_000
        call.cancel()
        await service.cancelled.wait()


async def test_stream_of_requests_is_answered_message_by_message() -> None:
    service = Service()
    async with serving(service) as (_, channel):
        call = channel.stream_stream("/s/sizes")()
        for size in (0, 5, 100_000, LIMIT):
            await call.write(b"x" * size)
            assert await call.read() == str(size).encode()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_stream_of_requests_is_held_back_by_a_handler_that_does_not_read() -> None:
    service = Service()
    async with serving(service) as (_, channel):
        call = channel.stream_stream("/s/unread")()
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(20 * 16):
                await call.write(b"x" * 65_536)
                sent += 65_536
            await call.done_writing()

        sending = asyncio.create_task(send())
        await service.started.wait()
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.2)
        assert sent < LIMIT
        service.going_on.set()
        await sending
        assert await call.read() is grpc.aio.EOF
        assert service.read == 20 * 16


async def test_stream_of_requests_with_one_response() -> None:
    async def requests() -> AsyncIterator[bytes]:
        for size in (1, 20, 300):
            yield b"x" * size

    async with serving(Service()) as (_, channel):
        assert await channel.stream_unary("/s/total")(requests()) == b"321"


async def test_drain_lets_calls_finish_and_takes_no_connections() -> None:
    service = Service()
    async with serving(service) as (server, channel):
        call = asyncio.ensure_future(channel.unary_unary("/s/hang")(b""))
        await service.started.wait()
        await server.go_away()
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/s/echo")(b"")
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        service.going_on.set()
        assert await call == b"at last"


async def test_stop_ends_what_is_left_as_unavailable() -> None:
    service = Service()
    async with serving(service) as (server, channel):
        call = asyncio.ensure_future(channel.unary_unary("/s/hang")(b""))
        await service.started.wait()
        await server.stop()
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        assert service.cancelled.is_set()


@pytest.mark.parametrize("is_told_before", [True, False])
async def test_answer_that_is_on_its_way_arrives_whole_though_the_server_stops(is_told_before: bool) -> None:
    server = _server()
    server.add_registered_method_handlers("s", Service().handlers())
    bound = bind_tcp("127.0.0.1", 0)
    host, port = bound.getsockname()
    await server.listen(bound)
    reader, writer = await asyncio.open_connection(host, port)
    body = b"\0" + (1000).to_bytes(4, "big") + b"x" * 1000
    head = b"".join(
        encoded(name, value)
        for name, value in [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/s/echo"),
            ("content-type", "application/grpc"),
        ]
    )
    writer.write(
        frames.PREFACE
        + frames.settings({frames.INITIAL_WINDOW_SIZE: 10})
        + frames.headers(1, head, end_stream=False, frame_size=frames.DEFAULT_FRAME_SIZE)
        + frames.head(len(body), frames.DATA, frames.END_STREAM, 1)
        + body
    )
    received = await reader.readuntil(frames.head(10, frames.DATA, 0, 1) + body[:10])
    if is_told_before:
        await server.go_away()
    stopping = asyncio.ensure_future(server.stop())
    await asyncio.sleep(0)
    writer.write(frames.window_update(1, len(body)))
    received = await asyncio.wait_for(reader.read(), _PATIENCE_SECONDS)
    assert body[10:] in received
    assert encoded("grpc-status", "0") in received
    writer.close()
    await stopping


async def test_every_call_of_a_busy_client_is_answered_or_may_be_sent_again_while_the_server_goes() -> None:
    """None may be carried out and yet reported as never begun, or the other way round."""
    service = Service()
    async with serving(service) as (server, channel):
        echo = channel.unary_unary("/s/echo")

        async def outcome(number: int) -> object:
            try:
                return await echo(str(number).encode(), timeout=20)
            except grpc.aio.AioRpcError as failed:
                return failed.code()

        calls = [asyncio.create_task(outcome(number)) for number in range(2000)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        await server.go_away()
        await server.stop()
        for number, call in enumerate(calls):
            assert await call in {str(number).encode(), grpc.StatusCode.UNAVAILABLE}


async def test_connections_leave_half_of_the_files_to_others_and_come_again_when_there_is_room() -> None:
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, most))
    try:
        server = _server()
        bound = bind_tcp("127.0.0.1", 0)
        host, port = bound.getsockname()
        await server.listen(bound)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
    taken = [await asyncio.open_connection(host, port) for _ in range(256)]
    for reader, _ in taken:
        assert await reader.read(1)  # SETTINGS
    reader, turned_away = await asyncio.open_connection(host, port)
    assert await reader.read() == b""
    turned_away.close()
    taken.pop()[1].close()
    is_taken = False
    while not is_taken:  # until the server has heard of the one that closed
        reader, writer = await asyncio.open_connection(host, port)
        is_taken = bool(await reader.read(1))
        writer.close()
    for _, writer in taken:
        writer.close()
        await writer.wait_closed()
    await server.stop()


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nXX",
    ],
    ids=["HTTP/1.1", "TLS", "nearly HTTP/2"],
)
async def test_what_is_not_http2_is_hung_up_on(request_head: bytes) -> None:
    server = _server()
    bound = bind_tcp("127.0.0.1", 0)
    host, port = bound.getsockname()
    await server.listen(bound)
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request_head)
    await asyncio.wait_for(reader.read(), _PATIENCE_SECONDS)
    writer.close()
    await server.stop()
