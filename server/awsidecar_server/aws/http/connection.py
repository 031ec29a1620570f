"""One connection, and the exchanges of a request for an answer on it: one after the other, never two at a time."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable
from typing import cast

from awsidecar_server.aws.http.messages import AnswerReader, Cause, HttpAnswer, HttpFailure
from awsidecar_server.aws.retries import Stage

# One buffer is cheaper up to here; beyond, the body is not copied once more.
_MAX_JOINED_BYTES = 64 * 1024


class HttpConnection(asyncio.Protocol):
    """Is ready for a request from its beginning, and again after each answer that leaves it clean.

    The state is the exchange in progress: its reader, and the future of its answer. Whatever goes wrong closes the
    connection, so that no answer can be taken for that of another request.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_lost: Callable[[HttpConnection], None]) -> None:
        self._loop = loop
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        # What the transport writes to, down to the socket: more than itself where there is TLS.
        self._below: tuple[asyncio.Transport, ...] = ()
        self._reader: AnswerReader | None = None
        self._answer: asyncio.Future[HttpAnswer] | None = None
        # When bytes came last, what they may be apart, and when the exchange must be over: on the loop's clock.
        self._heard = 0.0
        self._read_timeout = 0.0
        self._end: float | None = None
        self._end_cause: Cause = "timeout"
        # The timer outlives the exchange it was set for, and serves the next one: most of them need no other.
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self.born = self.idle_since = loop.time()
        self.closed: asyncio.Future[None] = loop.create_future()

    def __repr__(self) -> str:
        state = "closed" if self._transport is None else "open" if self._answer is None else "in use"
        return f"<HttpConnection {state}>"

    @property
    def transport(self) -> asyncio.Transport:
        """The transport of an open connection."""
        assert self._transport is not None
        return self._transport

    @property
    def is_ready(self) -> bool:
        """True when a request can be sent now."""
        return self._transport is not None and not self._transport.is_closing() and self._answer is None

    @property
    def is_silent(self) -> bool:
        """False when the peer has sent something, its end included, that the loop has not come to yet."""
        plain: socket.socket | None = self.transport.get_extra_info("socket")
        if plain is None or plain.fileno() < 0:  # it is being closed
            return False
        watch = select.poll()
        watch.register(plain.fileno(), select.POLLIN)
        return not watch.poll(0)

    async def exchange(
        self,
        head: bytes,
        body: bytes = b"",
        *,
        read_timeout: float,
        total_timeout: float | None = None,
        deadline: float | None = None,
        to_connect: bool = False,
    ) -> HttpAnswer:
        """Sends a request and takes its answer. From then on, AWS may have got the request.

        The answer must be complete after `total_timeout` and at `deadline`, on the loop's clock; and its bytes come no
        further apart than `read_timeout`.
        """
        transport, now = self.transport, self._loop.time()
        if deadline is not None and now >= deadline:
            raise HttpFailure(Stage.UNSENT, "deadline", "the deadline passed before the request was sent")
        self._reader = AnswerReader(to_connect=to_connect)
        answer: asyncio.Future[HttpAnswer] = self._loop.create_future()
        self._answer = answer
        self._heard, self._read_timeout = now, read_timeout
        self._end, self._end_cause = None if total_timeout is None else now + total_timeout, "timeout"
        if deadline is not None and (self._end is None or deadline <= self._end):
            self._end, self._end_cause = deadline, "deadline"
        self._watch()
        if len(body) <= _MAX_JOINED_BYTES:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        try:
            return await answer
        except BaseException:  # cancelled, above all: the answer would come to the next one
            self.abort()
            if answer.done() and not answer.cancelled():
                answer.exception()  # nobody else will ask for it
            raise
        finally:
            self._answer = self._reader = None

    def upgrade(self, transport: asyncio.Transport) -> None:
        """Goes on over the given transport, which has been put on top of the present one."""
        if self._transport is not None:  # else it has been lost in this moment
            self._below = (*self._below, self._transport)
            self._transport = transport

    def abort(self) -> None:
        """Closes at once, and loses what is not sent yet."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without saying so

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if reader is None or self._answer is None or self._answer.done():  # nobody has asked
            self.abort()
            return
        self._heard = self._loop.time()
        try:
            answer = reader.feed(data)
        except HttpFailure as failure:
            self._fail(failure)
            return
        if answer is not None:
            if reader.is_last or self._is_writing:  # an answer to half a request
                self.abort()
            self._answer.set_result(answer)

    def eof_received(self) -> None:
        if self._reader is not None and self._answer is not None and not self._answer.done():
            answer = self._reader.end()
            if answer is not None:
                self._answer.set_result(answer)
        self.abort()  # nobody speaks HTTP over half a connection

    def connection_lost(self, exc: Exception | None) -> None:
        lost = HttpFailure(
            Stage.UNANSWERED, "connection_lost", "the connection was lost before the answer was complete"
        )
        lost.__cause__ = exc
        self._fail(lost)
        self._transport, self._below = None, ()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.closed.done():
            self.closed.set_result(None)
        self._on_lost(self)

    def _fail(self, failure: HttpFailure) -> None:
        self.abort()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(failure)

    @property
    def _is_writing(self) -> bool:
        """True when a part of the request has not left us: what TLS has encrypted, it hands down and forgets."""
        return any(one.get_write_buffer_size() for one in (self.transport, *self._below))

    def _due(self) -> float:
        quiet = self._heard + self._read_timeout
        return quiet if self._end is None else min(quiet, self._end)

    def _watch(self) -> None:
        """Sees to a timer that goes off no later than the exchange is due."""
        due = self._due()
        if self._timer is not None:
            if self._timer_at <= due:
                return
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._answer is None or self._answer.done():
            return
        now = self._loop.time()
        if now < self._due():
            self._watch()
        else:
            cause: Cause = "timeout" if self._end is None or now < self._end else self._end_cause
            self._fail(HttpFailure(Stage.UNANSWERED, cause, "the answer did not come in time"))
