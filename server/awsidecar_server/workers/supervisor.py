"""The supervisor: starts the workers, starts again those that die, and answers for all of them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from awsidecar_server.api.listeners import address_of, bind_unix, reserve_tcp
from awsidecar_server.config import Config
from awsidecar_server.identity.sessions import SessionStore
from awsidecar_server.ops.admin import AdminServer
from awsidecar_server.version import VERSION
from awsidecar_server.workers.post import Means, Post, Process
from awsidecar_server.workers.process import WorkerProcess
from awsidecar_server.workers.table import SharedTable
from awsidecar_server.workers.tally import Tally, scraped

_log = structlog.get_logger()

# What a probe waits for a worker, and a scrape, which then takes what it knew of it: Kubernetes' probes and many others
# are given up after 1 s.
_PROBE_SECONDS = 0.5
# What a worker has beyond the grace of its calls, to close what it holds.
_CLOSING_SECONDS = 3.0


class WorkerMetrics:
    """What the supervisor itself knows, beside what it adds up."""

    def __init__(self, registry: CollectorRegistry, serving: Callable[[], int]) -> None:
        Gauge("awsidecar_workers_serving", "Workers that take calls", registry=registry).set_function(serving)
        self.deaths = Counter(
            "awsidecar_worker_deaths", "Workers that ended unasked", ["worker"], registry=registry
        )


class Supervisor:
    """A running sidecar of several processes. Entering starts it; leaving drains it.

    `fail` is called with the reason when the workers cannot be kept running. Entering raises `BadConfig`, `BindError`
    or `WorkersFailed`, and then leaves nothing.
    """

    def __init__(
        self,
        config: Config,
        environment: Mapping[str, str],
        fail: Callable[[str], None],
        *,
        launch: Callable[..., Awaitable[Process]] = WorkerProcess.start,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._config = config
        self._environment = environment
        self._fail = fail
        self._launch, self._clock, self._pause = launch, clock, pause
        self._closing = AsyncExitStack()
        self._posts: list[Post] = []
        # The Unix socket, and its path.
        self._listening = ExitStack()
        self._unix_socket: socket.socket | None = None
        self._stopping = False
        self._tally = Tally()
        self._registry, self._own = CollectorRegistry(), CollectorRegistry()
        self._registry.register(self._tally)
        ProcessCollector(registry=self._own)
        # Of the workers, by the last scrape.
        self._answering = 0
        self._metrics = WorkerMetrics(self._registry, lambda: self._answering)
        self.admin = AdminServer(config.admin, self, self._is_ready)
        # The addresses that are served on, once started.
        self.addresses: list[str] = []

    async def _is_ready(self) -> bool:
        if self._stopping or not self._posts:
            return False
        return all(await asyncio.gather(*(post.answers(_PROBE_SECONDS) for post in self._posts)))

    async def page(self) -> tuple[bytes, str]:
        """The scrape of all processes, and its content type."""
        scrapes = (post.scrape(_PROBE_SECONDS) for post in self._posts)
        # Of a worker that does not answer there is the last scrape.
        scraped_now = await asyncio.gather(*scrapes, return_exceptions=True)
        self._answering = sum(one is True for one in scraped_now)
        self._tally.take("supervisor", scraped(self._own))
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._closing.aclose()
            raise
        _log.info(
            "serving", grpc=self.addresses, admin=self.admin.address, workers=len(self._posts), version=VERSION
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _log.info("draining", grace_seconds=self._config.shutdown.grace_seconds)
        await self._closing.aclose()
        _log.info("stopped")

    async def _start(self) -> None:
        listen = self._config.listen
        reserved = self._closing.enter_context(reserve_tcp(listen.host, listen.port))
        self.addresses.append(address_of(reserved))
        if listen.unix_socket:
            self._unix_socket = self._listening.enter_context(bind_unix(listen.unix_socket))
            self._listening.callback(Path(listen.unix_socket).unlink, missing_ok=True)
            self._closing.callback(self._listening.close)
            self.addresses.append(address_of(self._unix_socket))
        await self.admin.start()
        self._closing.push_async_callback(self.admin.stop)
        means = self._means(replace(self._config, listen=replace(listen, port=reserved.getsockname()[1])))
        self._posts = [Post(number, means) for number in range(listen.workers)]
        self._closing.push_async_callback(self._stop)
        keeping = [post.start() for post in self._posts]
        await self._until_all_serve(keeping)
        for kept in keeping:
            kept.add_done_callback(self._on_given_up)

    def _means(self, config: Config) -> Means:
        return Means(
            orders={"config": config, "environment": dict(self._environment)},
            table=SharedTable(SessionStore(config.identity)),
            tally=self._tally,
            launch=partial(self._launch, unix_socket=self._unix_socket),
            clock=self._clock,
            pause=self._pause,
            died=lambda number: self._metrics.deaths.labels(str(number)).inc(),
        )

    async def _until_all_serve(self, keeping: list[asyncio.Task[None]]) -> None:
        """Raises what a worker that did not start was given up with."""
        serving = [asyncio.create_task(post.has_served.wait()) for post in self._posts]
        try:
            for waited in serving:
                await asyncio.wait([waited, *keeping], return_when=asyncio.FIRST_COMPLETED)
                for kept in keeping:
                    if kept.done():
                        kept.result()
        finally:
            for waited in serving:
                waited.cancel()

    def _on_given_up(self, kept: asyncio.Task[None]) -> None:
        if not kept.cancelled() and (failure := kept.exception()) is not None:
            self._fail(str(failure))

    async def _stop(self) -> None:
        self._stopping = True
        # Workers may close theirs now, and then nobody listens any more. The path goes first, while it is certainly ours: by
        # the end of the drain it may be a successor's.
        self._listening.close()
        patience = self._config.shutdown.grace_seconds + _CLOSING_SECONDS
        await asyncio.gather(*(post.stop(patience) for post in self._posts))
