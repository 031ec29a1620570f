"""The streams that are being read: one reading for all watches of the same stream by the same caller."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

from awsidecar_server.dynamodb.changes.pages import PageStore
from awsidecar_server.dynamodb.changes.shard_reading import Kept, ShardReading
from awsidecar_server.dynamodb.changes.stream_calls import Listing, Performer, StreamCalls, few_at_once
from awsidecar_server.identity.clock import Clock
from awsidecar_server.identity.credentials import Caller
from awsidecar_server.identity.flights import Flights
from awsidecar_server.operations import Scope

# How long AWS has to say of a shard that it has it not, before that is believed, and how often it is asked meanwhile.
_DENIAL_SECONDS = 1.5
_DENIAL_PAUSE_SECONDS = 0.5

# The caller is part of it: what one caller's credentials have read is not shown to another.
_Key: TypeAlias = tuple[Caller, str, str]


class StreamReading:
    """Reads one stream for one caller."""

    def __init__(self, calls: StreamCalls, store: PageStore, clock: Clock) -> None:
        self._calls = calls
        self._store = store
        self._clock = clock
        # Watches hold on to the shards that they read. Those that have been read to their end are nobody's.
        self._shards: weakref.WeakValueDictionary[str, ShardReading] = weakref.WeakValueDictionary()
        self._listings: Flights[None, Listing] = Flights()
        self.watches = 0

    async def listing(self) -> Listing:
        """The stream as it is described now."""
        return await self._listings.join(None, self._calls.listing)

    def shard(self, shard_id: str) -> ShardReading:
        """The reading of one shard, which goes when the last watch lets go of it."""
        found = self._shards.get(shard_id)
        if found is None:
            found = ShardReading(self._calls, shard_id, self._store, self._clock, lambda: self.watches > 1)
            self._shards[shard_id] = found
        return found

    async def kept(self, questions: Mapping[str, int]) -> dict[str, Kept]:
        """What AWS has of each shard, as so many pages tell: some it does not list yet, others are gone.

        It may deny a shard for a moment, so it is asked again about those for a while.
        """
        found: dict[str, Kept] = {}

        async def ask(shard_id: str) -> None:
            found[shard_id] = await self.shard(shard_id).kept(questions[shard_id])

        loop = asyncio.get_running_loop()
        asked, began = list(questions), loop.time()
        while True:
            is_last = loop.time() - began >= _DENIAL_SECONDS
            await few_at_once(ask, asked)
            asked = [one for one in asked if found[one] is Kept.NOTHING]
            if is_last or not asked:
                return found
            await asyncio.sleep(_DENIAL_PAUSE_SECONDS)

    async def aclose(self) -> None:
        await self._listings.aclose()
        # One after the other: few of thousands have a call under way.
        for shard in list(self._shards.values()):
            await shard.aclose()


class StreamReadings:
    """Gives each caller its readings, and ends each with the last watch that uses it."""

    def __init__(self, operations: Performer, clock: Clock, store: PageStore) -> None:
        self._operations = operations
        self._clock = clock
        self._store = store
        self._readings: dict[_Key, StreamReading] = {}

    def __len__(self) -> int:
        return len(self._readings)

    @asynccontextmanager
    async def of(self, scope: Scope, stream_arn: str) -> AsyncIterator[StreamReading]:
        """The reading of a stream, for as long as it is entered."""
        key = scope.caller, scope.region, stream_arn
        reading = self._readings.get(key)
        if reading is None:
            calls = StreamCalls(self._operations, scope.caller, scope.region, stream_arn)
            reading = self._readings[key] = StreamReading(calls, self._store, self._clock)
        reading.watches += 1
        try:
            yield reading
        finally:
            reading.watches -= 1
            if not reading.watches:
                # Before the first await, so that nobody takes one that ends.
                del self._readings[key]
                await reading.aclose()
