"""Questions and answers between the supervisor and a worker: JSON, after its length, over a socket of these two alone.

Both ends ask. Questions are begun at the other end in the order in which they were asked; answers come in any order.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Self

import orjson
import structlog

_log = structlog.get_logger()

# A message begins with its length, in network byte order.
_LENGTH = struct.Struct(">I")
# Ours, well above all that is ever said at once: a batch of sessions, or a scrape.
_LONGEST_BYTES = 64 * 1024 * 1024
# What may wait for an end that does not read. Beyond it that end is stuck, and the channel is given up.
_MOST_WAITING_BYTES = 64 * 1024 * 1024

Answerer = Callable[[str, Any], Awaitable[Any]]


class ChannelLost(Exception):
    """The other end is gone, or is being given up."""


class QuestionFailed(Exception):
    """The other end has failed to answer by a defect, which its log has."""


class Channel:
    """One end. `answer` is called with each question of the other end, and returns what JSON can hold.

    The state is the questions that are open: those asked, by number, and those being answered.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answerer) -> None:
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._lost = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    def __repr__(self) -> str:
        return f"<Channel [Questions: {len(self._asked)} asked, {len(self._answering)} being answered]>"

    @classmethod
    async def over(cls, end: socket.socket, answer: Answerer) -> Self:
        """Takes the socket over."""
        reader, writer = await asyncio.open_unix_connection(sock=end)
        return cls(reader, writer, answer)

    def ask(self, what: str, about: Any = None) -> asyncio.Future[Any]:
        """Sends a question now; what it returns ends with the answer, or with `ChannelLost` or `QuestionFailed`."""
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        # Nobody need wait for it.
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        if self._lost.is_set():
            answer.set_exception(ChannelLost())
            return answer
        self._asked[number] = answer
        answer.add_done_callback(lambda _: self._asked.pop(number, None))
        self._send(["?", number, what, about])
        return answer

    async def lost(self) -> None:
        """Returns when the other end is gone."""
        await self._lost.wait()

    async def aclose(self) -> None:
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading
        for answering in self._answering:
            answering.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)
        self._give_up()

    def _send(self, message: list[Any]) -> None:
        if self._lost.is_set():
            return
        text = orjson.dumps(message)
        self._writer.write(_LENGTH.pack(len(text)) + text)
        if self._writer.transport.get_write_buffer_size() > _MOST_WAITING_BYTES:
            self._give_up()

    def _give_up(self) -> None:
        self._lost.set()
        self._writer.transport.abort()
        for answer in list(self._asked.values()):
            if not answer.done():
                answer.set_exception(ChannelLost())

    async def _read(self) -> None:
        try:
            while True:
                (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
                if length > _LONGEST_BYTES:
                    return
                self._take(orjson.loads(await self._reader.readexactly(length)))
        except (asyncio.IncompleteReadError, OSError):
            return  # the other end is gone
        finally:
            self._give_up()

    def _take(self, message: list[Any]) -> None:
        mark, number, *rest = message
        if mark == "?":
            answering = asyncio.create_task(self._reply(number, *rest))
            self._answering.add(answering)
            answering.add_done_callback(self._answering.discard)
            return
        asked = self._asked.get(number)
        if asked is None or asked.done():
            return  # nobody waits any longer
        if mark == "=":
            asked.set_result(rest[0])
        else:
            asked.set_exception(QuestionFailed())

    async def _reply(self, number: int, what: str, about: Any) -> None:
        try:
            answer = await self._answer(what, about)
        except Exception:  # noqa: BLE001 - the other end is told, and the log has it
            _log.exception("internal error", question=what)
            self._send(["!", number])
        else:
            self._send(["=", number, answer])
