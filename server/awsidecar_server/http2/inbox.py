"""What a connection receives: the rules of RFC 9113 for each kind of frame, and requests handed on."""

from __future__ import annotations

from collections.abc import Callable

from awsidecar_server.http2 import frames
from awsidecar_server.http2.abandoned import Abandoned
from awsidecar_server.http2.blocks import Block
from awsidecar_server.http2.calm import Calm, Clock
from awsidecar_server.http2.frames import ConnectionFailed, StreamFailed
from awsidecar_server.http2.hpack import Decoder, Field
from awsidecar_server.http2.late_resets import LateResets
from awsidecar_server.http2.limits import CONNECTION_WINDOW, STREAM_WINDOW, Limits
from awsidecar_server.http2.outbox import Outbox
from awsidecar_server.http2.request import Malformed, check_trailers, head_of
from awsidecar_server.http2.stream import Acceptor, Stream

# Larger frames of ours would make others wait for their turn.
_LARGEST_SENT = 64 * 1024
# What takes as long as any frame does besides: so many bytes of a header block, or streams that are looked at.
_BLOCK_BYTES_A_FRAME = 128
_STREAMS_A_FRAME = 16


class Inbox:
    """The receiving half of a connection."""

    def __init__(
        self, acceptor: Acceptor, limits: Limits, outbox: Outbox, now: Clock, answered: Callable[[], None]
    ) -> None:
        """`answered` is told when the peer has answered a PING."""
        self._acceptor = acceptor
        self._limits = limits
        self._outbox = outbox
        self._calm = Calm(now)
        self._answered = answered
        self._decoder = Decoder()
        self.streams: dict[int, Stream] = {}
        self._abandoned = Abandoned(limits.remembered)
        self._late_resets = LateResets(now, limits.remembered)
        self.last_id = 0
        # Requests beyond this one are refused: set when the connection is to end.
        self.last_accepted = frames.LARGEST_WINDOW
        self.has_settings = False
        # A header block that is not whole yet.
        self._block: Block | None = None
        # What the frames have cost beside themselves since somebody looked, in frames.
        self.toil = 0
        # Of the connection: what comes within one has come at once.
        self.turn = 0
        self._window = CONNECTION_WINDOW
        self._read = {
            frames.DATA: self._data,
            frames.HEADERS: self._headers,
            frames.PRIORITY: self._priority,
            frames.RST_STREAM: self._rst_stream,
            frames.SETTINGS: self._settings,
            frames.PUSH_PROMISE: self._push_promise,
            frames.PING: self._ping,
            frames.GOAWAY: self._goaway,
            frames.WINDOW_UPDATE: self._window_update,
            frames.CONTINUATION: self._continuation,
        }

    def frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Takes a frame; raises `ConnectionFailed` or `BadHeaders` when the connection must end."""
        if self._block is not None and (kind != frames.CONTINUATION or stream_id != self._block.stream_id):
            raise ConnectionFailed(frames.PROTOCOL_ERROR, "a frame within a header block")
        if not self.has_settings and kind != frames.SETTINGS:
            raise ConnectionFailed(frames.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        read = self._read.get(kind)
        if read is None:  # of an extension that we do not know (section 5.5)
            self._calm.odd_frame()
            return
        try:
            read(flags, stream_id, payload)
        except StreamFailed as failed:
            self._calm.odd_frame()
            self._outbox.send(frames.rst_stream(failed.stream_id, failed.code))
            if (stream := self.streams.get(failed.stream_id)) is not None:
                self._abandoned.add(stream)
                self._lose(failed.stream_id)

    def ended(self, stream: Stream) -> None:
        """The response of a stream is out."""
        self._abandoned.add(stream)
        self._late_resets.await_one(stream)
        self.streams.pop(stream.id, None)

    def lose_all(self) -> None:
        """Tells every receiver that the connection has ended."""
        for stream_id in list(self.streams):
            self._lose(stream_id)
        if self._block is not None:
            self._block.drop()

    def _lose(self, stream_id: int) -> None:
        stream = self.streams.pop(stream_id, None)
        if stream is None:
            return
        stream.remote_ended = True
        self._outbox.forget(stream)
        stream.not_taken()
        if stream.receiver is not None:
            stream.receiver.lost()

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._receive(size)
        stream = self.streams.get(stream_id)
        if stream is None:
            ends = bool(flags & frames.END_STREAM)
            if self._is_unwanted(stream_id, ends=ends):
                if not (payload or ends):
                    self._calm.odd_frame()
                return
            self._check_known(stream_id)
            raise StreamFailed(stream_id, frames.STREAM_CLOSED, "data for a stream that has ended")
        if stream.remote_ended:
            raise StreamFailed(stream_id, frames.STREAM_CLOSED, "data behind the end of a request")
        stream.receive_window -= size
        if stream.receive_window < 0:
            raise StreamFailed(stream_id, frames.FLOW_CONTROL_ERROR, "more data than the window allows")
        if flags & frames.PADDED:
            payload = frames.unpadded(payload)
            stream.consumed(size - len(payload))
        if payload:
            stream.received += len(payload)
        elif not flags & frames.END_STREAM:
            self._calm.odd_frame()
        if flags & frames.END_STREAM:
            self._end(stream)
        receiver = stream.receiver
        if payload and receiver is not None and not stream.is_answered:
            receiver.data(payload)
        if flags & frames.END_STREAM and receiver is not None and not stream.is_answered:
            receiver.ended()

    def _receive(self, size: int) -> None:
        """Counts what has come, and gives it back at once: what a stream buffers is bounded by the stream's window."""
        self._window -= size
        if self._window < 0:
            raise ConnectionFailed(frames.FLOW_CONTROL_ERROR, "more data than the window of the connection allows")
        if self._window * 2 <= CONNECTION_WINDOW:
            self._outbox.send(frames.window_update(0, CONNECTION_WINDOW - self._window))
            self._window = CONNECTION_WINDOW

    def _headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id & 1:
            raise ConnectionFailed(frames.PROTOCOL_ERROR, "a request on a stream that is not the client's")
        if flags & frames.PADDED:
            payload = frames.unpadded(payload)
        if flags & frames.PRIORITY_FLAG:
            if len(payload) < 5:
                raise ConnectionFailed(frames.FRAME_SIZE_ERROR, "HEADERS too short for a priority")
            dependency = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
            payload = payload[5:]
            if dependency == stream_id:
                # The connection fails with it: its table would lack what the block adds.
                raise ConnectionFailed(frames.PROTOCOL_ERROR, "a stream that depends on itself")
        ends = bool(flags & frames.END_STREAM)
        if flags & frames.END_HEADERS:
            self._head(stream_id, payload, ends)
        else:
            self._block = Block(self._outbox.share, stream_id, ends=ends)
            self._block.add(payload)

    def _continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        block = self._block
        if block is None:
            raise ConnectionFailed(frames.PROTOCOL_ERROR, "CONTINUATION of nothing")
        block.add(payload)
        if flags & frames.END_HEADERS:
            self._block = None
            self._head(stream_id, block.take(), block.ends)

    def _head(self, stream_id: int, block: bytes, ends: bool) -> None:
        self.toil += len(block) // _BLOCK_BYTES_A_FRAME
        # Read in any case: the next block builds on it.
        fields = self._decoder.decode(block, self._limits.header_list_bytes)
        if stream_id > self.last_id:
            self._request(stream_id, fields, ends)
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if self._is_unwanted(stream_id, ends=True):
                self._calm.odd_frame()  # clients of gRPC have no trailers
                return
            raise ConnectionFailed(frames.STREAM_CLOSED, "a header block for a stream that has ended")
        if stream.remote_ended:
            raise ConnectionFailed(frames.STREAM_CLOSED, "a header block behind the end of a request")
        if not ends:
            raise StreamFailed(stream_id, frames.PROTOCOL_ERROR, "trailers that are not the end")
        try:
            check_trailers(fields or [])
        except Malformed as malformed:
            raise StreamFailed(stream_id, frames.PROTOCOL_ERROR, str(malformed)) from malformed
        self._end(stream)
        if stream.receiver is not None and not stream.is_answered:
            stream.receiver.ended()

    def _request(self, stream_id: int, fields: list[Field] | None, ends: bool) -> None:
        self.last_id = stream_id
        if self._is_refused(stream_id):
            # It crosses the word that no more are taken, perhaps with thousands of others.
            self._calm.reset(is_rapid=False)
            self._outbox.send(frames.rst_stream(stream_id, frames.REFUSED_STREAM))
            return
        stream = Stream(stream_id, self._outbox, STREAM_WINDOW)
        stream.remote_ended, stream.turn = ends, self.turn
        if len(self.streams) >= self._limits.streams:
            self._abandoned.add(stream)
            raise StreamFailed(stream_id, frames.REFUSED_STREAM, "more streams than were allowed")
        self.streams[stream_id] = stream
        if fields is None:
            self._acceptor.too_large(stream)
            return
        try:
            head = head_of(fields)
        except Malformed as malformed:
            raise StreamFailed(stream_id, frames.PROTOCOL_ERROR, str(malformed)) from malformed
        stream.expected = head.content_length
        if ends and stream.expected:
            raise StreamFailed(stream_id, frames.PROTOCOL_ERROR, "a body shorter than its content-length")
        stream.receiver = receiver = self._acceptor.request(stream, head)
        if ends:
            receiver.ended()

    def _is_refused(self, stream_id: int) -> bool:
        """Whether it was opened after the last that is taken."""
        return self.last_accepted < stream_id <= self.last_id

    def _is_unwanted(self, stream_id: int, *, ends: bool) -> bool:
        """Whether what has come, perhaps the end, is of a request that was refused, or answered before its end."""
        return self._is_refused(stream_id) or self._abandoned.has(stream_id, ends=ends)

    def _end(self, stream: Stream) -> None:
        stream.remote_ended = True
        if stream.expected is not None and stream.received != stream.expected:
            raise StreamFailed(stream.id, frames.PROTOCOL_ERROR, "a body not as long as its content-length")

    def _rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFailed(frames.FRAME_SIZE_ERROR, "RST_STREAM of a wrong length")
        self._check_known(stream_id)
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._calm.reset(is_rapid=stream.turn == self.turn)
            self._lose(stream_id)
        elif int.from_bytes(payload, "big") != frames.NO_ERROR:
            # Some clients close each stream so when they have read its response to the end.
            self._late_resets.came(stream_id)

    def _settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFailed(frames.PROTOCOL_ERROR, "SETTINGS of a stream")
        if flags & frames.ACK:
            if payload:
                raise ConnectionFailed(frames.FRAME_SIZE_ERROR, "an acknowledgement with settings")
            return
        if len(payload) % 6:
            raise ConnectionFailed(frames.FRAME_SIZE_ERROR, "SETTINGS of a wrong length")
        if not self.has_settings:
            self.has_settings = True
        else:
            self._calm.odd_frame()
        # Before what they let us send: the peer counts with them from here on.
        self._outbox.send(frames.SETTINGS_ACK)
        window = self._outbox.initial_window
        for name, value in frames.read_settings(payload):
            if name == frames.ENABLE_PUSH and value > 1:
                raise ConnectionFailed(frames.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
            if name == frames.INITIAL_WINDOW_SIZE:
                if value > frames.LARGEST_WINDOW:
                    raise ConnectionFailed(frames.FLOW_CONTROL_ERROR, "a window that is too large")
                window = value
            elif name == frames.MAX_FRAME_SIZE:
                if not frames.DEFAULT_FRAME_SIZE <= value <= frames.LARGEST_FRAME_SIZE:
                    raise ConnectionFailed(frames.PROTOCOL_ERROR, "a frame size that is not allowed")
                self._outbox.frame_size = min(value, _LARGEST_SENT)
        # Once for a frame, which may name it thousands of times: every stream is looked at.
        if window != self._outbox.initial_window:
            self.toil += len(self.streams) // _STREAMS_A_FRAME
            self._outbox.windows_begin_at(window, list(self.streams.values()))

    def _push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise ConnectionFailed(frames.PROTOCOL_ERROR, "PUSH_PROMISE of a client")

    def _priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._calm.odd_frame()
        if not stream_id:
            raise ConnectionFailed(frames.PROTOCOL_ERROR, "PRIORITY of no stream")
        if len(payload) != 5:
            raise StreamFailed(stream_id, frames.FRAME_SIZE_ERROR, "PRIORITY of a wrong length")
        if int.from_bytes(payload[:4], "big") & 0x7FFFFFFF == stream_id:
            raise StreamFailed(stream_id, frames.PROTOCOL_ERROR, "a stream that depends on itself")

    def _ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFailed(frames.PROTOCOL_ERROR, "PING of a stream")
        if len(payload) != 8:
            raise ConnectionFailed(frames.FRAME_SIZE_ERROR, "PING of a wrong length")
        if flags & frames.ACK:
            self._answered()
            return
        self._outbox.send(frames.ping(payload, frames.ACK))

    def _goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFailed(frames.PROTOCOL_ERROR, "GOAWAY of a stream")
        # The peer sends no more requests; those under way are answered, and then it closes.

    def _window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFailed(frames.FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong length")
        increment = int.from_bytes(payload, "big") & 0x7FFFFFFF
        if not stream_id:
            if not increment:
                raise ConnectionFailed(frames.PROTOCOL_ERROR, "a window that grows by nothing")
            self._outbox.window_grows(None, increment)
            return
        self._check_known(stream_id)
        if not increment:
            raise StreamFailed(stream_id, frames.PROTOCOL_ERROR, "a window that grows by nothing")
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._outbox.window_grows(stream, increment)

    def _check_known(self, stream_id: int) -> None:
        if not stream_id or stream_id > self.last_id or not stream_id & 1:
            raise ConnectionFailed(frames.PROTOCOL_ERROR, "a frame for a stream that was never opened")
