"""Work that many callers wait for, done at most once per key at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from contextvars import Context
from functools import partial
from typing import Any, Generic, TypeVar

from awsidecar_server.errors import Draining

KeyT = TypeVar("KeyT", bound=Hashable)
ResultT = TypeVar("ResultT")


class Flights(Generic[KeyT, ResultT]):
    """Single flight: who comes while the work for a key goes on waits for it, and cancels nobody else."""

    def __init__(self) -> None:
        # Only `start` puts a task here, and only for a key that has none under way.
        self._tasks: dict[KeyT, asyncio.Task[ResultT]] = {}
        self.is_closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    def is_under_way(self, key: KeyT) -> bool:
        task = self._tasks.get(key)
        return task is not None and not task.done()

    def start(self, key: KeyT, work: Callable[[], Coroutine[Any, Any, ResultT]]) -> asyncio.Task[ResultT]:
        """Begins the work, or gives the task of the one that is under way."""
        if self.is_closed:
            raise Draining
        task = self._tasks.get(key)
        if task is None or task.done():
            # An empty context: what one caller has set (trace, log fields) must not colour what is everybody's.
            task = asyncio.create_task(work(), context=Context())
            self._tasks[key] = task
            task.add_done_callback(partial(self._land, key))
        return task

    async def join(self, key: KeyT, work: Callable[[], Coroutine[Any, Any, ResultT]]) -> ResultT:
        """Waits for the work. It goes on when this caller, or even every caller, is cancelled."""
        task = self.start(key, work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError as exc:
            caller = asyncio.current_task()
            if task.cancelled() and caller is not None and not caller.cancelling():
                # `aclose` cancelled the work, and nobody this caller.
                raise Draining from exc
            raise

    async def aclose(self) -> None:
        """Cancels what is under way and waits until it has ended; nothing begins any more."""
        self.is_closed = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _land(self, key: KeyT, task: asyncio.Task[ResultT]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
        if not task.cancelled():
            # Marks a failure as seen: those who waited have it, and where nobody waits the work notes it itself.
            task.exception()
