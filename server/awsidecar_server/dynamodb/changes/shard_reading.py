"""Reads one shard for all watches of one caller, page after page, and no faster than AWS has it.

Watches that are at the same position share the call that goes on from there. One that lags behind reads what it
needs by itself. So nobody waits for another, and nobody misses anything.
"""

from __future__ import annotations

import asyncio
import random
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial

from awsidecar.dynamodb.v1.streams_pb2 import GetRecordsResponse, Record
from awsidecar_server.dynamodb.changes.pages import Page, PageStore
from awsidecar_server.dynamodb.changes.positions import (
    CLOCK_MARGIN_MS,
    After,
    At,
    End,
    Oldest,
    OldestIfAny,
    OldestOfLine,
    Position,
    Since,
)
from awsidecar_server.dynamodb.changes.stream_calls import StreamCalls, is_passing
from awsidecar_server.errors import AwsRejected, AwsUnreachable, HistoryLost, SidecarError
from awsidecar_server.identity.clock import Clock
from awsidecar_server.identity.flights import Flights

# Five calls a second are AWS's limit for a shard.
_CALL_SPACING_SECONDS = 0.2
# Between calls that bring nothing: from the first to the second, and at most. Each call is a read request unit of
# DynamoDB Streams; one a second is what AWS's own consumers (KCL, Lambda: four) spend.
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 1.0
# The pauses of many shards, and of many sidecars, must not fall together.
_JITTER = 0.2
# How long AWS may be out of reach before the watches are told. Longer than a failover, or the loss of a zone.
PATIENCE_SECONDS = 60.0
RETENTION_MS = 24 * 60 * 60 * 1000
# Positions per shard whose iterators are kept: more than there are watches, most of which share.
_MOST_PLACES = 64

# "the shard, or what of it was to be read, is gone".
_GONE = {"TrimmedDataAccessException", "ResourceNotFoundException"}
# How often in a row the oldest record may go between the call for its iterator and the one that uses it.
_MOST_TRIMS = 3


class Kept(IntEnum):
    """What AWS has of a shard."""

    NOTHING = 0
    # It is closed, and has no records, or none any more.
    EMPTY = 1
    # It seems to be open, and has no records yet.
    OPEN = 2
    WITH_RECORDS = 3


@dataclass(slots=True)
class _Place:
    """How reading goes on from a position."""

    # None: AWS must be asked for one.
    iterator: str | None = None
    # Times of the event loop.
    due: float = 0.0
    failing_since: float | None = None
    pause: float = _FIRST_PAUSE_SECONDS
    # Whether the iterator stands where the newest record was at the position's moment, which no other can.
    is_newest: bool = False
    # How often the oldest record was gone before it could be read.
    trims: int = 0


class ShardReading:
    """One shard, for one caller. `is_shared` says whether pages are worth keeping."""

    def __init__(
        self,
        calls: StreamCalls,
        shard_id: str,
        store: PageStore,
        clock: Clock,
        is_shared: Callable[[], bool],
    ) -> None:
        self._calls = calls
        self._shard_id = shard_id
        self._store = store
        self._clock = clock
        self._is_shared = is_shared
        self._places: OrderedDict[Position, _Place] = OrderedDict()
        self._flights: Flights[Position, Page] = Flights()
        self._next_call = 0.0
        # Its pages go when nobody reads the shard any more, so they must not hold on to it.
        self._owner = object()
        weakref.finalize(self, store.drop, self._owner)

    async def newest(self) -> Since:
        """The position after the newest record."""
        now = asyncio.get_running_loop().time()
        for position, place in self._places.items():
            # Another watch waits there, and has got nothing yet: all that is to come is new to this one, too.
            if place.is_newest and place.iterator and now - place.due < _LONGEST_PAUSE_SECONDS:
                assert isinstance(position, Since)
                return position
        began = Since(int(self._clock().timestamp() * 1000))
        iterator = await self._calls.iterator(self._shard_id, "LATEST")
        self._keep(began, _Place(iterator, now, is_newest=True))
        return began

    def due(self, position: Position) -> float:
        """When it is worth while to read on from there, on the event loop's clock; what has passed means at once."""
        if self._stored(position) is not None or self._flights.is_under_way(position):
            return 0.0
        return self._place(position).due

    async def page(self, position: Position) -> Page:
        """What follows the position; often nothing. Raises `HistoryLost` when it is gone."""
        return self._stored(position) or await self._flights.join(position, partial(self._read, position))

    async def kept(self, most_pages: int) -> Kept:
        """What AWS has of the shard, as so many pages tell. Asks again after a failure that may pass: it says nothing."""
        empty_pages = 0
        while True:
            try:
                page = await self.page(Oldest())
            except HistoryLost:
                return Kept.NOTHING
            if page.records:
                return Kept.WITH_RECORDS
            if isinstance(page.following, End):
                return Kept.EMPTY
            # Also a shard that is closed may have pages without records before its end, or before its records.
            empty_pages += not self.is_failing(Oldest())
            if empty_pages == most_pages:
                return Kept.OPEN
            await asyncio.sleep(self._place(Oldest()).due - asyncio.get_running_loop().time())

    def is_failing(self, position: Position) -> bool:
        """Whether AWS could not be asked for what follows the position when it was tried last."""
        place = self._places.get(position)
        return place is not None and place.failing_since is not None

    def put_off(self, position: Position) -> None:
        """Has the position read again, but not at once."""
        self._place(position).due = asyncio.get_running_loop().time() + _LONGEST_PAUSE_SECONDS

    async def aclose(self) -> None:
        await self._flights.aclose()

    def _stored(self, position: Position) -> Page | None:
        return self._store.get(self._owner, position)

    def _place(self, position: Position) -> _Place:
        place = self._places.get(position)
        if place is None:
            place = self._keep(position, _Place())
        self._places.move_to_end(position)
        return place

    def _keep(self, position: Position, place: _Place) -> _Place:
        self._places[position] = place
        if len(self._places) > _MOST_PLACES:
            self._places.popitem(last=False)
        return place

    async def _read(self, position: Position) -> Page:
        place = self._place(position)
        await self._turn()
        was_open = place.iterator is not None
        try:
            if place.iterator is None:
                place.iterator = await self._open(position)
            answer = await self._calls.records(place.iterator)
        except (AwsRejected, SidecarError) as failure:
            code = failure.code if isinstance(failure, AwsRejected) else ""
            if code == "ExpiredIteratorException" or (was_open and _may_go_on(position, code)):
                place.iterator, place.is_newest = None, False
                if not was_open:
                    self._bear(place, AwsUnreachable("an iterator ended before it could be used", cause="timeout"))
            elif place.trims < _MOST_TRIMS and place.iterator and _may_begin_later(position, code):
                place.iterator, place.trims = None, place.trims + 1
                place.failing_since = place.failing_since or asyncio.get_running_loop().time()
                self._put_off(place)
            elif code in _GONE:
                self._places.pop(position, None)  # who asks again asks for another iterator
                raise HistoryLost(self._shard_id) from failure
            else:
                self._bear(place, failure)
            return Page((), position)
        place.failing_since, place.trims = None, 0
        return self._turned(position, place, answer)

    async def _turn(self) -> None:
        """Waits until the shard may be read once more, by whomever."""
        now = asyncio.get_running_loop().time()
        mine = max(now, self._next_call)
        self._next_call = mine + _CALL_SPACING_SECONDS
        if mine > now:
            await asyncio.sleep(mine - now)

    async def _open(self, position: Position) -> str:
        match position:
            case After(number):
                return await self._calls.iterator(self._shard_id, "AFTER_SEQUENCE_NUMBER", sequence_number=number)
            case At(number):
                return await self._or_oldest("AT_SEQUENCE_NUMBER", sequence_number=number)
            case Since(moment):
                if self._clock().timestamp() * 1000 - moment > RETENTION_MS:
                    raise HistoryLost(self._shard_id)
                return await self._or_oldest("AT_TIMESTAMP", moment=moment - CLOCK_MARGIN_MS)
            case Oldest():
                return await self._calls.iterator(self._shard_id, "TRIM_HORIZON")
            case End() | OldestIfAny() | OldestOfLine():
                raise AssertionError("nothing is read after the end, nor before it is known where to begin")

    async def _or_oldest(self, kind: str, *, sequence_number: str | None = None, moment: int | None = None) -> str:
        """An iterator of the kind, or where that is not to be had, the one of the shard's beginning."""
        try:
            return await self._calls.iterator(self._shard_id, kind, sequence_number=sequence_number, moment=moment)
        except AwsRejected as refused:
            # Emulators know no AT_TIMESTAMP, or no number without a record. Nothing is missed from the beginning.
            if refused.code != "ValidationException":
                raise
            return await self._calls.iterator(self._shard_id, "TRIM_HORIZON")

    def _bear(self, place: _Place, failure: Exception) -> None:
        """Takes note of a failure that may pass; raises one that does not, or that has lasted too long."""
        now = asyncio.get_running_loop().time()
        if place.failing_since is None:
            place.failing_since = now
        if not is_passing(failure) or now - place.failing_since > PATIENCE_SECONDS:
            raise failure
        self._put_off(place)

    def _put_off(self, place: _Place) -> None:
        jitter = 1 + random.uniform(-_JITTER, _JITTER)  # noqa: S311 - nobody must be unable to guess it
        place.due = asyncio.get_running_loop().time() + place.pause * jitter
        place.pause = min(place.pause * 2, _LONGEST_PAUSE_SECONDS)

    def _turned(self, position: Position, place: _Place, answer: GetRecordsResponse) -> Page:
        """The page of an answer, and the place after it."""
        records: Sequence[Record] = answer.records
        if isinstance(position, Since):
            records = [record for record in records if _made(record) >= position.moment - CLOCK_MARGIN_MS]
        iterator = answer.next_shard_iterator
        if not records and iterator:
            place.iterator = iterator
            if not answer.records:
                self._put_off(place)
            return Page((), position)
        last = records[-1].dynamodb.sequence_number if records else ""
        following: Position = After(last) if iterator else End()
        self._places.pop(position, None)
        if iterator:
            self._keep(following, _Place(iterator))
        page = Page(records, following, answer.ByteSize())
        if records and self._is_shared():
            self._store.put(self._owner, position, page)
        return page


def _may_go_on(position: Position, code: str) -> bool:
    """Whether another iterator for the position tells if what follows it is gone.

    DynamoDB Local says so of iterators of an empty shard, when records of another table came before its first one.
    """
    return code == "TrimmedDataAccessException" and not isinstance(position, Oldest)


def _may_begin_later(position: Position, code: str) -> bool:
    """Whether the shard may have a newer record that is the oldest now, when an iterator of it is called trimmed."""
    return code == "TrimmedDataAccessException" and isinstance(position, Oldest)


def _made(record: Record) -> int:
    """When the change was made, in milliseconds since 1970; rounded down, by emulators to the minute."""
    return int(record.dynamodb.approximate_creation_date_time.ToMilliseconds())
