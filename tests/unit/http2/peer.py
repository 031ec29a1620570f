"""A peer without a socket: a connection of ours, the frames that it sends, and an acceptor that keeps its requests."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from typing import Any, cast

from awsidecar_server.http2 import frames
from awsidecar_server.http2.budget import Budget
from awsidecar_server.http2.connection import Connection
from awsidecar_server.http2.hpack import encoded
from awsidecar_server.http2.limits import Limits
from awsidecar_server.http2.request import Head
from awsidecar_server.http2.stream import Acceptor, Stream

HEAD = b"".join(
    encoded(*one) for one in [(":method", "POST"), (":scheme", "http"), (":path", "/s/m"), ("te", "trailers")]
)
OK = b"\x88"
TRAILERS = encoded("grpc-status", "0")


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def number(self) -> int:
        """The last number of the payload: an error code, or an increment."""
        return int.from_bytes(self.payload[-4:], "big")


class Transport:
    """As much of a transport as a connection asks for; its reader takes all, until it is told to pause."""

    def __init__(self) -> None:
        self.raw = bytearray()
        self.is_closed = False
        self.is_half_closed = False
        self.is_aborted = False
        self.is_read = True
        # What the socket has not taken, which may be all that is written.
        self.kept_bytes = 0
        self.keeps_all = False
        # If any, and what it keeps then is the system's.
        self.socket: socket.socket | None = None
        # Whether it tells when it has nothing left, and not when it has little.
        self.heeds_every_byte = False

    def write(self, raw: bytes) -> None:
        self.raw += raw
        if self.keeps_all:
            self.kept_bytes += len(raw)

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def set_write_buffer_limits(self, high: int) -> None:
        self.heeds_every_byte = high == 0

    def get_write_buffer_size(self) -> int:
        return self.kept_bytes

    def write_eof(self) -> None:
        self.is_half_closed = True

    def get_extra_info(self, name: str) -> socket.socket | None:
        assert name == "socket"
        return self.socket

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.is_aborted = True


@dataclass
class Request:
    """A receiver that keeps what comes."""

    stream: Stream
    head: Head | None
    body: bytes = b""
    is_whole: bool = False
    is_lost: bool = False
    takes: bool = True

    def data(self, chunk: bytes) -> None:
        self.body += chunk
        if self.takes:
            self.stream.consumed(len(chunk))

    def ended(self) -> None:
        self.is_whole = True

    def lost(self) -> None:
        self.is_lost = True


@dataclass
class Peer:
    """The client's side of a connection."""

    streams: int = 100
    takes: bool = True
    waiting_bytes: int = 1 << 30
    # What it shares with other connections, instead of the above.
    sharing: Budget | None = None
    requests: list[Request] = field(default_factory=list)
    refused: list[Stream] = field(default_factory=list)
    is_gone: bool = False
    # Whoever takes the requests instead.
    acceptor: Acceptor | None = None

    def __post_init__(self) -> None:
        self.budget = self.sharing or Budget(self.waiting_bytes)
        self.transport = Transport()
        # Set with each request, and when the connection has ended.
        self.moved = asyncio.Event()
        self.connection = Connection(self.acceptor or self, Limits(self.streams, 8192), self.budget, self._gone)
        self.connection.connection_made(cast(Any, self.transport))

    def _gone(self, connection: Connection) -> None:
        self.is_gone = True
        self.moved.set()

    def request(self, stream: Stream, head: Head) -> Request:
        self.requests.append(Request(stream, head, takes=self.takes))
        self.moved.set()
        return self.requests[-1]

    def too_large(self, stream: Stream) -> None:
        self.refused.append(stream)
        stream.end(OK + TRAILERS)

    async def begin(self, **settings: int) -> list[Frame]:
        """Opens the connection; returns what came back."""
        return await self.send(
            frames.PREFACE + frames.settings({int(name[1:]): settings[name] for name in settings})
        )

    async def send(self, *raw: bytes) -> list[Frame]:
        """Sends bytes as they are; returns the frames that came back."""
        for piece in raw:
            self.connection.data_received(piece)
        return await self.received()

    async def received(self) -> list[Frame]:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        found, at, data = [], 0, bytes(self.transport.raw)
        while at < len(data):
            length = int.from_bytes(data[at : at + 3], "big")
            start = at + frames.HEADER_BYTES
            stream_id = int.from_bytes(data[at + 5 : start], "big")
            found.append(Frame(data[at + 3], data[at + 4], stream_id, data[start : start + length]))
            at = start + length
        self.transport.raw.clear()
        return found

    def end(self) -> None:
        """Closes the connection, as a test must."""
        self.connection.connection_lost(None)


def open_request(stream_id: int, *, ends: bool = False, block: bytes = HEAD) -> bytes:
    return frames.headers(stream_id, block, end_stream=ends, frame_size=frames.DEFAULT_FRAME_SIZE)


def data(stream_id: int, body: bytes, *, ends: bool = False) -> bytes:
    return frames.head(len(body), frames.DATA, frames.END_STREAM if ends else 0, stream_id) + body


def of_kind(found: list[Frame], kind: int) -> list[Frame]:
    return [frame for frame in found if frame.kind == kind]


def body_of(found: list[Frame], stream_id: int) -> bytes:
    return b"".join(one.payload for one in of_kind(found, frames.DATA) if one.stream_id == stream_id)
