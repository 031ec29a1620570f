"""One gRPC call: its request as it comes, its handler at work, its response as it goes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import structlog
from grpc import StatusCode

from awsidecar_server.api import grpc_wire as wire
from awsidecar_server.api.metadata import Metadata
from awsidecar_server.http2.budget import Budget
from awsidecar_server.http2.request import Head
from awsidecar_server.http2.stream import Stream

_log = structlog.get_logger()

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


class Call:
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
        # Of a message that is not whole yet.
        self._pieces: list[bytes] = []
        self._size = 0
        self._needed = wire.PREFIX_BYTES

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
        self._pieces.append(chunk)
        self._size += len(chunk)
        if self._size >= self._needed:
            try:
                self._cut()
            except wire.Refused as refused:
                self._refuse(refused)
                return
        self._taken(len(chunk))

    def ended(self) -> None:
        raise NotImplementedError

    def lost(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:
            self._host.finished(self)

    def _cut(self) -> None:
        """Looks at the pieces, with which a prefix or a message is whole."""
        raise NotImplementedError

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

    def _start(self, request: Any) -> None:
        self._task = self._host.loop.create_task(self._run(request))
        # In any case: a task that is cancelled before its first step runs nothing of its own.
        self._task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._host.finished(self)

    def _refuse(self, refused: wire.Refused) -> None:
        """Ends a call whose handler has not begun, or may not go on."""
        if self._task is None:
            self._end(refused.code, refused.message, ())
            self._host.finished(self)

    async def _run(self, request: Any) -> None:
        try:
            await self._answer(request)
        except Aborted:
            pass
        except wire.Refused as refused:
            self._end(refused.code, refused.message, ())
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
            async for message in answers:
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

    _held_bytes = 0

    def data(self, chunk: bytes) -> None:
        if self._host.budget.take(len(chunk)):
            self._held_bytes += len(chunk)
            super().data(chunk)
        else:
            self._refuse(wire.Refused(StatusCode.RESOURCE_EXHAUSTED, "too many bytes of requests are on their way"))

    def lost(self) -> None:
        self._give_back()
        super().lost()

    def _give_back(self) -> None:
        self._host.budget.give_back(self._held_bytes)
        self._held_bytes = 0

    def _refuse(self, refused: wire.Refused) -> None:
        self._give_back()
        super()._refuse(refused)

    def _cut(self) -> None:
        if self._needed == wire.PREFIX_BYTES:
            self._needed = self._needs(self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces))
        if self._size > self._needed:
            raise wire.Refused(StatusCode.UNIMPLEMENTED, "more than one request where the method takes one")

    def ended(self) -> None:
        try:
            if self._size < self._needed:
                raise wire.Refused(StatusCode.INTERNAL, "the request is not whole")
            raw = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            request = self._read(raw)
        except wire.Refused as refused:
            self._refuse(refused)
        else:
            self._pieces.clear()
            self._give_back()
            self._start(request)


class StreamCall(Call):
    """A call with a stream of requests. It is the handler's iterator of them, and holds the caller back."""

    def __init__(self, host: Host, stream: Stream, handler: Any, head: Head) -> None:
        super().__init__(host, stream, handler, head)
        self._messages: deque[bytes] = deque()
        self._held_bytes = 0
        self._is_whole = False
        self._failure: wire.Refused | None = None
        self._arrived: asyncio.Future[None] | None = None
        self._start(self)

    def _cut(self) -> None:
        raw, at = b"".join(self._pieces), 0
        while len(raw) - at >= wire.PREFIX_BYTES:
            self._needed = self._needs(raw[at : at + wire.PREFIX_BYTES])
            if len(raw) - at < self._needed:
                break
            self._messages.append(raw[at : at + self._needed])
            at += self._needed
            self._needed = wire.PREFIX_BYTES
        self._pieces = [raw[at:]]
        self._size = len(raw) - at
        if self._messages:
            self._wake()

    def _taken(self, size: int) -> None:
        # While the handler has something to read, more need not come.
        if self._messages:
            self._held_bytes += size
        else:
            self._stream.consumed(size)

    def _refuse(self, refused: wire.Refused) -> None:
        self._failure = refused
        self._wake()

    def ended(self) -> None:
        self._is_whole = True
        if self._size:
            self._failure = wire.Refused(StatusCode.INTERNAL, "the request is not whole")
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def __aiter__(self) -> StreamCall:
        return self

    async def __anext__(self) -> Any:
        while not self._messages:
            if self._failure is not None:
                raise self._failure
            if self._is_whole:
                raise StopAsyncIteration
            self._arrived = self._host.loop.create_future()
            await self._arrived
        raw = self._messages.popleft()
        if not self._messages and self._held_bytes:
            held, self._held_bytes = self._held_bytes, 0
            self._stream.consumed(held)
        return self._read(raw)


class NoCall:
    """Takes what is left of a request that was answered at once."""

    def data(self, chunk: bytes) -> None:
        """Dropped."""

    def ended(self) -> None:
        """Nobody waits for it."""

    def lost(self) -> None:
        """Nobody misses it."""


def refuse(stream: Stream, refused: wire.Refused) -> NoCall:
    """Answers a request that no handler takes."""
    stream.end(wire.RESPONSE + wire.status(refused.code, refused.message))
    return NoCall()


def refuse_http(stream: Stream, http_status: int) -> NoCall:
    """Answers what is no gRPC request."""
    stream.end(wire.http_refusal(http_status))
    return NoCall()
