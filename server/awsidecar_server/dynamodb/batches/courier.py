"""Carries one batch to AWS, as often as it takes to know what each of its entries came to."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from awsidecar_server.aws.progress import Progress
from awsidecar_server.dynamodb.batches.entries import Answer, Entry, Failure, Outcome, Result
from awsidecar_server.dynamodb.batches.outbox import Outbox
from awsidecar_server.dynamodb.batches.plan import Plan, Table
from awsidecar_server.dynamodb.batches.refusals import Meaning, meaning_of
from awsidecar_server.dynamodb.batches.timing import Timing, pause_seconds
from awsidecar_server.dynamodb.batches.work import Work
from awsidecar_server.dynamodb.table_keys import Check
from awsidecar_server.errors import AwsRejected, LimitReached, SidecarError
from awsidecar_server.operations import Scope

# Calls with an entry that fail other than by throttling, each of them after the attempts that every call has.
_MOST_FAILURES = 5
# Entries of a table that were denied alone, one after the other: from then on, what is denied is so as a whole.
_MOST_DENIED = 100
# Without a deadline: batches in a row of which nothing was processed. About a minute, with the pauses between them.
_MOST_FRUITLESS = 12


class Courier:
    """Has batches carried out, and puts what became of their entries into the outbox or back into the plan."""

    def __init__(
        self, work: Work, scope: Scope, plan: Plan, outbox: Outbox, timing: Timing, check: Check | None
    ) -> None:
        self._work = work
        self._check = check
        self._scope = scope
        self._plan = plan
        self._outbox = outbox
        self._timing = timing

    async def carry(self, table: Table, batch: list[Entry]) -> None:
        """Returns when each entry is finished, or is in the plan again.

        A batch that AWS refuses because of one entry is sent in halves, until that entry is alone.
        """
        groups = [batch]
        try:
            while groups:
                group = groups.pop()
                if not await self._settled(table, group):
                    middle = len(group) // 2
                    groups += [group[middle:], group[:middle]]
        finally:
            table.in_flight -= 1

    async def _settled(self, table: Table, group: list[Entry]) -> bool:
        """Sends a group once; False when it is to be sent in halves."""
        before, scope = table.fruitless, replace(self._scope, progress=Progress())
        for entry in group:
            entry.attempts += 1
            entry.failure = None
        try:
            if self._check is not None:
                await self._check()
            answer = await self._work.send(table.name, table.key_names, group, scope)
        except (AwsRejected, SidecarError) as failure:
            _note_ambiguity(group, scope.progress.is_ambiguous)
            return self._refused(table, group, failure, before)
        except asyncio.CancelledError:
            _note_ambiguity(group, scope.progress.is_ambiguous)
            # Where the stream ends without a word on these, its status has to say it.
            self._scope.progress.absorb(scope.progress)
            raise
        self._answered(table, answer, before)
        return True

    def _answered(self, table: Table, answer: Answer, before: int) -> None:
        table.denied = 0
        self._outbox.add_capacity(answer.capacity)
        for entry, result in answer.results:
            self._finish(entry, result)
        if answer.results:
            table.fruitless = 0
        else:
            _note_fruitless(table, before)
        _note_ambiguity(answer.left, answer.is_ambiguous)
        for entry in answer.left:
            entry.failure = _unprocessed(entry.attempts)
        if answer.left:
            self._try_again(table, answer.left)

    def _refused(self, table: Table, group: list[Entry], failure: Failure, before: int) -> bool:
        self._work.refused(table.name, failure)
        for entry in group:
            entry.failure = failure
        meaning = meaning_of(failure)
        if meaning is Meaning.THROTTLED or meaning is Meaning.PASSING:
            _note_fruitless(table, before)
            for entry in group:
                entry.failures += meaning is Meaning.PASSING
            self._try_again(table, group)
            return True
        if len(group) > 1 and meaning is Meaning.OF_ONE:
            return False
        if meaning is Meaning.DENIED and table.denied < _MOST_DENIED:
            if len(group) > 1:
                return False
            table.denied += 1
        self._fail(group, failure)
        return True

    def _try_again(self, table: Table, entries: list[Entry]) -> None:
        """Puts entries back, after a pause; those that have failed too often are finished."""
        pause = pause_seconds(table.fruitless, self._timing.chance())
        table.resumes_at = max(table.resumes_at, self._timing.now() + pause)
        is_over = self._scope.deadline is None and table.fruitless > _MOST_FRUITLESS
        for entry in entries:
            if is_over or entry.failures >= _MOST_FAILURES:
                assert entry.failure is not None
                self._fail([entry], entry.failure)
            else:
                self._plan.put_back(entry)

    def _fail(self, group: list[Entry], failure: Failure) -> None:
        for entry in group:
            self._finish(entry, Result("failure", failure=failure, is_ambiguous=entry.is_ambiguous))

    def _finish(self, entry: Entry, result: Result) -> None:
        self._plan.finish(entry)
        for index in (entry.index, *entry.also):
            self._outbox.put(Outcome(index, result))


def _note_ambiguity(entries: list[Entry], is_ambiguous: bool) -> None:
    for entry in entries:
        entry.is_ambiguous = entry.is_ambiguous or is_ambiguous


def _note_fruitless(table: Table, before: int) -> None:
    """Counts rounds: what was sent before the last pause says nothing new."""
    table.fruitless = max(table.fruitless, before + 1)


def _unprocessed(attempts: int) -> LimitReached:
    return LimitReached("AWS left it unprocessed each time", reason="UNPROCESSED", attempts=str(attempts))
