"""Calls with a stream in both directions, for threads and for asyncio."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import Message
from grpc import aio

from awsidecar.exceptions import SidecarError
from awsidecar.failures import beginning, cut_off, failure_of, raise_if_cancelled, waiting
from awsidecar.operations import Method
from awsidecar.settings import checked_timeout

if TYPE_CHECKING:
    from awsidecar.calls import AioCalls, Calls


# What gRPC for asyncio says of a call when a write has failed; and how often, and after what pauses, it is looked whether
# the sidecar's own status has come.
_OF_A_WRITE = "Internal error from Core"
_MOST_LOOKS = 100
_LOOK_SECONDS = 0.01


class Exchange:
    """A call that has begun, for threads. Whoever sends bounds what is sent and not yet answered."""

    def __init__(self, calls: Calls, method: Method, timeout: float) -> None:
        self._method = method
        self._requests: SimpleQueue[Message | None] = SimpleQueue()
        callable_ = calls.channel.stream_stream(
            method.path,
            request_serializer=method.request_class.SerializeToString,
            response_deserializer=method.response_class.FromString,
        )
        limit, requests = checked_timeout(timeout), iter(self._requests.get, None)
        with beginning(method.name):
            self._call: Any = callable_(requests, timeout=limit, metadata=calls.settings.metadata)
        # Of one that is dropped: gRPC ends the call, but not its thread that waits here for more to send.
        weakref.finalize(self, self._requests.put, None)

    def send(self, request: Message) -> None:
        self._requests.put(request)

    def finish(self) -> None:
        """Says that nothing more is sent."""
        self._requests.put(None)

    def receive(self) -> Any:
        """The next response; None when there are no more."""
        try:
            return next(self._call)
        except StopIteration:
            return None
        except grpc.RpcError as error:
            raise failure_of(error, self._method.name) from error

    def end(self) -> None:
        """Lets a call end of which all is known, so that the sidecar does not count it as cancelled."""
        self.finish()
        with suppress(grpc.RpcError):
            for _ in self._call:
                pass

    def cancel(self) -> None:
        """Ends the call, and with it the work in the sidecar; nothing happens when it has ended."""
        self._call.cancel()
        self.finish()


class AioExchange:
    """A call that has begun, for asyncio.

    When a write meets the end of the call, gRPC for asyncio says INTERNAL in place of the status that the sidecar sent
    (https://github.com/grpc/grpc/issues/36066), and `read` gives no more responses. So what the sidecar said is noted
    when it comes, responses are iterated over, which goes on, and a status that comes later is waited for.
    """

    def __init__(
        self,
        calls: AioCalls,
        method: Method,
        timeout: float,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._method = method
        self._pause = pause
        callable_ = calls.channel.stream_stream(
            method.path,
            request_serializer=method.request_class.SerializeToString,
            response_deserializer=method.response_class.FromString,
        )
        limit = checked_timeout(timeout)
        with beginning(method.name):
            self._call: Any = callable_(timeout=limit, metadata=calls.settings.metadata)
        self._responses: AsyncIterator[Any] = aiter(self._call)
        # What is under way, which goes on when whoever waits for it is cancelled: gRPC for asyncio would cancel the call.
        # What is sent waits for what was to be sent before.
        self._sending: asyncio.Future[None] | None = None
        self._writes: set[asyncio.Future[None]] = set()
        self._receiving: asyncio.Future[Any] | None = None
        # How the sidecar ended the call.
        self._end: aio.AioRpcError | None = None
        self._call.add_done_callback(self._note_end)
        self._call.add_done_callback(self._stop_writes)

    def _stop_writes(self, call: object) -> None:
        """The call has ended. gRPC for asyncio waits for ever to write to a peer that has never said anything."""
        for write in self._writes:
            write.cancel()

    def _note_end(self, call: Any) -> None:
        """Takes note of the status, unless it is gRPC's own word about a write. It is there, so nothing waits."""
        details = _at_once(call.details())
        if self._end is None and details != _OF_A_WRITE:
            code, trailers = _at_once(call.code()), _at_once(call.trailing_metadata())
            self._end = aio.AioRpcError(code, aio.Metadata(), trailers, details)

    async def send(self, request: Message) -> None:
        """Sends a request. It is sent also when its caller is cancelled, at whatever moment."""
        await self._sent(request)

    async def finish(self) -> None:
        """Says that nothing more is sent."""
        await self._sent(None)

    async def _sent(self, request: Message | None) -> None:
        write = self._sending = asyncio.ensure_future(self._write(self._sending, request))
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)
        try:
            await asyncio.shield(write)
        except asyncio.CancelledError:
            raise_if_cancelled()  # else the call has ended, and `receive` tells how

    async def _write(self, earlier: asyncio.Future[None] | None, request: Message | None) -> None:
        if earlier is not None:
            await asyncio.wait({earlier})
        # Of a call that has ended, or was cancelled, `receive` tells how.
        with suppress(grpc.RpcError, asyncio.InvalidStateError, asyncio.CancelledError):
            await (self._call.done_writing() if request is None else self._call.write(request))

    async def receive(self) -> Any:
        """The next response, for one task at a time; None when there are no more. It is not lost to one that is cancelled."""
        if self._receiving is None:
            self._receiving = asyncio.ensure_future(self._read())
            self._receiving.add_done_callback(seen)
        with waiting(self._method.name):
            response = await asyncio.shield(self._receiving)
        self._receiving = None
        return response

    async def _read(self) -> Any:
        with waiting(self._method.name):
            try:
                response = await anext(self._responses, None)
            except grpc.RpcError as error:
                end = await self._said(error)
                if end.code() is grpc.StatusCode.OK:
                    return None
                raise failure_of(end, self._method.name) from error
        if response is None and self._call.cancelled():
            raise cut_off(self._method.name)
        return response

    async def _said(self, error: Any) -> Any:
        """The error, or what the sidecar said instead."""
        if error.details() != _OF_A_WRITE:
            return error
        for _ in range(_MOST_LOOKS):
            if self._end is not None:
                return self._end
            await self._pause(_LOOK_SECONDS)
            self._note_end(self._call)
        return error

    async def end(self) -> None:
        """Lets a call end of which all is known, so that the sidecar does not count it as cancelled."""
        await self.finish()
        with suppress(SidecarError):
            while await self.receive() is not None:
                pass

    def cancel(self) -> None:
        """Ends the call, and with it the work in the sidecar; nothing happens when it has ended."""
        self._call.cancel()
        self._stop_writes(self._call)
        if self._receiving is not None:
            self._receiving.cancel()


def seen(received: asyncio.Future[Any]) -> None:
    """Whoever waited for it may have been cancelled."""
    if not received.cancelled():
        received.exception()


def _at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine gives that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as finished:
        return finished.value
    coroutine.close()
    raise RuntimeError("the call has not ended")
