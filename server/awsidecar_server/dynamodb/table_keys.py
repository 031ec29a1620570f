"""Which attributes are the primary key of a table: asked of AWS once for all who may know it, and kept for a while."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from awsidecar.dynamodb.v1.tables_pb2 import DescribeTableRequest, DescribeTableResponse
from awsidecar_server.dynamodb.question_turns import NoTurn, QuestionTurns
from awsidecar_server.errors import AwsRejected, SidecarError
from awsidecar_server.identity.credentials import Caller
from awsidecar_server.identity.flights import Flights
from awsidecar_server.operations import Operations, Scope

_log = structlog.get_logger()

KeyNames = tuple[str, ...]
# Raises when the session of the call is not good any more: asked before each call to AWS, so that none is made for it then.
Check = Callable[[], Awaitable[object]]

# A table keeps its key as long as it lives; another one of the same name may have another, and deleting a table and
# making another takes AWS some seconds.
_KEPT_SECONDS = 10.0
# Who may not know the key, or cannot now, does not ask for each message.
_FAILURE_KEPT_SECONDS = 5.0
_MOST_TABLES = 4096
# An ARN (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DescribeTable.html).
_LONGEST_TABLE = 1024
# The question serves all who wait, so it has a deadline of its own. Nobody waits longer for its turn and its answer.
_PATIENCE_SECONDS = 10.0
# Questions under way, of all callers, take this part of the connections to AWS, so that tables that hang leave enough to
# all other calls; where there are few connections, so many questions. Others wait for their turn, but not too many, nor
# for long: who gets none goes on without the key.
_PART_OF_CONNECTIONS = 4
_FEWEST_ASKED = 2
_MOST_WAITING = 1024
# Questions of one stream that began less than a second ago and have no answer: it may have elements of thousands of
# tables. Older ones make room for others, so that those do not wait for a table that hangs. They end in time, which
# leaves 80 of a stream under way at most.
_MOST_YOUNG = 8
_YOUNG_SECONDS = 1.0

_Place = tuple[Caller, str, str]


@dataclass(frozen=True, slots=True)
class _Known:
    """What the last question has brought."""

    names: KeyNames | None
    good_until: float
    # Whether AWS has not allowed the caller to know, in the last question or in one before that came to nothing.
    is_denied: bool


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


class Room:
    """Has few questions begin at a time, those of one stream."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(_MOST_YOUNG)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Entered when there is one. It is free again when the question has been answered, or after a second."""
        await self._free.acquire()
        is_free = False

        def leave() -> None:
            nonlocal is_free
            if not is_free:
                is_free = True
                self._free.release()

        growing_old = asyncio.get_running_loop().call_later(_YOUNG_SECONDS, leave)
        try:
            yield
        except asyncio.CancelledError:
            raise  # the question goes on without who has asked it, and keeps its place for its time
        except Exception:
            leave()
            raise
        growing_old.cancel()
        leave()


class TableKeys:
    """Names of key attributes by caller, region and table. What one caller may know is not told to another."""

    def __init__(self, operations: Operations, connections: int, clock: Callable[[], float] = _loop_time) -> None:
        """`connections` are those that may be open to DynamoDB at once, for all calls."""
        self._operations = operations
        self._turns = QuestionTurns(max(_FEWEST_ASKED, connections // _PART_OF_CONNECTIONS), clock)
        self._clock = clock
        self._flights: Flights[_Place, KeyNames | None] = Flights()
        # By caller, how many of them.
        self._asking: Counter[Caller] = Counter()
        # The one that was asked for longest ago is the first.
        self._known: OrderedDict[_Place, _Known] = OrderedDict()

    def __repr__(self) -> str:
        return f"<TableKeys of {len(self._known)} tables>"

    async def of(
        self,
        table: str,
        scope: Scope,
        room: Room | None = None,
        check: Check | None = None,
        *,
        is_urgent: bool = True,
    ) -> KeyNames | None:
        """The names; None when AWS does not tell them to this caller, or not now. `table` is a name or an ARN.

        AWS is asked for those that are not known when there is `room`, and unless `check` raises. Where it is not
        urgent, a turn is waited for also while others give up at once.
        """
        if len(table) > _LONGEST_TABLE:  # AWS has none, and it is not kept
            return None
        place = scope.caller, scope.region, table
        if not self._is_known(place):
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS), (room or Room()).place():
                    if not self._is_known(place):  # by now
                        return await self._asked(place, check, is_urgent)
            except TimeoutError:
                return None
        self._known.move_to_end(place)
        return self._known[place].names

    def is_denied(self, table: str, scope: Scope) -> bool:
        """Whether AWS has not allowed the caller to know, and has not told it since: it is not likely to do so soon."""
        known = self._known.get((scope.caller, scope.region, table))
        return known is not None and known.is_denied

    def forget(self, table: str, scope: Scope) -> None:
        """To be called when AWS says that a key is not the table's, or that there is no table."""
        place = scope.caller, scope.region, table
        known = self._known.get(place)
        # That there is none is not to be asked for each batch that fails.
        if known is not None and known.names is not None:
            del self._known[place]

    def _is_known(self, place: _Place) -> bool:
        return place in self._known and self._clock() < self._known[place].good_until

    async def aclose(self) -> None:
        await self._flights.aclose()

    async def _asked(self, place: _Place, check: Check | None, is_urgent: bool) -> KeyNames | None:
        caller, *_ = place
        while True:
            joins = self._flights.is_under_way(place)
            if not joins and self._is_refused(caller, is_urgent):
                return None
            self._asking[caller] += not joins
            try:
                return await self._flights.join(place, partial(self._learn, place, check))
            except Exception:
                if not joins:
                    raise
            # The session of whoever asked has ended, which says nothing of this one.
            if check is not None:
                await check()

    def _is_refused(self, caller: Caller, is_urgent: bool) -> bool:
        # Half of the places that others leave: where some have as many as they may, the next one still has its half.
        if self._asking[caller] >= _MOST_WAITING - len(self._flights):
            return True
        return is_urgent and self._turns.is_crowded(caller)

    async def _learn(self, place: _Place, check: Check | None) -> KeyNames | None:
        caller, *_ = place
        try:
            async with self._turns.turn(caller):
                until = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
                if check is not None:
                    async with asyncio.timeout_at(until):
                        await check()
                return await self._described(place, until)
        except NoTurn:
            return None
        finally:
            self._asking[caller] -= 1
            if not self._asking[caller]:
                del self._asking[caller]

    async def _described(self, place: _Place, until: float) -> KeyNames | None:
        caller, region, table = place
        names: KeyNames | None = None
        is_denied = self.is_denied(table, Scope(caller, region))
        try:
            async with asyncio.timeout_at(until):
                described = await self._operations.call(
                    "DescribeTable",
                    DescribeTableRequest(table_name=table),
                    Scope(caller, region),
                    DescribeTableResponse,
                )
            names = tuple(one.attribute_name for one in described.table.key_schema) or None
        except (AwsRejected, SidecarError, TimeoutError) as failure:
            # The operation itself will tell the caller what is wrong, if anything is.
            is_denied = is_denied or (isinstance(failure, AwsRejected) and failure.is_denial)
            _log.debug("key of a table not known", table=table, failure=str(failure))
        kept = _FAILURE_KEPT_SECONDS if names is None else _KEPT_SECONDS
        self._known[place] = _Known(names, self._clock() + kept, is_denied and names is None)
        self._known.move_to_end(place)
        if len(self._known) > _MOST_TABLES:
            self._known.popitem(last=False)
        return names
