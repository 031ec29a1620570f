"""Has few questions to AWS under way at a time, of which no caller has more than half."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from awsidecar_server.identity.credentials import Caller

# Who gets no turn in this time gives up; and after that, for some seconds, so does at once whoever is in a hurry.
_TURN_SECONDS = 2.0
_CROWDED_SECONDS = 5.0


class NoTurn(Exception):
    """None has come in time."""


@dataclass(eq=False, slots=True)
class _Asker:
    """A caller that has turns, or waits for one: it is forgotten when neither is so."""

    has: int = 0
    # In the order in which they came.
    waiting: dict[asyncio.Future[None], None] = field(default_factory=dict)
    # Until when nobody in a hurry waits for a turn while this caller has as many as it may.
    crowded_until: float = 0.0


class QuestionTurns:
    """Turns by caller. The next one that is free goes to a caller with the fewest of those that wait."""

    def __init__(self, turns: int, clock: Callable[[], float]) -> None:
        """At least two, so that one caller leaves one."""
        self._free = turns
        self._most_of_one = turns // 2
        self._clock = clock
        self._askers: dict[Caller, _Asker] = {}
        # Those that wait, by how many turns they have, and the one that came there first is the first.
        self._lines: list[dict[Caller, _Asker]] = [{} for _ in range(self._most_of_one + 1)]
        # Until when nobody in a hurry waits while there is no turn for anybody.
        self._crowded_until = 0.0

    def __repr__(self) -> str:
        return f"<QuestionTurns: {self._free} free, {len(self._askers)} callers>"

    def is_crowded(self, caller: Caller) -> bool:
        """Whether this caller would have to wait, where it has been seen of late that no turn comes."""
        asker = self._askers.get(caller)
        is_at_most = asker is not None and asker.has >= self._most_of_one
        until = asker.crowded_until if asker is not None and is_at_most else 0.0
        if not self._free:
            until = max(until, self._crowded_until)
        return self._clock() < until

    @asynccontextmanager
    async def turn(self, caller: Caller) -> AsyncIterator[None]:
        """Entered when it is the caller's turn; raises `NoTurn` when none has come in time."""
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await self._acquire(caller)
        except TimeoutError as exc:
            self._note_crowd(caller)
            raise NoTurn from exc
        try:
            yield
        finally:
            self._release(caller)

    async def _acquire(self, caller: Caller) -> None:
        asker = self._askers.setdefault(caller, _Asker())
        if self._free and asker.has < self._most_of_one:
            self._give(caller, asker)  # nobody who waits might have had it
            return
        turn = asyncio.get_running_loop().create_future()
        asker.waiting[turn] = None
        self._lines[asker.has][caller] = asker
        try:
            await turn
        except asyncio.CancelledError:
            if turn in asker.waiting:
                del asker.waiting[turn]
                self._line_up(caller, asker)
            else:  # it has come at the same moment
                self._release(caller)
            raise

    def _give(self, caller: Caller, asker: _Asker) -> None:
        self._free -= 1
        self._lines[asker.has].pop(caller, None)
        asker.has += 1
        self._line_up(caller, asker)

    def _release(self, caller: Caller) -> None:
        asker = self._askers[caller]
        self._free += 1
        self._lines[asker.has].pop(caller, None)
        asker.has -= 1
        self._line_up(caller, asker)
        # Whoever has as many as it may has to wait on.
        line = next((line for line in self._lines[:-1] if line), None)
        if line is not None:
            caller, asker = next(iter(line.items()))
            turn = next(iter(asker.waiting))
            del asker.waiting[turn]
            self._give(caller, asker)
            if not turn.done():  # else whoever waited gives it back at once
                turn.set_result(None)

    def _line_up(self, caller: Caller, asker: _Asker) -> None:
        """Where a caller belongs that has another number of turns, or of questions that wait, than before."""
        if asker.waiting:
            self._lines[asker.has].setdefault(caller, asker)
            return
        self._lines[asker.has].pop(caller, None)
        if not asker.has:
            self._askers.pop(caller, None)

    def _note_crowd(self, caller: Caller) -> None:
        until = self._clock() + _CROWDED_SECONDS
        asker = self._askers.get(caller)
        if asker is not None and asker.has >= self._most_of_one:
            asker.crowded_until = until
        else:
            self._crowded_until = until
