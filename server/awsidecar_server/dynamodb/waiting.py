"""Waits for a state that AWS brings about by itself: asks again and again, more and more rarely, and tells what it sees."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from google.protobuf.message import Message

from awsidecar_server.aws.progress import Awaited
from awsidecar_server.aws.retries import THROTTLING
from awsidecar_server.errors import (
    AwsRejected,
    AwsUnreachable,
    DeadlineSpent,
    Naming,
    StateUnreachable,
    naming_fields,
)
from awsidecar_server.operations import Operations, Scope

# AWS's own waiters ask every 20 seconds, so a table that takes two is told of after twenty. Small things take seconds,
# large ones hours: the pause starts short and grows with what has been waited for.
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 20.0
_GROWTH = 1.5
# Each pause is between this part of it and the whole, so that waits that began together do not ask together.
_LEAST_PART = 0.75
# How long AWS may not know what it was just told to make: its descriptions are eventually consistent.
_UNKNOWN_SECONDS = 30.0
# So that the caller, and whatever is between, sees that the wait is alive.
_HEARTBEAT_SECONDS = 60.0
# Each is a call that was tried again as often as it may be.
_MOST_FAILURES_IN_A_ROW = 5

# What a status is called when there is nothing that could have one.
GONE = "GONE"
_NOT_FOUND = frozenset(
    {
        "BackupNotFoundException",
        "ExportNotFoundException",
        "ImportNotFoundException",
        "ResourceNotFoundException",
        "TableNotFoundException",
    }
)


class Standing(Enum):
    """How a state stands to the one that is waited for."""

    PENDING = "pending"
    REACHED = "reached"
    # It will not become that state.
    STUCK = "stuck"
    # It ends in being gone.
    LEAVING = "leaving"
    # AWS knows nothing of it, which may be because it has just been made.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class View:
    """What one answer of AWS says."""

    status: str
    standing: Standing
    # AWS's description; None when there is none.
    description: Message | None = field(default=None, repr=False)
    # What else counts as a change, such as the states of indexes.
    parts: Hashable = ()
    # Why it is stuck, in AWS's words.
    failure_code: str = ""
    failure_message: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """What is asked of AWS, and what the answers mean."""

    operation: str
    request: Message = field(repr=False)
    answer_class: type[Message]
    # Of an answer of AWS; of None when AWS says that there is no such thing.
    view: Callable[[Any], View]
    # The caller's message for a view.
    message: Callable[[View], Message]
    # The state that is waited for, in words.
    goal: str
    # What the caller calls the members of the request.
    naming: Naming


class Waiting:
    """Follows states for callers; each wait asks on its own, with its caller's credentials."""

    def __init__(
        self,
        operations: Operations,
        *,
        clock: Callable[[], float] | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`clock` gives seconds, by default those of the event loop; `jitter` is from 0 to 1."""
        self._operations = operations
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._pause = pause
        self._jitter = jitter

    async def states(self, wait: Wait, scoping: Callable[[], Awaitable[Scope]]) -> AsyncGenerator[Message, None]:
        """The state at once, then each change, and now and then the same again; ends after the one that is reached.

        `scoping` says anew before each look for whom it is.
        Raises `StateUnreachable` after a state that cannot become the wanted one, and AWS's refusals.
        """
        course = _Course(self._clock)
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            scope = await scoping()
            scope.progress.awaited = Awaited(wait.goal, course.status)
            view = await self._look(wait, scope, course)
            if view is not None:
                scope.progress.awaited = Awaited(wait.goal, view.status)
                if course.is_news(view):
                    yield wait.message(view)
                if view.standing is Standing.REACHED:
                    return
                course.check(view)
            await self._pause(pause_seconds * (_LEAST_PART + (1 - _LEAST_PART) * self._jitter()))
            pause_seconds = min(pause_seconds * _GROWTH, _LONGEST_PAUSE_SECONDS)

    async def _look(self, wait: Wait, scope: Scope, course: _Course) -> View | None:
        """What AWS says now; None when it says nothing, which an outage of moments may be the reason for."""
        try:
            with naming_fields(wait.naming):
                answer = await self._operations.call(wait.operation, wait.request, scope, wait.answer_class)
        except DeadlineSpent as spent:
            raise DeadlineSpent(wait.goal, course.status) from spent
        except (AwsRejected, AwsUnreachable) as failure:
            if isinstance(failure, AwsRejected) and failure.code in _NOT_FOUND:
                course.refusal = failure
                return wait.view(None)
            course.failures += 1
            if course.failures >= _MOST_FAILURES_IN_A_ROW or not _is_passing(failure):
                raise
            return None
        course.failures = 0
        return wait.view(answer)


class _Course:
    """What a wait has seen so far."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: View | None = None
        self._told_at = 0.0
        self._was_there = self._was_leaving = False
        self._unknown_since: float | None = None
        # Calls in a row that brought no answer.
        self.failures = 0
        # AWS's last word that there is no such thing.
        self.refusal: AwsRejected | None = None

    @property
    def status(self) -> str:
        """The last one; empty before there is one."""
        return self._last.status if self._last is not None else ""

    def is_news(self, view: View) -> bool:
        """Whether the caller must be told: at first, of each change, and when it has heard nothing for long."""
        last, now = self._last, self._clock()
        self._last = view
        is_same = last is not None and (last.status, last.parts) == (view.status, view.parts)
        if is_same and now - self._told_at < _HEARTBEAT_SECONDS:
            return False
        self._told_at = now
        return True

    def check(self, view: View) -> None:
        """Raises when what is waited for is not to be expected any more."""
        if view.standing is not Standing.UNKNOWN:
            self._unknown_since = None
            self._was_there = True
            self._was_leaving = view.standing is Standing.LEAVING
            if view.standing is Standing.STUCK:
                raise _unreachable(view)
            return
        now = self._clock()
        if self._unknown_since is None:
            self._unknown_since = now
        if self._was_leaving:
            raise _unreachable(view)
        if now - self._unknown_since >= _UNKNOWN_SECONDS:
            raise self.refusal if self.refusal is not None and not self._was_there else _unreachable(view)


def _unreachable(view: View) -> StateUnreachable:
    return StateUnreachable(view.status, code=view.failure_code, message=view.failure_message)


def _is_passing(failure: AwsRejected | AwsUnreachable) -> bool:
    return isinstance(failure, AwsUnreachable) or failure.code in THROTTLING or failure.http_status >= 500
