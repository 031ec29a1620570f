"""A gRPC call with a stream of requests, which are made as the handler asks for them."""

from __future__ import annotations

import asyncio
from typing import Any

from awsidecar_server.api import grpc_wire as wire
from awsidecar_server.api.grpc_call import PIECE_BYTES, Call, Host
from awsidecar_server.api.grpc_refusals import not_whole
from awsidecar_server.http2.request import Head
from awsidecar_server.http2.stream import Stream


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

    async def _opened(self) -> Any:
        return self

    def _finish(self) -> None:
        self._raw = b""
        super()._finish()

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
                    raise not_whole()
                if self._is_whole:
                    raise StopAsyncIteration
                self._arrived = self._host.loop.create_future()
                await self._arrived
            return await self._read(raw)
        except wire.Refused as refused:
            # The handler sees what it would see if the caller had left, whom we tell why.
            self._end_refused(refused)
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
                if self._at * 2 >= len(self._raw):  # what was read is not kept for the sake of a few bytes
                    self._raw, self._at = self._raw[self._at :], 0
                self._give_back(self._held_bytes - self._size - PIECE_BYTES * len(self._pieces))
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
