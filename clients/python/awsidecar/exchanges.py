"""Calls with a stream in both directions, for threads and for asyncio."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import Message
from grpc import aio

from awsidecar.failures import failure_of
from awsidecar.operations import Method
from awsidecar.settings import checked_timeout

if TYPE_CHECKING:
    from awsidecar.calls import AioCalls, Calls


class Exchange:
    """A call that has begun, for threads. Whoever sends bounds what is sent and not yet answered."""

    def __init__(self, calls: Calls, method: Method, timeout: float) -> None:
        self._method = method
        self._requests: SimpleQueue[Message | None] = SimpleQueue()
        self._call: Any = calls.channel.stream_stream(
            method.path,
            request_serializer=method.request_class.SerializeToString,
            response_deserializer=method.response_class.FromString,
        )(iter(self._requests.get, None), timeout=checked_timeout(timeout), metadata=calls.settings.metadata)

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
    """A call that has begun, for asyncio."""

    def __init__(self, calls: AioCalls, method: Method, timeout: float) -> None:
        self._method = method
        self._call: Any = calls.channel.stream_stream(
            method.path,
            request_serializer=method.request_class.SerializeToString,
            response_deserializer=method.response_class.FromString,
        )(timeout=checked_timeout(timeout), metadata=calls.settings.metadata)

    async def send(self, request: Message) -> None:
        # Of a call that has ended, `receive` tells how.
        with suppress(grpc.RpcError, asyncio.InvalidStateError):
            await self._call.write(request)

    async def finish(self) -> None:
        """Says that nothing more is sent."""
        with suppress(grpc.RpcError, asyncio.InvalidStateError):
            await self._call.done_writing()

    async def receive(self) -> Any:
        """The next response; None when there are no more."""
        try:
            response = await self._call.read()
        except grpc.RpcError as error:
            raise failure_of(error, self._method.name) from error
        return None if response is aio.EOF else response

    async def end(self) -> None:
        """Lets a call end of which all is known, so that the sidecar does not count it as cancelled."""
        await self.finish()
        with suppress(grpc.RpcError):
            while await self._call.read() is not aio.EOF:
                pass

    def cancel(self) -> None:
        """Ends the call, and with it the work in the sidecar; nothing happens when it has ended."""
        self._call.cancel()
