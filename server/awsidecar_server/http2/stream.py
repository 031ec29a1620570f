"""One request and its response on a connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from awsidecar_server.http2.request import Head

if TYPE_CHECKING:
    from awsidecar_server.http2.budget import Share
    from awsidecar_server.http2.outbox import Outbox


class Receiver(Protocol):
    """Whoever takes a request. None of these may raise."""

    def data(self, chunk: bytes) -> None:
        """A piece of the body. It is given back to the sender's window by `Stream.consumed`."""

    def ended(self) -> None:
        """The body is whole."""

    def lost(self) -> None:
        """The peer has given the request up, or the connection has ended: the response would reach nobody."""


class Acceptor(Protocol):
    """Whoever takes the requests of a server's connections."""

    def request(self, stream: Stream, head: Head) -> Receiver:
        """Takes a request whose body is still to come."""

    def too_large(self, stream: Stream) -> None:
        """Answers a request whose head is larger than is allowed."""


class Stream:
    """The sending half of a stream, and what the connection knows of the receiving half."""

    __slots__ = (
        "drained",
        "expected",
        "has_begun",
        "held_bytes",
        "id",
        "is_closed",
        "outbox",
        "pending",
        "receive_window",
        "received",
        "receiver",
        "remote_ended",
        "trailers",
        "turn",
        "unreturned",
        "untaken",
        "window",
    )

    def __init__(self, stream_id: int, outbox: Outbox, receive_window: int) -> None:
        self.id = stream_id
        self.outbox = outbox
        self.receiver: Receiver | None = None
        # What the peer still takes of us, and we of it; below 0 after it made its windows smaller.
        self.window = outbox.initial_window
        self.receive_window = receive_window
        self.unreturned = 0
        self.received = 0
        # Of its connection, in which it was opened.
        self.turn = 0
        self.expected: int | None = None
        self.remote_ended = False
        self.has_begun = False
        self.is_closed = False
        # Of the budget of what waits.
        self.held_bytes = 0
        self.pending: deque[memoryview] = deque()
        self.trailers: bytes | None = None
        self.drained: asyncio.Future[None] | None = None
        # Called when the peer is known not to have taken the response, for whom that matters.
        self.untaken: Callable[[], None] | None = None

    def not_taken(self) -> None:
        """The response reaches nobody."""
        untaken, self.untaken = self.untaken, None
        if untaken is not None:
            untaken()

    @property
    def share(self) -> Share:
        """What the connection may let wait."""
        return self.outbox.share

    @property
    def is_answered(self) -> bool:
        """True when the response is decided, sent or not: what still comes of the request concerns nobody."""
        return self.is_closed or self.trailers is not None

    def respond(self, head: bytes, body: bytes, trailers: bytes) -> None:
        """Sends a whole response: header block, body, block of trailers."""
        self.outbox.respond(self, head, body, trailers)

    def begin(self, head: bytes) -> None:
        """Sends the header block of a response whose body follows."""
        self.outbox.begin(self, head)

    async def write(self, body: bytes) -> None:
        """Sends a piece of the body, and returns when the peer has room for all of it."""
        await self.outbox.write(self, body)

    def end(self, trailers: bytes) -> None:
        """Sends the trailers behind what is still to be sent; as the only block when nothing was begun."""
        self.outbox.end(self, trailers)

    def reset(self, code: int) -> None:
        """Gives the stream up."""
        self.outbox.reset(self, code)

    def consumed(self, size: int) -> None:
        """Lets the peer send as much again."""
        self.outbox.consumed(self, size)
