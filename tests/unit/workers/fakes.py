"""What the tests of workers stand on: both ends of a channel, ends that are answered by hand, processes that are none."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson

from awsidecar_server.workers.channel import Answerer, Channel


@asynccontextmanager
async def channels(answer: Answerer, answer_back: Answerer | None = None) -> AsyncIterator[tuple[Channel, Channel]]:
    """Two ends: what the first asks is answered by `answer`."""
    one, other = socket.socketpair()
    asking = await Channel.over(one, answer_back or refuse)
    answering = await Channel.over(other, answer)
    try:
        yield asking, answering
    finally:
        await asking.aclose()
        await answering.aclose()


async def refuse(what: str, about: Any) -> Any:
    raise AssertionError(what)


class FakeChannel:
    """Takes questions down, as JSON has them; the test answers them, or `answers` does so at once."""

    def __init__(self, answers: Callable[[str, Any], Any] | None = None) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.open: list[asyncio.Future[Any]] = []
        self._answers = answers

    def ask(self, what: str, about: Any = None) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.asked.append((what, orjson.loads(orjson.dumps(about))))
        self.open.append(future)
        if self._answers is not None:
            future.set_result(self._answers(what, about))
        return future

    def confirm(self) -> None:
        """Answers what has been asked so far."""
        for future in self.open:
            if not future.done():
                future.set_result(None)

    async def aclose(self) -> None:
        return


class FakeProcess:
    """A worker that serves as soon as it is started, and ends when the test says so."""

    def __init__(self, refused: str | None = None, *, silent: bool = False) -> None:
        self.pid = 1
        self.channel: Any = FakeChannel(None if silent else self._answer)
        self.signals: list[str] = []
        self._refused = refused
        self._end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def _answer(self, what: str, about: Any) -> Any:
        if what == "serve":
            return {"refused": self._refused} if self._refused else {}
        return [] if what == "scrape" else None

    def end(self, how: str) -> None:
        if not self._end.done():
            self._end.set_result(how)

    async def ended(self) -> str:
        return await asyncio.shield(self._end)

    def terminate(self) -> None:
        self.signals.append("SIGTERM")
        self.end("exit code 0")

    def kill(self) -> None:
        if not self._end.done():
            self.signals.append("SIGKILL")
        self.end("signal SIGKILL")
