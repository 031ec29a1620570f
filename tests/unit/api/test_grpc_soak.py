"""Calls of every kind, and peers that do whatever comes to their mind: all are answered, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from tests.unit.http2.peer import Frame, Peer, data, open_request

from awsidecar_server.api.grpc_call import Call
from awsidecar_server.api.grpc_server import GrpcServer
from awsidecar_server.http2 import frames
from awsidecar_server.http2.hpack import encoded
from awsidecar_server.http2.stream import Stream

_STEPS = 600
_METHODS = ("echo", "grow", "hang", "fail", "count", "sizes", "ignore", "unknown")


class Service:
    """Methods that answer at once, later, in pieces, or not at all."""

    def __init__(self) -> None:
        self.going_on = asyncio.Event()

    async def echo(self, raw: bytes, context: Any) -> bytes:
        return raw

    async def grow(self, raw: bytes, context: Any) -> bytes:
        await asyncio.sleep(0)
        return raw * 1000

    async def hang(self, raw: bytes, context: Any) -> bytes:
        await self.going_on.wait()
        return raw

    async def fail(self, raw: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.ABORTED, "no")
        raise AssertionError

    async def count(self, raw: bytes, context: Any) -> AsyncIterator[bytes]:
        for _ in range(20):
            yield raw * 100

    async def sizes(self, requests: Any, context: Any) -> AsyncIterator[bytes]:
        async for raw in requests:
            yield str(len(raw)).encode()

    async def ignore(self, requests: Any, context: Any) -> AsyncIterator[bytes]:
        await self.going_on.wait()
        yield b"enough"

    def handlers(self) -> dict[str, Any]:
        unary, both = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        return {
            **{name: unary(getattr(self, name)) for name in ("echo", "grow", "hang", "fail")},
            "count": grpc.unary_stream_rpc_method_handler(self.count),
            **{name: both(getattr(self, name)) for name in ("sizes", "ignore")},
        }


def head(method: str) -> bytes:
    fields = [(":method", "POST"), (":scheme", "http"), (":path", f"/s/{method}")]
    return b"".join(encoded(*field) for field in [*fields, ("content-type", "application/grpc")])


def message(raw: bytes) -> bytes:
    return b"\0" + len(raw).to_bytes(4, "big") + raw


class Restless(Peer):
    """A peer that has no plan. `sending` has the streams whose requests go on, `open` those without an answer."""

    def start(self, dice: random.Random) -> None:
        self.dice = dice
        self.last_id = -1
        self.sending: set[int] = set()
        self.open: set[int] = set()
        self.is_paused = False

    async def step(self) -> None:
        likely = [self.call, self.more, self.room] * 2
        turn = self.dice.choice(
            [*likely, self.call, self.end_one, self.give_up, self.windows, self.pause, self.ping, self.wait]
        )
        raw = turn()
        if raw and not self.transport.is_closed:
            self.connection.data_received(raw)
        if self.dice.random() < 0.3:
            self.look(await self.received())

    def look(self, found: list[Frame]) -> None:
        for frame in found:
            assert frame.kind != frames.GOAWAY, frame
            if frame.kind == frames.RST_STREAM or (
                frame.kind in (frames.HEADERS, frames.DATA) and frame.flags & frames.END_STREAM
            ):
                self.open.discard(frame.stream_id)
                self.sending.discard(frame.stream_id)

    def call(self) -> bytes:
        self.last_id += 2
        self.open.add(self.last_id)
        body = message(self.dice.randbytes(self.dice.choice([0, 1, 10, 300])))
        at = self.dice.randrange(len(body) + 1)
        raw = open_request(self.last_id, block=head(self.dice.choice(_METHODS))) + data(self.last_id, body[:at])
        if self.dice.random() < 0.7:
            return raw + data(self.last_id, body[at:], ends=True)
        self.sending.add(self.last_id)
        return raw

    def one_of(self, streams: set[int]) -> int | None:
        return self.dice.choice(sorted(streams)) if streams else None

    def more(self) -> bytes:
        stream_id = self.one_of(self.sending)
        return data(stream_id, message(self.dice.randbytes(50))[: self.dice.randrange(60)]) if stream_id else b""

    def end_one(self) -> bytes:
        stream_id = self.one_of(self.sending)
        self.sending.discard(stream_id or 0)
        return data(stream_id, b"", ends=True) if stream_id else b""

    def give_up(self) -> bytes:
        stream_id = self.one_of(self.open)
        self.open.discard(stream_id or 0)
        self.sending.discard(stream_id or 0)
        return frames.rst_stream(stream_id, frames.CANCEL) if stream_id else b""

    def room(self) -> bytes:
        stream_id = self.one_of(self.open) if self.dice.random() < 0.7 else 0
        return frames.window_update(stream_id or 0, self.dice.choice([1, 100, 50_000]))

    def windows(self) -> bytes:
        return frames.settings({frames.INITIAL_WINDOW_SIZE: self.dice.choice([0, 1, 10, 1000, 65_535])})

    def pause(self) -> bytes:
        self.is_paused = not self.is_paused
        if self.is_paused:
            self.connection.pause_writing()
        else:
            self.connection.resume_writing()
        return b""

    def ping(self) -> bytes:
        return frames.ping(bytes(8))

    def wait(self) -> bytes:
        return b""

    def come_to_reason(self) -> None:
        """Ends what was begun, and takes all that comes."""
        for stream_id in sorted(self.sending):
            self.connection.data_received(data(stream_id, b"", ends=True))
        self.connection.data_received(frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 24}))
        self.connection.data_received(frames.window_update(0, 1 << 28))
        if self.is_paused:
            self.pause()


async def played(server: GrpcServer, service: Service, dice: random.Random, end: str) -> None:
    peers = [Restless(acceptor=server, streams=200) for _ in range(3)]
    for peer in peers:
        peer.start(dice)
        await peer.begin(_4=dice.choice([0, 100, 65_535]))
    for _ in range(_STEPS):
        await dice.choice(peers).step()
    if end == "stopped":
        await server.stop()
    elif end == "reasonable":
        service.going_on.set()
        for peer in peers:
            peer.come_to_reason()
    for _ in range(200 if end != "lost" else 0):
        for peer in peers:
            peer.look(await peer.received())
    if end == "reasonable":
        assert [peer.open for peer in peers] == [set()] * 3
    for peer in peers:
        peer.end()
    for _ in range(10):
        await asyncio.sleep(0)
    assert [peer.budget.held_bytes for peer in peers] == [0] * 3


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("end", ["reasonable", "lost", "stopped"])
async def test_every_call_is_answered_and_nothing_is_left_behind(seed: int, end: str) -> None:
    before = _alive()
    service = Service()
    server = GrpcServer(
        max_message_bytes=10_000, max_metadata_bytes=8192, max_streams=400, max_waiting_bytes=600_000
    )
    server.add_registered_method_handlers("s", service.handlers())
    await played(server, service, random.Random(seed), end)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert server.budget.held_bytes == 0
    assert _alive() <= before


def _alive() -> set[Call | Stream]:
    """The calls and streams of this process; those of servers that others run are among them."""
    gc.collect()
    return {one for one in gc.get_objects() if isinstance(one, Call | Stream)}
