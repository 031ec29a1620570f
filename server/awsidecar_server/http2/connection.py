"""One connection: its frames cut from the bytes that come, and its life from the preface to the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import structlog

from awsidecar_server.http2 import frames
from awsidecar_server.http2.budget import Budget
from awsidecar_server.http2.delivery import is_unacknowledged
from awsidecar_server.http2.frames import ConnectionFailed
from awsidecar_server.http2.hpack import BadHeaders
from awsidecar_server.http2.inbox import Inbox
from awsidecar_server.http2.limits import Limits
from awsidecar_server.http2.outbox import Outbox
from awsidecar_server.http2.stream import Acceptor, Stream

_log = structlog.get_logger()

_HANDSHAKE_SECONDS = 10.0
# How long a peer may take to read what is left when its connection ends.
_LINGER_SECONDS = 5.0
# How long it may take to end its side when we have said all; most do at once.
_FAREWELL_SECONDS = 1.0
# How often the system is asked whether the peer has what was sent: it tells nobody.
_LOOK_SECONDS = 0.05
# Frames of one connection before others have their turn. A read of 256 KiB has twenty thousand of the smallest, and
# dozens at most of those that carry requests.
_FRAMES_A_TURN = 256


class Connection(asyncio.Protocol):
    """A connection of a client."""

    def __init__(
        self, acceptor: Acceptor, limits: Limits, budget: Budget, closed: Callable[[Connection], None]
    ) -> None:
        """`budget` is of what waits, over all connections; `closed` is told when the connection has ended."""
        self._limits = limits
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._outbox = Outbox(self._loop, budget.share(), self._ended)
        self._inbox = Inbox(acceptor, limits, self._outbox, self._loop.time, self._answered)
        self._rest = b""
        # Others have their turn; what has come meanwhile waits.
        self._is_resting = False
        # All is said, and what still comes is dropped.
        self._is_leaving = False
        self._has_preface = False
        self._going_away: asyncio.TimerHandle | None = None
        # Whether a response was sent that may be with our system yet. What else we say is owed to nobody: the peer's host
        # may be gone.
        self._owes = False
        # During the end: a response is out, or nobody takes it any more.
        self._moved = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._ending = self._loop.call_later(_HANDSHAKE_SECONDS, self.abort)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._outbox.connected(self._transport)
        self._outbox.send(self._limits.told())

    def connection_lost(self, exc: Exception | None) -> None:
        self._ending.cancel()
        if self._going_away is not None:
            self._going_away.cancel()
        self._transport = None
        self._outbox.disconnected()
        self._inbox.lose_all()
        self._moved.set()
        self._closed(self)

    def pause_writing(self) -> None:
        self._outbox.pause()

    def resume_writing(self) -> None:
        self._outbox.resume()
        self._moved.set()
        if self._is_leaving:
            self._wait_for_farewell()

    def eof_received(self) -> bool:
        self.close()  # a peer that sends no more cannot open windows
        return True  # we have closed, with a limit to how long the peer may take what is left

    def data_received(self, data: bytes) -> None:
        if self._is_leaving:
            return
        self._rest = self._rest + data if self._rest else data
        if not self._is_resting:
            self._read()

    def _go_on(self) -> None:
        self._is_resting = False
        self._read()
        if not self._is_resting and self._transport is not None:
            self._transport.resume_reading()

    def _read(self) -> None:
        if self._is_over:
            return
        try:
            self._cut(self._rest)
            if self._going_away is not None:  # streams that the peer gave up end without a response
                self._check_end()
        except ConnectionFailed as failed:
            self._fail(failed.code, str(failed))
        except BadHeaders as failed:
            self._fail(frames.COMPRESSION_ERROR, str(failed))

    def _cut(self, data: bytes) -> None:
        at, end = 0, len(data)
        if not self._has_preface:
            if end < len(frames.PREFACE) and frames.PREFACE.startswith(data):
                self._rest = data
                return
            if not data.startswith(frames.PREFACE):
                raise ConnectionFailed(frames.PROTOCOL_ERROR, "the connection does not begin as HTTP/2 does")
            self._has_preface = True
            at = len(frames.PREFACE)
        inbox, left = self._inbox, _FRAMES_A_TURN
        frame = inbox.frame
        inbox.turn += 1
        while end - at >= frames.HEADER_BYTES and left > 0:
            left -= 1
            length = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            if length > frames.DEFAULT_FRAME_SIZE:
                raise ConnectionFailed(frames.FRAME_SIZE_ERROR, "a frame larger than was allowed")
            start = at + frames.HEADER_BYTES
            stop = start + length
            if stop > end:
                break
            stream_id = int.from_bytes(data[at + 5 : start], "big") & 0x7FFFFFFF
            frame(data[at + 3], data[at + 4], stream_id, data[start:stop])
            at = stop
            if inbox.toil:
                left -= inbox.toil
                inbox.toil = 0
            if self._is_over:
                return
        self._rest = data[at:] if at < end else b""
        if left <= 0 and self._transport is not None:
            self._is_resting = True
            self._transport.pause_reading()
            self._loop.call_soon(self._go_on)
        if self._inbox.has_settings and self._going_away is None:
            self._ending.cancel()

    def _fail(self, code: int, problem: str) -> None:
        _log.debug("connection failed", problem=problem, code=code)
        self._outbox.send(frames.goaway(self._inbox.last_id, code, problem.encode()))
        self.close()

    # The end

    def go_away(self, patience_seconds: float) -> None:
        """Tells the peer to open no more streams, and closes when the last has ended.

        Those that are on their way meanwhile are taken: the peer's answer to a PING shows that no more come.
        """
        if self._going_away is not None or self._transport is None:
            return
        self._still_owes()  # of what comes after, nobody could tell whether it is a response
        self._going_away = self._loop.call_later(patience_seconds, self.refuse_more)
        self._outbox.send(frames.goaway(frames.LARGEST_WINDOW, frames.NO_ERROR) + frames.ping(bytes(8)))

    def _answered(self) -> None:
        if self._going_away is not None:
            self.refuse_more()

    def refuse_more(self) -> None:
        """Takes no more requests, and closes when the responses to those that were taken are out."""
        if self._going_away is not None:
            self._going_away.cancel()
        if not self._is_refusing:
            self._inbox.last_accepted = self._inbox.last_id
            self._outbox.send(frames.goaway(self._inbox.last_id, frames.NO_ERROR))
        self._check_end()

    async def answered(self) -> None:
        """Returns when the responses that are made are with the peer's system; only after `go_away`."""
        self._heed_every_byte()
        while True:
            if self._keeps_something or any(stream.is_answered for stream in self._inbox.streams.values()):
                self._moved.clear()
                await self._moved.wait()
            elif self._still_owes():
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                return

    @property
    def _is_refusing(self) -> bool:
        return self._inbox.last_accepted != frames.LARGEST_WINDOW

    def _ended(self, stream: Stream) -> None:
        """The response of a stream is out."""
        self._inbox.ended(stream)
        self._owes = True
        if self._going_away is not None or self._is_refusing:
            self._check_end()

    def _check_end(self) -> None:
        self._moved.set()
        if self._is_refusing and not self._inbox.streams:
            self._leave()

    @property
    def _is_over(self) -> bool:
        """Whether nothing that still comes concerns anybody."""
        return self._is_leaving or self._transport is None or self._transport.is_closing()

    def _leave(self) -> None:
        """Ends our side, and the connection when the peer has ended its own, or soon.

        A peer may still be sending, on a stream that was answered before its end. When a socket is closed with data that
        nobody has read, the peer's TCP drops what the peer has not read: our answer (RFC 9112, section 9.6).
        """
        if self._is_over or self._transport is None:
            return
        self._outbox.finish()
        self._is_leaving, self._rest = True, b""
        try:
            self._transport.write_eof()
        except OSError:  # the peer is gone
            self.abort()
        self._ending.cancel()
        self._heed_every_byte()
        if not self._keeps_something:
            self._wait_for_farewell()

    def _heed_every_byte(self) -> None:
        """Has the transport tell when it has nothing left: what it keeps is lost when the process ends."""
        if self._transport is not None:
            self._transport.set_write_buffer_limits(high=0)

    @property
    def _keeps_something(self) -> bool:
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    def _still_owes(self) -> bool:
        """Whether a response has been sent, and is perhaps not with the peer's system."""
        self._outbox.flush()
        self._owes = self._owes and (
            self._keeps_something or (self._transport is not None and is_unacknowledged(self._transport))
        )
        return self._owes

    def _wait_for_farewell(self) -> None:
        self._ending.cancel()
        self._ending = self._loop.call_later(_FAREWELL_SECONDS, self._end_farewell)

    def _end_farewell(self) -> None:
        if self._still_owes():  # a peer that gives windows back would be answered with a reset
            self._wait_for_farewell()
        else:
            self.close()

    def close(self) -> None:
        """Ends the connection when what was sent is out, or soon."""
        if self._transport is not None and not self._transport.is_closing():
            self._outbox.flush()
            self._transport.close()
            self._ending.cancel()
            self._ending = self._loop.call_later(_LINGER_SECONDS, self.abort)

    def abort(self) -> None:
        """Ends the connection at once."""
        if self._transport is not None:
            self._transport.abort()
