"""One stream of writes or reads: takes requests in, has batches carried out, and tells what became of each element."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from dataclasses import replace
from typing import Any

from google.protobuf.message import Message

from awsidecar_server.dynamodb.batches.courier import Courier
from awsidecar_server.dynamodb.batches.entries import NOT_ATTEMPTED, Asked, Entry, Outcome, Report, Result
from awsidecar_server.dynamodb.batches.outbox import Outbox
from awsidecar_server.dynamodb.batches.plan import Plan, Table
from awsidecar_server.dynamodb.batches.timing import LoopTiming, Timing, reports_at
from awsidecar_server.dynamodb.batches.work import Learn, Work
from awsidecar_server.dynamodb.table_keys import Check, Room
from awsidecar_server.errors import DeadlineSpent, Draining
from awsidecar_server.operations import Scope

# No more is read while so many elements have no outcome that the caller has taken, or take so much.
MOST_UNTOLD = 4000
# In AWS's JSON at its largest: a sixth of it as protobuf.
_MOST_WAITING_BYTES = 96 * 1024 * 1024
# No more is fetched while items of so many bytes wait for the caller.
_MOST_HELD_BYTES = 16 * 1024 * 1024
# Elements that are taken in before others have their turn; a request may have very many.
_AT_A_TIME = 200
# A key that is not known is asked for again after this time, while entries come in without it.
_ASKED_AGAIN_SECONDS = 5.0
# Tables that are asked about again, or are to be: as many as may have questions under way. Others are with a later entry.
_MOST_ASKING_AGAIN = 80
# A batch that is not full waits while so many others of its table are in flight, and grows meanwhile.
_MOST_PARTIAL = 2


class BatchStream:
    """Carries out one stream. Everything happens in the caller's task but reading, and the calls to AWS."""

    def __init__(
        self,
        work: Work,
        scope: Scope,
        timing: Timing | None = None,
        *,
        check: Check | None = None,
        drain: asyncio.Event | None = None,
    ) -> None:
        """`drain` is set when nothing more is to be begun."""
        self._work = work
        self._check = check
        self._scope = scope
        self._drain = drain or asyncio.Event()
        self._timing = timing or LoopTiming()
        self._reports_at = reports_at(self._timing.now(), scope.deadline)
        self._plan = Plan(work.ordering(), work.most_entries, _MOST_PARTIAL)
        self._outbox = Outbox()
        # Elements that are taken in, of all requests.
        self._count = 0
        # Whether the work has ended because time was up, and whether the caller knows.
        self._is_over = False
        self._is_over_told = False
        # Whether a drain has left something undone.
        self._is_cut = False
        # What the caller is being told.
        self._told: Report | None = None
        # Set by whoever changes what the stream could go on with.
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._carrying: set[asyncio.Task[None]] = set()
        # By table, those that find out its key and take in what is held for it.
        self._asking: dict[str, asyncio.Task[None]] = {}
        # Those that ask again for a key, which holds nothing up: no more of them begin at once than of the others, so that
        # they do not stand in line before these.
        self._asking_again: set[asyncio.Task[None]] = set()
        self._room_to_ask_again = Room()
        # They pass it one by one when thousands have got their turn at once, so that other streams go on meanwhile.
        self._turnstile = asyncio.Lock()
        # What the work has that no error foresees.
        self._defect: BaseException | None = None
        self._courier = Courier(
            work, replace(scope, deadline=self._reports_at), self._plan, self._outbox, self._timing, check
        )

    async def reports(self, requests: AsyncIterator[Message]) -> AsyncGenerator[Report, None]:
        """What became of the elements, each of which is told of once.

        Nothing new is begun while the caller does not take what is told. A little before the deadline the work ends;
        what is not done then, and what is still read, is told of as such, until the caller sends no more. What is wrong
        with a request is raised when all before it has been told of. A drain ends the reading at once; what is in flight
        is finished, the rest is told of as not attempted, and `Draining` is raised.
        """
        self._reading = asyncio.create_task(self._read(requests))
        self._reading.add_done_callback(lambda _: self._changed.set())
        heeding = asyncio.create_task(self._heed_drain())
        try:
            while True:
                self._changed.clear()
                if self._defect is not None:
                    raise self._defect
                await self._end_in_time()
                # One moment for both: a pause that ends between two would be neither over nor waited for.
                now = self._timing.now()
                self._carry_out(now)
                self._told = self._next_report()
                if self._told is not None:
                    yield self._told
                    self._told = None
                    self._room.set()
                elif self._is_complete():
                    if self._is_cut:
                        raise Draining
                    self._reading.result()
                    return
                else:
                    await self._timing.wait(self._changed, self._next_moment(now))
        finally:
            await _stop({heeding, self._reading, *self._tasks()})
            self._note_what_is_untold()

    # --- in ---

    async def _read(self, requests: AsyncIterator[Message]) -> None:
        is_first = True
        async for request in requests:
            elements = self._work.elements(request, is_first=is_first)
            if is_first:
                self._outbox.in_order = self._work.in_order
            is_first = False
            for number, element in enumerate(elements):
                self._take_in(self._work.asked(number, element))
                if number % _AT_A_TIME == _AT_A_TIME - 1:
                    await self._when_there_is_room()
            await self._when_there_is_room()

    async def _when_there_is_room(self) -> None:
        self._changed.set()
        await asyncio.sleep(0)
        while self._count - self._outbox.told >= MOST_UNTOLD or self._plan.bytes >= _MOST_WAITING_BYTES:
            self._room.clear()
            await self._room.wait()

    def _take_in(self, asked: Asked) -> None:
        """Puts an element where it belongs."""
        index, self._count = self._count, self._count + 1
        if asked.refusal is not None or self._is_over:
            result = NOT_ATTEMPTED if asked.refusal is None else Result("failure", failure=asked.refusal)
            self._outbox.put(Outcome(index, result))
            return
        table, learn = self._plan.table(asked.table), self._work.key_names
        if learn is None or self._plan.may_add(table):
            self._add(index, asked, table, learn)
            return
        self._plan.hold(index, asked)
        if table.name not in self._asking:
            asking = self._asking[table.name] = asyncio.create_task(self._take_in_held(table.name, learn))
            asking.add_done_callback(self._ended)

    async def _take_in_held(self, name: str, learn: Learn) -> None:
        """Asks for the key of a table, and takes in what has come for it meanwhile; other tables go on."""
        taken_in = 0
        while (held := self._plan.first_held(name)) is not None:
            table = self._plan.table(name)
            if not table.unfinished:  # also after a wait: by then, it may be another table
                names = await learn(name, self._check, True)
                table.learn(names, self._asks_again_at(), is_denied=self._work.is_denied(name))
            turn = self._plan.turn_of(held, table)
            if turn is not None:
                self._changed.set()
                await turn.wait()
                async with self._turnstile:
                    await asyncio.sleep(0)
                continue
            self._plan.let_go(held)
            self._add(held.index, held.asked, table, learn)
            taken_in += 1
            if taken_in % _AT_A_TIME == 0:
                self._changed.set()
                await asyncio.sleep(0)
        del self._asking[name]

    def _add(self, index: int, asked: Asked, table: Table, learn: Learn | None) -> None:
        """Takes an element in; without the key of its table, has that asked for again when it is time."""
        self._plan.add(self._work.entry(index, asked, table.key_names))
        if learn is None or table.key_names is not None or len(self._asking_again) >= _MOST_ASKING_AGAIN:
            return
        if self._timing.now() >= table.asks_again_at:
            table.asks_again_at = math.inf
            asking = asyncio.create_task(self._ask_again(table, learn))
            self._asking_again.add(asking)
            asking.add_done_callback(self._ended)

    async def _ask_again(self, table: Table, learn: Learn) -> None:
        """The stream goes on without the key meanwhile; if it is told, what comes waits for the moment when it counts."""
        async with self._room_to_ask_again.place():
            names = await learn(table.name, self._check, False)
        table.learn_again(names, self._asks_again_at(), is_denied=self._work.is_denied(table.name))

    def _asks_again_at(self) -> float:
        return self._timing.now() + _ASKED_AGAIN_SECONDS

    async def _heed_drain(self) -> None:
        await self._drain.wait()
        self._changed.set()

    # --- work ---

    def _carry_out(self, now: float) -> None:
        """Begins as many batches as may be in flight."""
        if self._drain.is_set():
            return
        while len(self._carrying) < self._work.most_in_flight:
            # What holds up all others may always be sent, else nothing would ever go out.
            only = self._outbox.next_index if self._outbox.bytes > _MOST_HELD_BYTES else None
            batch = self._plan.take(now, with_index=only)
            if batch is None:
                return
            task = asyncio.create_task(self._courier.carry(*batch))
            self._carrying.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._carrying.discard(task)
        self._asking_again.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._defect = task.exception()
        self._room.set()
        self._changed.set()

    def _is_complete(self) -> bool:
        assert self._reading is not None
        return self._reading.done() and not self._plan and not self._asking

    async def _end_in_time(self) -> None:
        """Ends the work when time is up, or the sidecar drains and nothing is in flight any more."""
        if not self._is_over and self._reports_at is not None and self._timing.now() >= self._reports_at:
            self._is_over = True
            await self._end_work()
        elif self._drain.is_set():
            assert self._reading is not None
            if not self._is_cut:
                self._is_cut = self._reading.cancel()
            if (self._plan or self._asking) and not self._carrying:
                self._is_cut = True
                await self._end_work()

    def _next_moment(self, now: float) -> float | None:
        """When there is something to do even if nothing happens."""
        if self._is_over:
            return None
        moments = (self._reports_at, self._plan.resumes_at(now))
        return min((moment for moment in moments if moment is not None), default=None)

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [*self._carrying, *self._asking.values(), *self._asking_again]

    async def _end_work(self) -> None:
        """Stops the calls in flight, and gives an outcome to all that has none."""
        await _stop(self._tasks())
        self._asking.clear()
        for index in self._plan.all_held():
            self._outbox.put(Outcome(index, NOT_ATTEMPTED))
        for entry in self._plan.unfinished():
            result = self._at_the_end(entry)
            for index in (entry.index, *entry.also):
                self._outbox.put(Outcome(index, result))
        self._plan.clear()
        self._room.set()

    # --- out ---

    def _next_report(self) -> Report | None:
        report = self._outbox.take()
        if self._is_over and (report is not None or not self._is_over_told):
            self._is_over_told = True
            report = report or Report()
            report.is_deadline_spent = True
        return report

    def _at_the_end(self, entry: Entry) -> Result:
        if not entry.attempts:
            return NOT_ATTEMPTED
        return Result("failure", failure=entry.failure or DeadlineSpent(), is_ambiguous=entry.is_ambiguous)

    def _note_what_is_untold(self) -> None:
        """For the status of a stream that was cut: what the caller was to be told next may not have reached it."""
        cut = self._told.outcomes if self._told is not None else ()
        left = any(entry.is_ambiguous for entry in self._plan.unfinished())
        if left or self._outbox.hides_effects or any(outcome.result.has_effect for outcome in cut):
            self._scope.progress.leave_open()


async def _stop(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels tasks, and returns when they have ended."""
    stopped = list(tasks)
    for task in stopped:
        task.cancel()
    await asyncio.gather(*stopped, return_exceptions=True)
