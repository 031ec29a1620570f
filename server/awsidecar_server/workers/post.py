"""The place of one worker: there is a process in it, or there will be one soon."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from awsidecar_server.api.listeners import BindError
from awsidecar_server.workers.channel import Answerer, Channel, ChannelLost, QuestionFailed
from awsidecar_server.workers.deaths import Deaths
from awsidecar_server.workers.table import SharedTable
from awsidecar_server.workers.tally import Tally

_log = structlog.get_logger()

# From the start of a process until it serves: many workers on few cores take their time.
_START_SECONDS = 120.0
# Between looking after a worker, and what its answer may then take before it counts as stuck.
_HEARTBEAT_SECONDS = 5.0
_SILENCE_SECONDS = 30.0
# From the end of the channel until the process must have ended, its last words included.
_LAST_WORDS_SECONDS = 2.0


class WorkersFailed(Exception):
    """The workers cannot be kept running; one line says why."""


class Process(Protocol):
    """A worker's process, as `WorkerProcess` is one."""

    channel: Channel

    @property
    def pid(self) -> int: ...
    async def ended(self) -> str: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Means:
    """What all places have in common."""

    # Config and environment of each worker, as JSON holds them.
    orders: dict[str, Any] = field(repr=False)
    table: SharedTable
    tally: Tally
    launch: Callable[[int, Answerer], Awaitable[Process]]
    # Monotonic seconds, and how to wait for some.
    clock: Callable[[], float]
    pause: Callable[[float], Awaitable[None]]
    # Called with the number of each worker that died.
    died: Callable[[int], None]


class Post:
    """Keeps one worker running. The state is its process, if there is one, and whether that serves."""

    def __init__(self, number: int, means: Means) -> None:
        self._number = number
        self._means = means
        self._deaths = Deaths(means.clock)
        self._process: Process | None = None
        self._stopping = False
        self._refusal: str | None = None
        # Set by the first worker that serves here.
        self.has_served = asyncio.Event()
        self.serving = False
        self._keeping: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = "serving" if self.serving else "not serving"
        return f"<Post {self._number} [{state}]>"

    def start(self) -> asyncio.Task[None]:
        """The task ends when the worker is stopped; with `BindError` or `WorkersFailed` when it is given up."""
        self._keeping = asyncio.create_task(self._keep())
        return self._keeping

    async def answers(self, patience_seconds: float) -> bool:
        """Whether the worker serves, and says so in time."""
        process = self._process
        if process is None or not self.serving:
            return False
        try:
            async with asyncio.timeout(patience_seconds):
                await process.channel.ask("alive")
        except (TimeoutError, ChannelLost, QuestionFailed):
            return False
        return True

    async def scrape(self, patience_seconds: float) -> bool:
        """Asks for the metrics of a worker that serves, which is true; raises as `Channel.ask`, and `TimeoutError`."""
        process = self._process
        if process is None or not self.serving:
            return False
        async with asyncio.timeout(patience_seconds):
            self._means.tally.take(str(self._number), await process.channel.ask("scrape"))
        return True

    async def stop(self, patience_seconds: float) -> None:
        """Has the worker drain, and kills it when it takes longer than that."""
        self._stopping = True
        if self._keeping is None:
            return
        if self._process is None:
            self._keeping.cancel()
        else:
            self._process.terminate()
        await asyncio.wait({self._keeping}, timeout=patience_seconds)
        self._keeping.cancel()  # which kills what is left
        await asyncio.gather(self._keeping, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            how = await self._run()
            if self._stopping:
                return
            self._means.died(self._number)
            if not self.has_served.is_set():
                raise (
                    BindError(self._refusal)
                    if self._refusal
                    else WorkersFailed(f"worker {self._number} did not start ({how})")
                )
            pause_seconds = self._deaths.another()
            if pause_seconds is None:
                raise WorkersFailed(f"worker {self._number} dies again and again (the last time: {how})")
            _log.error("worker died", worker=self._number, how=how, pause_seconds=pause_seconds)
            await self._means.pause(pause_seconds)

    async def _run(self) -> str:
        """Starts a process, and returns how it ended."""
        try:
            process = self._process = await self._means.launch(self._number, self._means.table.answer)
        except OSError as refused:  # no memory, descriptors or processes left
            return f"not started: {refused.strerror}"
        tending = asyncio.create_task(self._tend(process))
        try:
            return await process.ended()
        finally:
            self._process, self.serving = None, False
            self._means.table.leave(process.channel)
            self._means.tally.retire(str(self._number))
            process.kill()
            tending.cancel()
            await asyncio.wait({tending})
            await process.channel.aclose()
            await process.ended()

    async def _tend(self, process: Process) -> None:
        """Brings a worker up and looks after it. One that does not answer is killed, for it may hold old sessions."""
        try:
            await self._bring_up(process)
            while True:
                await self._means.pause(_HEARTBEAT_SECONDS)
                await self.scrape(_SILENCE_SECONDS)
        except ChannelLost:
            await self._means.pause(_LAST_WORDS_SECONDS)
        except (TimeoutError, QuestionFailed):
            _log.error("worker does not answer", worker=self._number, pid=process.pid)
        except Exception:  # noqa: BLE001 - the worker is killed, and the log has why
            _log.exception("internal error", worker=self._number)
        process.kill()

    async def _bring_up(self, process: Process) -> None:
        async with asyncio.timeout(_START_SECONDS):
            await process.channel.ask("start", self._means.orders)
            await self._means.table.welcome(process.channel)
            answer = await process.channel.ask("serve")
        if "refused" in answer:
            self._refusal = answer["refused"]
            _log.error("worker cannot serve", worker=self._number, reason=self._refusal)
            process.terminate()
            raise ChannelLost
        self.serving = True
        self.has_served.set()
        _log.info("worker serves", worker=self._number, pid=process.pid)
