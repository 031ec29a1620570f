"""A watch of the streams in memory, as a test drives it."""

from __future__ import annotations

import asyncio
import base64
import json
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from google.protobuf.duration_pb2 import Duration
from tests.unit import virtual_time
from tests.unit.dynamodb.changes.fakes import FakeStreams

from awsidecar.dynamodb.v1.watch_pb2 import WatchTableRequest, WatchTableResponse
from awsidecar_server.dynamodb.changes.watches import Watches
from awsidecar_server.identity.credentials import Caller, Credentials, ServiceAccountCaller, SessionCaller
from awsidecar_server.operations import Scope

ANYBODY = ServiceAccountCaller()


def session(name: str) -> SessionCaller:
    return SessionCaller(Credentials(name, "secret"), datetime(2030, 1, 1, tzinfo=UTC))


def forged(stream_arn: Any, positions: Any) -> str:
    """A checkpoint of these, whatever they are."""
    content = json.dumps([stream_arn, positions], separators=(",", ":")).encode()
    packed = bytes([1]) + zlib.compress(content)
    return base64.urlsafe_b64encode(packed + zlib.crc32(packed).to_bytes(4, "big")).rstrip(b"=").decode()


def changed(message: WatchTableResponse) -> list[str]:
    """What a message says of which item: `key/value`."""
    return [record.event_id for record in message.records]


async def verified() -> None:
    """A session that does not end."""


@dataclass
class Watching:
    """A watch that is open, and what it has brought."""

    stream: AsyncGenerator[WatchTableResponse, None]
    messages: list[WatchTableResponse] = field(default_factory=list)
    _coming: asyncio.Future[WatchTableResponse] | None = None

    async def next(self) -> WatchTableResponse:
        await self._came(None)
        return self.messages[-1]

    async def until(self, count: int) -> list[str]:
        """All changes, when there are so many."""
        while len(self.changes) < count:
            await self.next()
        return self.changes

    async def during(self, seconds: float) -> list[WatchTableResponse]:
        """What comes in this time."""
        loop = asyncio.get_running_loop()
        came, end = len(self.messages), loop.time() + seconds
        while await self._came(end - loop.time()):
            pass
        return self.messages[came:]

    async def _came(self, seconds: float | None) -> bool:
        """Waits for the next message, which goes on being waited for when it does not come in time."""
        if self._coming is None:
            self._coming = asyncio.ensure_future(anext(self.stream))
        coming = self._coming
        await asyncio.wait({coming}, timeout=seconds)
        if not coming.done():
            return False
        self._coming = None
        self.messages.append(coming.result())
        return True

    async def stop(self) -> None:
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.gather(self._coming, return_exceptions=True)

    @property
    def changes(self) -> list[str]:
        return [change for message in self.messages for change in changed(message)]

    @property
    def checkpoint(self) -> str:
        return next(message.checkpoint for message in reversed(self.messages) if message.checkpoint)


@dataclass
class Service:
    """WatchTable on streams in memory."""

    streams: FakeStreams
    watches: Watches

    @classmethod
    def on(cls, streams: FakeStreams, store_bytes: int = 1 << 20) -> Service:
        return cls(streams, Watches(streams, virtual_time.now, store_bytes=store_bytes))

    @asynccontextmanager
    async def watch(
        self,
        *,
        caller: Caller = ANYBODY,
        verify: object = verified,
        heartbeat: float = 10,
        **request: object,
    ) -> AsyncIterator[Watching]:
        """A watch of the table, unless the request names a stream, from when its first message has come."""
        asked = WatchTableRequest(**{"table_name": "users", **request})  # type: ignore[arg-type]
        asked.heartbeat_interval.CopyFrom(Duration(seconds=int(heartbeat)))
        stream = self.watches.messages(asked, Scope(caller, "us-east-1"), verify)  # type: ignore[arg-type]
        async with aclosing(stream):
            watching = Watching(stream)
            try:
                await watching.next()
                yield watching
            finally:
                await watching.stop()
