"""One gRPC call: its request as it comes, its handler at work, its response as it goes."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Protocol

import structlog
from grpc import StatusCode

from awsidecar_server.api import grpc_wire as wire
from awsidecar_server.api.grpc_refusals import not_one, not_whole
from awsidecar_server.api.metadata import Metadata
from awsidecar_server.http2.budget import Budget
from awsidecar_server.http2.request import Head
from awsidecar_server.http2.stream import Stream

_log = structlog.get_logger()

# What a piece of a request takes beside its bytes: a peer may send thousands of two bytes each.
_PIECE_BYTES = 48

_DEFECT = "an internal error; the sidecar's log has it"


class Aborted(Exception):
    """Leaves a handler that has ended its call with a status."""


class Host(Protocol):
    """Whoever keeps the calls of a server."""

    loop: asyncio.AbstractEventLoop
    # Of a message, in bytes.
    max_message_bytes: int
    # Of what waits.
    budget: Budget

    def finished(self, call: Call) -> None:
        """The call's handler has come to its end, or never began."""


class Call(ABC):
    """A call as its handler sees it: what `grpc.aio.ServicerContext` offers, as far as our handlers ask for it."""

    def __init__(self, host: Host, stream: Stream, handler: Any, head: Head) -> None:
        """Raises `Refused` for a request whose metadata gRPC cannot take."""
        self._host = host
        self._stream = stream
        self._handler = handler
        self._path = head.path
        self._encoding = wire.header(head.fields, "grpc-encoding")
        self._metadata = wire.metadata_of(head.fields)
        timeout = wire.header(head.fields, "grpc-timeout")
        self._deadline = host.loop.time() + wire.timeout_seconds(timeout) if timeout else None
        self._trailers: Metadata = ()
        self._task: asyncio.Task[None] | None = None
        # What has come and nobody has read, and how much of it there must be for somebody to look at it.
        self._pieces: list[bytes] = []
        self._size = 0
        self._needed = wire.PREFIX_BYTES
        # Of the budget of what waits.
        self._held_bytes = 0

    # What handlers ask for

    def invocation_metadata(self) -> Metadata:
        """The request's metadata; values of names that end in `-bin` are bytes."""
        return self._metadata

    def time_remaining(self) -> float | None:
        """Seconds until the deadline; None when the caller set none."""
        return None if self._deadline is None else self._deadline - self._host.loop.time()

    def set_trailing_metadata(self, trailers: Metadata) -> None:
        """What the trailers say beside the status."""
        self._trailers = trailers

    def on_untaken(self, untaken: Callable[[], None]) -> None:
        """`untaken` is called when the caller is known not to have taken the response that follows."""
        self._stream.untaken = untaken

    async def abort(self, code: StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> None:
        """Ends the call with a status; does not return."""
        self._end(code, details, trailing_metadata or self._trailers)
        raise Aborted

    async def write(self, message: Any) -> None:
        """Sends one message of a stream, and returns when the caller has room for it."""
        if not self._stream.has_begun:
            self._stream.begin(wire.RESPONSE)
        await self._stream.write(wire.framed(self._written(message)))

    # The request, as a receiver of the stream

    def data(self, chunk: bytes) -> None:
        if not self._host.budget.take(len(chunk) + _PIECE_BYTES):
            self._refuse(wire.Refused(StatusCode.RESOURCE_EXHAUSTED, "too many bytes of requests are on their way"))
            return
        self._held_bytes += len(chunk) + _PIECE_BYTES
        self._pieces.append(chunk)
        self._size += len(chunk)
        if self._size >= self._needed:
            try:
                self._cut()
            except wire.Refused as refused:
                self._refuse(refused)
                return
        self._taken(len(chunk))

    @abstractmethod
    def ended(self) -> None: ...

    def lost(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:
            self._finish()

    @abstractmethod
    def _cut(self) -> None:
        """Looks at the pieces, with which a prefix or a message is whole."""

    def _taken(self, size: int) -> None:
        """Lets the caller send as much again, now or when it is time."""
        self._stream.consumed(size)

    def _needs(self, prefix: bytes) -> int:
        """How many bytes the message has that begins so, its prefix included."""
        length = int.from_bytes(prefix[1 : wire.PREFIX_BYTES], "big")
        if length > self._host.max_message_bytes:
            raise wire.too_large(self._host.max_message_bytes)
        return wire.PREFIX_BYTES + length

    def _read(self, raw: bytes) -> Any:
        """The message behind a prefix, as the handler wants it."""
        message = raw[wire.PREFIX_BYTES :]
        if raw[0]:
            message = wire.decompressed(message, self._encoding, self._host.max_message_bytes)
        read: Callable[[bytes], Any] | None = self._handler.request_deserializer
        if read is None:
            return message
        try:
            return read(message)
        except Exception as malformed:
            raise wire.Refused(StatusCode.INVALID_ARGUMENT, "the bytes are no such message") from malformed

    # The handler, and the response

    def cancel(self) -> None:
        """Ends the call for the sidecar's own reasons."""
        if self._task is not None:
            self._task.cancel()
        else:
            self._refuse(wire.Refused(StatusCode.UNAVAILABLE, "the sidecar has stopped"))

    def _start(self) -> None:
        self._task = self._host.loop.create_task(self._run())
        # In any case: a task that is cancelled before its first step runs nothing of its own.
        self._task.add_done_callback(lambda _: self._finish())

    def _finish(self) -> None:
        """The handler has come to its end, or never begins."""
        self._pieces.clear()
        self._give_back(self._held_bytes)
        self._host.finished(self)

    def _give_back(self, size: int) -> None:
        self._held_bytes -= size
        self._host.budget.give_back(size)

    def _refuse(self, refused: wire.Refused) -> None:
        """Ends a call whose handler has not begun, or may not go on."""
        if self._task is None:
            self._end(refused.code, refused.message, refused.trailers)
            self._finish()

    @abstractmethod
    def _opened(self) -> Any:
        """What the handler is called with: the request, or an iterator of requests."""

    async def _run(self) -> None:
        try:
            await self._answer(self._opened())
        except Aborted:
            pass
        except wire.Refused as refused:
            self._end(refused.code, refused.message, refused.trailers)
        except asyncio.CancelledError:
            self._end(StatusCode.UNAVAILABLE, "the sidecar has stopped", ())
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the caller hears of it
            # Ours have an edge of their own that lets nothing through; this is of health or reflection.
            _log.exception("internal error", path=self._path)
            self._end(StatusCode.INTERNAL, _DEFECT, ())

    async def _answer(self, request: Any) -> None:
        handler = self._handler
        if not handler.response_streaming:
            serve = handler.stream_unary if handler.request_streaming else handler.unary_unary
            raw = self._written(await serve(request, self))
            self._stream.respond(wire.RESPONSE, wire.framed(raw), wire.ok(self._trailers))
            return
        answers = (handler.stream_stream if handler.request_streaming else handler.unary_stream)(request, self)
        if hasattr(answers, "__aiter__"):
            # Closed when the caller has left, too: what a generator does at its end does not wait for a collector.
            async with aclosing(answers) as messages:
                async for message in messages:
                    await self.write(message)
        else:
            await answers
        self._end(StatusCode.OK, "", self._trailers)

    def _written(self, message: Any) -> bytes:
        write: Callable[[Any], bytes] | None = self._handler.response_serializer
        raw: bytes = message if write is None else write(message)
        return raw

    def _end(self, code: StatusCode, message: str, trailers: Metadata) -> None:
        block = wire.status(code, message, trailers)
        self._stream.end(block if self._stream.has_begun else wire.RESPONSE + block)


class UnaryCall(Call):
    """A call with one request: the handler begins when it is whole."""

    def _cut(self) -> None:
        if self._needed == wire.PREFIX_BYTES:
            self._needed = self._needs(self._whole())
        if self._size > self._needed:
            raise not_one(self._path, "more")

    def ended(self) -> None:
        if self._size < self._needed:
            self._refuse(not_whole(self._path) if self._size else not_one(self._path, "none"))
        else:
            self._start()

    def _opened(self) -> Any:
        # Not before: of requests that come together, compressed ones above all, one is made large at a time.
        raw = self._whole()
        self._pieces.clear()
        self._give_back(self._held_bytes)
        return self._read(raw)

    def _whole(self) -> bytes:
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)


class StreamCall(Call):
    """A call with a stream of requests. It is the handler's iterator of them, and holds the caller back."""

    def __init__(self, host: Host, stream: Stream, handler: Any, head: Head) -> None:
        super().__init__(host, stream, handler, head)
        # What messages are cut from, one when it is asked for: a window of empty ones is a lot. The pieces come behind.
        self._raw = b""
        self._at = 0
        # Of the caller's window.
        self._untaken_bytes = 0
        self._is_whole = False
        self._failure: wire.Refused | None = None
        self._arrived: asyncio.Future[None] | None = None
        self._start()

    def _opened(self) -> Any:
        return self

    def data(self, chunk: bytes) -> None:
        if self._failure is None:
            super().data(chunk)

    def _cut(self) -> None:
        self._wake()

    def _taken(self, size: int) -> None:
        # While the handler has something to read, more need not come.
        if self._size >= self._needed:
            self._untaken_bytes += size
        else:
            self._stream.consumed(size)

    def _refuse(self, refused: wire.Refused) -> None:
        self._failure = refused
        self._wake()

    def ended(self) -> None:
        self._is_whole = True
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def __aiter__(self) -> StreamCall:
        return self

    async def __anext__(self) -> Any:
        try:
            while (raw := self._next()) is None:
                if self._failure is not None:
                    raise self._failure
                if self._is_whole and self._size:
                    raise not_whole(self._path)
                if self._is_whole:
                    raise StopAsyncIteration
                self._arrived = self._host.loop.create_future()
                await self._arrived
            return self._read(raw)
        except wire.Refused as refused:
            # The handler sees what it would see if the caller had left, whom we tell why.
            self._end(refused.code, refused.message, refused.trailers)
            assert self._task is not None
            self._task.cancel()
            # The cancellation comes by way of whoever reads, which may be a task of the handler's own.
            await self._host.loop.create_future()
            raise

    def _next(self) -> bytes | None:
        """The next message behind its prefix; None when it is not whole yet."""
        found = None
        if self._size >= self._needed:
            self._needed = self._needs(self._first(wire.PREFIX_BYTES))
            if self._size >= self._needed:
                found = self._first(self._needed)
                self._at += self._needed
                self._size -= self._needed
                self._give_back(self._held_bytes - self._size - _PIECE_BYTES * len(self._pieces))
                self._needed = wire.PREFIX_BYTES
        if self._untaken_bytes and self._size < self._needed:
            untaken, self._untaken_bytes = self._untaken_bytes, 0
            self._stream.consumed(untaken)
        return found

    def _first(self, size: int) -> bytes:
        """So many bytes of what is there."""
        if len(self._raw) - self._at < size:
            self._raw = b"".join((self._raw[self._at :], *self._pieces))
            self._at = 0
            self._pieces.clear()
        return self._raw[self._at : self._at + size]
