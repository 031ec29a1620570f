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
from awsidecar_server.api.grpc_refusals import not_one, not_whole, overfull, told
from awsidecar_server.api.metadata import Metadata
from awsidecar_server.errors import Draining, InvalidRequest
from awsidecar_server.http2.request import Head
from awsidecar_server.http2.stream import Stream

_log = structlog.get_logger()

# What a piece of a request takes beside its bytes: a peer may send thousands of two bytes each.
PIECE_BYTES = 48

_DEFECT = "an internal error; the sidecar's log has it"


class Aborted(Exception):
    """Leaves a handler that has ended its call with a status."""


class Host(Protocol):
    """Whoever keeps the calls of a server."""

    loop: asyncio.AbstractEventLoop
    # Of a message, in bytes.
    max_message_bytes: int

    def finished(self, call: Call) -> None:
        """The call's handler has come to its end, or never began."""


class Call(ABC):
    """A call as its handler sees it: what `grpc.aio.ServicerContext` offers, as far as our handlers ask for it."""

    def __init__(self, host: Host, stream: Stream, handler: Any, head: Head) -> None:
        """Raises `Refused` for a request whose metadata gRPC cannot take."""
        self._host = host
        self._stream = stream
        self._share = stream.share
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
        # Of what may wait; and what the metadata take, which others could send without end and never a request behind.
        self._held_bytes = 0
        self._head_bytes = head.size_bytes
        if not self._share.take(self._head_bytes):
            raise overfull()

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
        if not self._share.take(len(chunk) + PIECE_BYTES):
            self._refuse(overfull())
            return
        self._held_bytes += len(chunk) + PIECE_BYTES
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

    async def _read(self, raw: bytes) -> Any:
        """The message behind a prefix, as the handler wants it."""
        message = raw[wire.PREFIX_BYTES :]
        if raw[0]:
            message = await self._decompressed(message)
        read: Callable[[bytes], Any] | None = self._handler.request_deserializer
        if read is None:
            return message
        try:
            return read(message)
        except Exception as malformed:
            failure = InvalidRequest("the bytes are no such message", reason="MALFORMED_MESSAGE")
            raise wire.Refused(failure) from malformed

    async def _decompressed(self, message: bytes) -> bytes:
        """A message in its full size, which counts among what waits until the handler has it."""
        held = len(message)
        plain: list[bytes] = []
        if not self._share.take(held):
            raise overfull()
        try:
            async with self._share.decompressing:
                for piece in wire.decompressed(message, self._encoding, self._host.max_message_bytes):
                    if plain:  # it is a large one
                        await asyncio.sleep(0)
                    if not self._share.take(len(piece)):
                        raise overfull()
                    held += len(piece)
                    plain.append(piece)
            return b"".join(plain)
        finally:
            self._share.give_back(held)

    # The handler, and the response

    def cancel(self) -> None:
        """Ends the call for the sidecar's own reasons."""
        if self._task is not None:
            self._task.cancel()
        else:
            self._refuse(wire.Refused(Draining()))

    def _start(self) -> None:
        self._task = self._host.loop.create_task(self._run())
        # In any case: a task that is cancelled before its first step runs nothing of its own.
        self._task.add_done_callback(lambda _: self._finish())

    def _finish(self) -> None:
        """The handler has come to its end, or never begins."""
        self._pieces.clear()
        self._share.give_back(self._held_bytes + self._head_bytes)
        # The stream keeps its receiver until the response is out.
        self._metadata, self._held_bytes, self._head_bytes = (), 0, 0
        self._host.finished(self)

    def _give_back(self, size: int) -> None:
        self._held_bytes -= size
        self._share.give_back(size)

    def _refuse(self, refused: wire.Refused) -> None:
        """Ends a call whose handler has not begun, or may not go on."""
        if self._task is None:
            self._end_refused(refused)
            self._finish()

    @abstractmethod
    async def _opened(self) -> Any:
        """What the handler is called with: the request, or an iterator of requests."""

    async def _run(self) -> None:
        try:
            await self._answer(await self._opened())
        except Aborted:
            pass
        except wire.Refused as refused:
            self._end_refused(refused)
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
        self._end_with(wire.status(code, message, trailers))

    def _end_refused(self, refused: wire.Refused) -> None:
        self._end_with(told(refused, self._path))

    def _end_with(self, block: bytes) -> None:
        self._stream.end(block if self._stream.has_begun else wire.RESPONSE + block)


class UnaryCall(Call):
    """A call with one request: the handler begins when it is whole."""

    def _cut(self) -> None:
        if self._needed == wire.PREFIX_BYTES:
            self._needed = self._needs(self._whole())
        if self._size > self._needed:
            raise not_one("more")

    def ended(self) -> None:
        if self._size < self._needed:
            self._refuse(not_whole() if self._size else not_one("none"))
        else:
            self._start()

    async def _opened(self) -> Any:
        # Not before: of requests that come together, one is made a message at a time.
        raw = self._whole()
        self._pieces.clear()
        self._give_back(self._held_bytes)
        return await self._read(raw)

    def _whole(self) -> bytes:
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
