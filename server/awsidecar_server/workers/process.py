"""A worker's process as the supervisor has it: started afresh, spoken to over a socket of its own, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from typing import Self

from awsidecar_server.workers.channel import Answerer, Channel


class WorkerProcess:
    """A running worker. Our end of the child's standard input, to which nothing is written, keeps the child alive."""

    def __init__(self, child: asyncio.subprocess.Process, channel: Channel, life_line: int) -> None:
        self.channel = channel
        self._child = child
        # A descriptor, while the child runs.
        self._life_line: int | None = life_line

    def __repr__(self) -> str:
        return f"<WorkerProcess {self.pid}>"

    @classmethod
    async def start(cls, number: int, answer: Answerer, unix_socket: socket.socket | None = None) -> Self:
        """Returns when the process runs, with the Unix socket; it is told all else over the channel.

        Raises `OSError` when there is no memory, or no more descriptors or processes.
        """
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as undoing:
            undoing.callback(ours.close)
            # Not asyncio's pipe: where uvloop lacks the descriptors for one, its error has no number and no reason.
            held, life_line = os.pipe()
            undoing.callback(os.close, life_line)
            descriptors = [one.fileno() for one in (theirs, unix_socket) if one is not None]
            try:
                child = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",  # not what lies in the folder that we were started in
                    "-m",
                    "awsidecar_server.workers",
                    str(number),
                    *map(str, descriptors),
                    stdin=held,
                    pass_fds=descriptors,
                    start_new_session=True,  # Ctrl-C in the terminal is for the supervisor, which passes it on
                )
            finally:
                os.close(held)
            undoing.pop_all()
        return cls(child, await Channel.over(ours, answer), life_line)

    @property
    def pid(self) -> int:
        return self._child.pid

    async def ended(self) -> str:
        """Returns how the process ended, in words, when it has."""
        code = await self._child.wait()
        if self._life_line is not None:
            os.close(self._life_line)
            self._life_line = None
        return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"

    def terminate(self) -> None:
        """Asks it to drain."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(number)
