"""A sidecar in a process of its own: `python -m awsidecar_server serve`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.integration.life_line import SERVER, command

_ROOT = Path(__file__).parents[3]
_START_SECONDS = 30.0
_END_SECONDS = 30.0
# A traceback is one line of the log.
_LONGEST_LINE = 1024 * 1024
# A sidecar with a defect: DescribeLimits fails by it, with the caller's credentials at hand.
SERVER_WITH_DEFECT = """
import sys
from awsidecar_server.aws.lane import Lane
from awsidecar_server.cli import main

whole = Lane.call

async def call(lane, caller, send):
    if send.args[0].operation == "DescribeLimits":
        credentials = await lane._provider.credentials(caller)
        raise RuntimeError(f"a defect beside {credentials}")
    return await whole(lane, caller, send)

Lane.call = call
sys.exit(main())
"""


class SidecarProcess:
    """A running `awsidecar serve`. What it writes is collected while it runs."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._started = asyncio.Event()
        self._draining = asyncio.Event()
        self.target = ""
        self.admin = ""
        self.output = ""
        self.errors = ""
        self._reading = asyncio.gather(self._read_output(), self._read_errors())

    @property
    def pid(self) -> int:
        return self._process.pid

    def events(self, name: str) -> list[dict[str, Any]]:
        """The lines of the log so far that tell of this event."""
        lines = [json.loads(line) for line in self.errors.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    async def started(self) -> None:
        """Returns when it serves, or has ended."""
        async with asyncio.timeout(_START_SECONDS):
            await self._started.wait()

    async def draining(self) -> None:
        """Returns when it takes no more calls."""
        async with asyncio.timeout(_START_SECONDS):
            await self._draining.wait()

    def signal(self, number: int = signal.SIGTERM) -> None:
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Waits for the end; gives the exit code."""
        async with asyncio.timeout(_END_SECONDS):
            await self._reading
            return await self._process.wait()

    async def killed(self) -> None:
        """Ends it whatever it does."""
        if self._process.returncode is None:
            self._process.kill()
        await self.ended()

    async def _read_output(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.output += line.decode()

    async def _read_errors(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.errors += line.decode()
            self._notice(line)
        self._started.set()

    def _notice(self, line: bytes) -> None:
        if not line.startswith(b"{"):
            return
        event = json.loads(line)
        if event.get("event") == "serving" and "admin" in event:  # workers say it, too
            self.target, self.admin = event["grpc"][0], event["admin"]
            self._started.set()
        if event.get("event") == "draining":
            self._draining.set()


async def launched(environment: Mapping[str, str], program: str = SERVER) -> SidecarProcess:
    """Starts a sidecar with this environment and nothing of ours; it serves, or has failed, when this returns."""
    search_path = os.pathsep.join(str(_ROOT / part) for part in ("server", "clients/python"))
    process = await asyncio.create_subprocess_exec(
        *command(program, "serve"),
        env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": search_path, **environment},
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        limit=_LONGEST_LINE,
    )
    sidecar = SidecarProcess(process)
    try:
        await sidecar.started()
    except BaseException:
        await sidecar.killed()
        raise
    return sidecar


@asynccontextmanager
async def served(environment: Mapping[str, str], program: str = SERVER) -> AsyncIterator[SidecarProcess]:
    """A process that serves while it is entered, and must end in order."""
    sidecar = await launched(environment, program)
    try:
        assert sidecar.target, sidecar.errors
        yield sidecar
        sidecar.signal()
        assert await sidecar.ended() == 0, sidecar.errors
    finally:
        await sidecar.killed()
