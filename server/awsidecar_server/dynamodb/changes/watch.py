"""One watch of a stream: what all its shards bring as one sequence of messages, each shard after its parent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from awsidecar.dynamodb.v1.watch_pb2 import WatchTableResponse
from awsidecar_server.dynamodb.changes.beginnings import Beginnings
from awsidecar_server.dynamodb.changes.checkpoints import Checkpoint
from awsidecar_server.dynamodb.changes.denials import Denials
from awsidecar_server.dynamodb.changes.gaps import PATIENCE_SECONDS as LISTING_PATIENCE_SECONDS
from awsidecar_server.dynamodb.changes.gaps import Gaps
from awsidecar_server.dynamodb.changes.lineage import Lineage
from awsidecar_server.dynamodb.changes.pages import Page
from awsidecar_server.dynamodb.changes.positions import After, End, OldestOfLine, Position
from awsidecar_server.dynamodb.changes.questions import Answers, answers_in_time
from awsidecar_server.dynamodb.changes.shard_reading import PATIENCE_SECONDS, ShardReading
from awsidecar_server.dynamodb.changes.starts import LATEST, TRIM_HORIZON, Order, not_enabled
from awsidecar_server.dynamodb.changes.stream_calls import Listing, few_at_once, is_passing
from awsidecar_server.dynamodb.changes.stream_reading import StreamReading
from awsidecar_server.dynamodb.changes.turns import Turns
from awsidecar_server.errors import NothingToWatch
from awsidecar_server.operations import converted

# Pages that are being read, or are read and not yet sent, over all shards; what a slow client costs.
_MOST_PAGES = 4
# Up to so many shards, a checkpoint goes with every message.
_SMALL_FRONTIER = 64
# In a checkpoint, before it is packed.
_BYTES_OF_A_SHARD = 64
# How often the shards are listed: when children are sought, first and at last; and when nothing is sought. DescribeStream
# has a limit of ten calls a second, for all sidecars of an account together.
_FIRST_LISTING_SECONDS = 0.25
_LONGEST_LISTING_SECONDS = 10.0
_IDLE_LISTING_SECONDS = 60.0
# How long AWS may take to list the last children of a stream that was disabled.
_END_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Read:
    shard_id: str
    page: Page


class Watch:
    """Merges the shards of a stream for one client. `verify` raises when its session has ended."""

    def __init__(
        self, reading: StreamReading, stream_arn: str, order: Order, verify: Callable[[], Awaitable[object]]
    ):
        self._reading = reading
        self._stream_arn = stream_arn
        self._order = order
        self._verify = verify
        self._lineage = Lineage()
        # What the tasks have found: at most `_MOST_PAGES` pages, one listing, and one set of answers.
        self._found: asyncio.Queue[_Read | Listing | Answers | BaseException] = asyncio.Queue()
        self._listing_found = False
        # From the question on until the answers are dealt with.
        self._is_asking = False
        # Those that are being read; see `StreamReading.shard`.
        self._shards: dict[str, ShardReading] = {}
        self._room = asyncio.Semaphore(_MOST_PAGES)
        self._turns = Turns()
        # Of the checkpoint, those that AWS does not list: nothing is begun for them until it does.
        self._held: set[str] = set()
        self._seeking = asyncio.Event()
        # The end of the heartbeat's interval, on the event loop's clock, and whether a checkpoint was sent in it.
        self._due, self._told = 0.0, False
        # The checkpoint of the last heartbeat, and of which frontier it is; where nothing happens, it stays the same.
        self._written, self._written_version = "", -1
        self._tasks: set[asyncio.Task[None]] = set()
        self._gaps = Gaps()
        # None, or until which list, shards that are found without their parent may be the oldest of their line.
        self._begins_until: float | None = None
        self._beginnings = Beginnings()
        self._denials = Denials(self._beginnings)
        # Since when the stream has an end, and no more is known to come.
        self._read_since: float | None = None

    async def messages(self) -> AsyncGenerator[WatchTableResponse, None]:
        """The messages; the first is sent when the positions of all shards are fixed."""
        try:
            await self._begin()
            first = await self._heartbeat()
            first.stream_arn = self._stream_arn
            yield first
            async for message in self._changes():
                yield message
        finally:
            await self._stop()

    async def _begin(self) -> None:
        listing = await self._reading.listing()
        start = self._order.start
        if isinstance(start, Checkpoint):
            self._lineage = Lineage(self._beginnings.resumed(start.positions))
        self._lineage.learn(listing.shards)
        if start == LATEST:
            await self._begin_at_newest(listing)
        elif start == TRIM_HORIZON:
            self._lineage.put(dict.fromkeys(self._lineage.roots(), OldestOfLine()))
            self._begins_until = listing.asked_at + LISTING_PATIENCE_SECONDS
        self._held = set(self._lineage.unlisted)
        await self._probe()
        self._beginnings.add(self._lineage.closed(self._lineage.climb()))
        questions = self._gaps.look(self._lineage, self._beginnings.shards, listing.asked_at)
        answers = await answers_in_time(self._reading, questions, self._verify, self._order.heartbeat_seconds)
        self._beginnings.add(self._lineage.closed(self._gaps.settle(self._lineage, answers)))
        for shard_id, position in self._lineage.frontier.items():
            if shard_id not in self._held and not isinstance(position, OldestOfLine):
                self._follow(shard_id, position)
        self._learn(listing)
        self._start(self._read())
        self._start(self._list())

    async def _probe(self) -> None:
        """Asks about one of the shards that are not listed: AWS tells one that is gone from one that it lists late."""
        frontier = self._lineage.frontier
        certain = self._held - self._beginnings.shards
        asked = min((one for one in certain if not isinstance(frontier[one], End)), default=None)
        if asked is not None:
            await self._shard(asked).page(frontier[asked])

    async def _begin_at_newest(self, listing: Listing) -> None:
        if listing.status == "DISABLED":
            raise not_enabled()
        begun: dict[str, Position] = {}

        async def begin(shard_id: str) -> None:
            begun[shard_id] = await self._shard(shard_id).newest()

        await few_at_once(begin, self._lineage.leaves())
        self._lineage.put(begun)

    async def _changes(self) -> AsyncGenerator[WatchTableResponse, None]:
        self._begin_interval()
        while True:
            read = await self._next()
            if read is not None:
                try:
                    for message in self._sent(read):
                        self._told = self._told or bool(message.checkpoint)
                        yield message
                        if await self._is_silent():
                            yield await self._heartbeat()
                finally:
                    self._room.release()
            elif await self._is_silent():
                yield await self._heartbeat()

    async def _next(self) -> _Read | None:
        """What a shard has brought; None when nothing has in this interval, or something else is done."""
        try:
            async with asyncio.timeout_at(self._due):
                found = await self._found.get()
        except TimeoutError:
            return None
        if isinstance(found, BaseException):
            raise found
        if isinstance(found, Listing):
            self._listing_found = False
            self._learn(found)
            return None
        if isinstance(found, Answers):
            self._is_asking = False
            self._begin_lines(self._gaps.settle(self._lineage, found.kept))
            return None
        return found

    async def _is_silent(self) -> bool:
        """At the end of an interval, whether it has brought no checkpoint; and then the session must still be there."""
        if asyncio.get_running_loop().time() < self._due:
            return False
        await self._verify()
        was_told = self._told
        self._begin_interval()
        return not was_told

    def _begin_interval(self) -> None:
        self._due, self._told = asyncio.get_running_loop().time() + self._order.heartbeat_seconds, False

    def _sent(self, read: _Read) -> Iterator[WatchTableResponse]:
        """The messages of a page. Each notes first how far it goes, so that its checkpoint says it."""
        records, most = read.page.records, self._order.max_records
        for start in range(0, len(records), most):
            part = records[start : start + most]
            is_last = start + most >= len(records)
            following = read.page.following if is_last else After(part[-1].dynamodb.sequence_number)
            self._lineage.advance(read.shard_id, following)
            self._beginnings.note_records(read.shard_id)
            message = WatchTableResponse(records=part, shard_id=read.shard_id)
            if len(self._lineage.frontier) <= _SMALL_FRONTIER:
                message.checkpoint = self._checkpoint()
            yield message
        self._lineage.advance(read.shard_id, read.page.following)
        if isinstance(read.page.following, End):
            self._turn_to_children()

    async def _heartbeat(self) -> WatchTableResponse:
        if self._written_version != self._lineage.version:
            # Nobody but this task changes the lineage.
            size = len(self._lineage.frontier) * _BYTES_OF_A_SHARD
            self._written = await converted(self._checkpoint, size)
            self._written_version = self._lineage.version
        return WatchTableResponse(checkpoint=self._written)

    def _checkpoint(self) -> str:
        return Checkpoint(self._stream_arn, self._beginnings.resumable(self._lineage.frontier)).text()

    def _turn_to_children(self) -> None:
        empty = self._beginnings.shards
        begun = self._lineage.begin(empty)
        self._beginnings.add(self._lineage.closed(one for one in begun if self._lineage.parents([one]) & empty))
        for shard_id, position in begun.items():
            self._follow(shard_id, position)
        if self._lineage.seeks_children:
            self._seeking.set()

    def _learn(self, listing: Listing) -> None:
        self._lineage.learn(listing.shards)
        for shard_id in self._held - self._lineage.unlisted:
            self._held.remove(shard_id)
            if shard_id in self._lineage.frontier:
                self._follow(shard_id, self._lineage.frontier[shard_id])
        now = listing.asked_at
        if self._begins_until is not None:
            self._lineage.put({one.shard_id: OldestOfLine() for one in self._lineage.orphans()})
            self._begins_until = self._begins_until if now < self._begins_until else None
        self._begin_lines(self._lineage.climb())
        questions = self._gaps.look(self._lineage, self._beginnings.shards, now)
        if questions and not self._is_asking:
            self._is_asking = True
            self._start(self._ask(questions))
        if self._gaps:
            self._seeking.set()
        elif listing.status == "DISABLED" and self._lineage.is_read:
            self._seeking.set()
            self._read_since = now if self._read_since is None else self._read_since
            if now - self._read_since > _END_PATIENCE_SECONDS:
                raise NothingToWatch(
                    "the stream was disabled, and all its changes have been delivered",
                    reason="STREAM_ENDED",
                    stream_label=listing.label,
                )
        else:
            self._read_since = None

    def _begin_lines(self, positions: Mapping[str, Position]) -> None:
        self._beginnings.add(self._lineage.closed(positions))
        for shard_id, position in positions.items():
            self._follow(shard_id, position)
        self._turn_to_children()

    async def _ask(self, questions: Mapping[str, int]) -> None:
        self._found.put_nowait(Answers(await self._reading.kept(questions)))

    def _follow(self, shard_id: str, position: Position) -> None:
        self._gaps.note_begun(shard_id)
        if not isinstance(position, End):
            self._turns.put(shard_id, position)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            self._found.put_nowait(failure)

    async def _read(self) -> None:
        """Reads the shards as each is due, as far ahead of the client as there is room."""
        while True:
            shard_id, position = await self._turns.next()
            due = self._shard(shard_id).due(position)
            if due > asyncio.get_running_loop().time():
                self._turns.put(shard_id, position, due)
                continue
            await self._room.acquire()
            self._start(self._read_page(shard_id, position))

    async def _read_page(self, shard_id: str, position: Position) -> None:
        shard = self._shard(shard_id)
        try:
            page = await self._denials.page(shard, shard_id, position)
        except BaseException:
            self._room.release()
            raise
        if page.records or isinstance(page.following, End):
            self._found.put_nowait(_Read(shard_id, page))
        else:
            self._room.release()
        if isinstance(page.following, End):
            del self._shards[shard_id]
        else:
            self._turns.put(shard_id, page.following, shard.due(page.following))

    def _shard(self, shard_id: str) -> ShardReading:
        return self._shards.setdefault(shard_id, self._reading.shard(shard_id))

    async def _list(self) -> None:
        """Lists the shards: seldom, or often while some are missing."""
        loop = asyncio.get_running_loop()
        failing_since: float | None = None
        pause = _FIRST_LISTING_SECONDS
        while True:
            try:
                async with asyncio.timeout(_IDLE_LISTING_SECONDS):
                    await self._seeking.wait()
            except TimeoutError:
                pause = _FIRST_LISTING_SECONDS
            self._seeking.clear()
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_LISTING_SECONDS)
            if self._listing_found:
                # The client is slow; a list that nobody has looked at must not become many.
                self._seeking.set()
                continue
            try:
                self._found.put_nowait(await self._reading.listing())
                self._listing_found = True
                failing_since = None
            except Exception as failure:
                failing_since = loop.time() if failing_since is None else failing_since
                if not is_passing(failure) or loop.time() - failing_since > PATIENCE_SECONDS:
                    raise
                self._seeking.set()

    async def _stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
