"""What a connection sends: frames in order, data as far as the peer's windows and the socket have room."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable

from awsidecar_server.http2 import frames
from awsidecar_server.http2.budget import Share
from awsidecar_server.http2.frames import ConnectionFailed, StreamFailed
from awsidecar_server.http2.stream import Stream

# Frames are gathered while the loop goes round once, up to so many bytes: one system call for all of them.
_GATHERED_BYTES = 64 * 1024
# Frames that no window holds back (answers to SETTINGS and PING, resets) are not gathered beyond this for a peer that
# takes nothing.
_MOST_WAITING_BYTES = 1024 * 1024


class Outbox:
    """The sending half of a connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, share: Share, ended: Callable[[Stream], None]) -> None:
        """`share` is of what waits for room; `ended` is told of each stream whose response is out."""
        self._loop = loop
        self.share = share
        self._ended = ended
        self._transport: asyncio.Transport | None = None
        self._gathered: list[bytes | memoryview] = []
        self._gathered_bytes = 0
        self._is_scheduled = False
        self._is_paused = False
        # Streams that wait for what all share, the socket and the connection's window; the longest waiting first. Those
        # whose own window is the obstacle are not among them: a peer could make us look at thousands for each byte.
        self._waiting: OrderedDict[Stream, None] = OrderedDict()
        self.window = frames.DEFAULT_WINDOW
        self.initial_window = frames.DEFAULT_WINDOW
        self.frame_size = frames.DEFAULT_FRAME_SIZE

    def connected(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def disconnected(self) -> None:
        self._transport = None
        self._gathered.clear()

    def send(self, raw: bytes | memoryview) -> None:
        """Sends a frame that no window concerns."""
        self._gathered.append(raw)
        self._gathered_bytes += len(raw)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self.flush)
        if self._is_paused and self._gathered_bytes > _MOST_WAITING_BYTES and self._transport is not None:
            # It asks for ever more and takes nothing: a word of farewell would not be taken, either.
            self._transport.abort()

    def flush(self) -> None:
        """Hands what was gathered to the socket."""
        self._is_scheduled = False
        if self._transport is None or self._is_paused or not self._gathered:
            return
        raw = self._gathered[0] if len(self._gathered) == 1 else b"".join(self._gathered)
        self._gathered.clear()
        self._gathered_bytes = 0
        self._transport.write(raw)

    def finish(self) -> None:
        """Hands all to the socket, whether there is room or not, and sends nothing more."""
        self._is_paused = False
        self.flush()
        self.disconnected()

    def pause(self) -> None:
        self._is_paused = True

    def resume(self) -> None:
        self._is_paused = False
        self.flush()
        for _ in range(len(self._waiting)):
            if self._is_paused:
                return
            self._pump_next()

    # Responses

    def respond(self, stream: Stream, head: bytes, body: bytes, trailers: bytes) -> None:
        if stream.is_closed:
            stream.not_taken()
            return
        size = len(body)
        if (
            self._is_paused
            or size > min(self.frame_size, stream.window, self.window)
            or len(trailers) > self.frame_size
        ):
            self.begin(stream, head)
            if body:
                stream.pending.append(memoryview(body))
            self.end(stream, trailers)
            return
        stream.window -= size
        self.window -= size
        self.send(
            b"".join(
                (
                    frames.head(len(head), frames.HEADERS, frames.END_HEADERS, stream.id),
                    head,
                    frames.head(size, frames.DATA, 0, stream.id),
                    body,
                    frames.head(len(trailers), frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream.id),
                    trailers,
                )
            )
        )
        self._close(stream)

    def begin(self, stream: Stream, head: bytes) -> None:
        if stream.is_closed:
            return
        stream.has_begun = True
        self.send(frames.headers(stream.id, head, end_stream=False, frame_size=self.frame_size))

    async def write(self, stream: Stream, body: bytes) -> None:
        if not body or stream.is_closed:
            return
        stream.pending.append(memoryview(body))
        self._pump(stream)
        if stream.pending and self._holds(stream, len(body)):
            stream.drained = self._loop.create_future()
            await stream.drained

    def end(self, stream: Stream, trailers: bytes) -> None:
        if stream.is_answered:
            return
        stream.trailers = trailers
        # Of a response whose body has waited before, that is counted already.
        fresh = 0 if stream.held_bytes else sum(map(len, stream.pending))
        self._pump(stream)
        if not stream.is_closed:
            # What is in part on its way is kept whole. Details of a failure can be as large as a body.
            self._holds(stream, fresh + len(trailers))

    def reset(self, stream: Stream, code: int) -> None:
        if not stream.is_closed:
            self.send(frames.rst_stream(stream.id, code))
            stream.not_taken()
            self.forget(stream)
            self._ended(stream)

    def _holds(self, stream: Stream, size: int) -> bool:
        """Counts what may have to wait. A peer that lets too much of it wait loses the response that is one too many."""
        if self.share.take(size):
            stream.held_bytes += size
            return True
        self.reset(stream, frames.ENHANCE_YOUR_CALM)
        if stream.receiver is not None:
            stream.receiver.lost()
        return False

    def forget(self, stream: Stream) -> None:
        """Drops what is to be sent of a stream that the peer has given up."""
        stream.is_closed = True
        stream.pending.clear()
        self._waiting.pop(stream, None)
        self._release(stream)

    def _close(self, stream: Stream) -> None:
        self.forget(stream)
        if not stream.remote_ended:
            # The rest of the request is not wanted; the response stands (section 8.1).
            self.send(frames.rst_stream(stream.id, frames.NO_ERROR))
        self._ended(stream)

    def _release(self, stream: Stream) -> None:
        self.share.give_back(stream.held_bytes)
        stream.held_bytes = 0
        if stream.drained is not None:
            if not stream.drained.done():
                stream.drained.set_result(None)
            stream.drained = None

    def _pump(self, stream: Stream) -> None:
        """Sends what a stream has, as far as there is room."""
        pending = stream.pending
        while pending and not self._is_paused:
            piece = pending[0]
            size = min(len(piece), self.frame_size, stream.window, self.window)
            if size <= 0:
                break
            stream.window -= size
            self.window -= size
            self.send(frames.head(size, frames.DATA, 0, stream.id))
            self.send(piece[:size])
            if size == len(piece):
                pending.popleft()
            else:
                pending[0] = piece[size:]
            if self._gathered_bytes > _GATHERED_BYTES:
                self.flush()
        if pending or self._is_paused:
            # Trailers wait for the socket, too: a peer that takes nothing could have no end of them made.
            if stream.window > 0 or not pending:
                self._waiting[stream] = None
            return
        self._waiting.pop(stream, None)
        self._release(stream)
        if stream.trailers is not None:
            self.send(frames.headers(stream.id, stream.trailers, end_stream=True, frame_size=self.frame_size))
            self._close(stream)

    def _pump_next(self) -> None:
        """Serves the stream that has waited longest; if it still waits then, it goes to the end of the queue."""
        stream, _ = self._waiting.popitem(last=False)
        self._pump(stream)

    # Windows

    def window_grows(self, stream: Stream | None, increment: int) -> None:
        """The peer takes more, of a stream or of all."""
        if stream is None:
            self.window += increment
            if self.window > frames.LARGEST_WINDOW:
                raise ConnectionFailed(frames.FLOW_CONTROL_ERROR, "the window of the connection is too large")
            while self._waiting and self.window > 0 and not self._is_paused:
                self._pump_next()
            return
        stream.window += increment
        if stream.window > frames.LARGEST_WINDOW:
            raise StreamFailed(stream.id, frames.FLOW_CONTROL_ERROR, "the window of a stream is too large")
        if stream.pending:
            self._pump(stream)

    def windows_begin_at(self, window: int, streams: Iterable[Stream]) -> None:
        """The peer takes more of each stream, or less, than it did; windows can get below 0 (section 6.9.2)."""
        growth = window - self.initial_window
        self.initial_window = window
        try:
            for stream in streams:
                self.window_grows(stream, growth)
        except StreamFailed as failed:
            raise ConnectionFailed(failed.code, str(failed)) from failed

    def consumed(self, stream: Stream, size: int) -> None:
        if stream.remote_ended or stream.is_closed:
            return
        stream.unreturned += size
        # Half a window at a time: a frame for each piece would cost as much as the piece.
        if stream.unreturned * 2 >= stream.receive_window:
            self.send(frames.window_update(stream.id, stream.unreturned))
            stream.receive_window += stream.unreturned
            stream.unreturned = 0
