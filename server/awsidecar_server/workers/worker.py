"""A worker: the sidecar without its operations HTTP server, which does what the supervisor says."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from awsidecar_server.api.listeners import BindError
from awsidecar_server.app import App
from awsidecar_server.config import Config
from awsidecar_server.identity.sessions import Sessions, SessionStore
from awsidecar_server.lifecycle import Shutdown
from awsidecar_server.ops import log
from awsidecar_server.workers.channel import Channel
from awsidecar_server.workers.desk import SharedSessions
from awsidecar_server.workers.handover import session_from_json
from awsidecar_server.workers.tally import scraped


async def work(number: int, end: socket.socket, unix_socket: socket.socket | None = None) -> int:
    """Serves from the supervisor's word until it is asked to stop; returns the exit code."""
    shutdown = Shutdown()
    shutdown.listen()
    worker = Worker(number, unix_socket)
    channel = worker.channel = await Channel.over(end, worker.answer)
    ending = {asyncio.create_task(shutdown.asked()), asyncio.create_task(channel.lost())}
    told = asyncio.create_task(worker.told.wait())
    try:
        await asyncio.wait({told, *ending}, return_when=asyncio.FIRST_COMPLETED)
        if told.done():
            await _serve(worker, ending)
    finally:
        for waiting in (told, *ending):
            waiting.cancel()
        await channel.aclose()
    return 0


async def _serve(worker: Worker, ending: set[asyncio.Task[None]]) -> None:
    assert worker.app is not None
    try:
        async with worker.app:
            worker.serving.set_result({})
            await asyncio.wait(ending, return_when=asyncio.FIRST_COMPLETED)
    except BindError as taken:
        worker.serving.set_result({"refused": str(taken)})
        await asyncio.wait(ending, return_when=asyncio.FIRST_COMPLETED)


class Worker:
    """Answers the supervisor.

    It answers `open`, `close` and `sessions` without a pause, so that they take effect in the order in which the
    supervisor sent them.
    """

    # The channel, from its start on; the rest comes with the first question, `start`.
    channel: Channel
    app: App | None = None
    _store: SessionStore

    def __init__(self, number: int, unix_socket: socket.socket | None) -> None:
        self._number = number
        self._unix_socket = unix_socket
        self.told = asyncio.Event()
        # What the supervisor hears when we serve, or cannot.
        self.serving: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()

    async def answer(self, what: str, about: Any) -> Any:
        match what:
            case "start":
                self._start(about["config"], about["environment"])
            case "sessions":
                for given in about:
                    self._store.adopt(*session_from_json(given))
            case "open":
                self._store.adopt(*session_from_json(about))
            case "close":
                return self._store.drop(bytes.fromhex(about))
            case "serve":
                self.told.set()
                return await asyncio.shield(self.serving)
            case "alive":
                pass  # it is, as its event loop turns
            case "scrape":
                assert self.app is not None
                return scraped(self.app.telemetry.registry)
            case _:
                raise ValueError(what)
        return None

    def _start(self, tree: dict[str, dict[str, Any]], environment: dict[str, str]) -> None:
        config = Config.restored(tree)
        log.configure(config.log, worker=self._number)

        def share(store: SessionStore) -> Sessions:
            self._store = store
            return SharedSessions(store, self.channel, limit=config.identity.max_sessions)

        self.app = App(config, environment, share=share, unix_socket=self._unix_socket)
