"""The emulator's process: started on a free loopback port, watched, and ended with all it left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Self

from awsidecar_server.embedded.environment import LOOPBACK, emulator_environment

_KEEPER = Path(__file__).with_name("keeper.py")
_START_SECONDS = 30.0
# The keeper gives MiniStack 5 s.
_STOP_SECONDS = 8.0
_POLL_SECONDS = 0.02
_HEALTH_SECONDS = 2.0
# Between choosing a free port and its use another process may take it.
_PORT_TRIES = 3
_OUTPUT_BYTES = 4096
_OUTPUT_LINES = 12


class EmulatorFailed(Exception):
    """The embedded AWS did not start, or did not last: one line, and below it the last that it printed."""


class _PortTaken(EmulatorFailed):
    """Another process was quicker."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


class EmulatorProcess:
    """A running emulator. Its end of the child's standard input is what keeps the child alive."""

    def __init__(
        self, child: asyncio.subprocess.Process, *, port: int, scratch: Path, instance: str, stop_seconds: float
    ) -> None:
        self.endpoint_url = f"http://{LOOPBACK}:{port}"
        self._child = child
        self._scratch = scratch
        self._instance = instance
        self._stop_seconds = stop_seconds
        self._output = b""
        self._reader = asyncio.create_task(self._read_output())
        self._ending: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<EmulatorProcess {self.pid} at {self.endpoint_url}>"

    @classmethod
    async def start(
        cls,
        python: str,
        *,
        data_dir: Path | None = None,
        pick_port: Callable[[], int] = free_port,
        patience_seconds: float = _START_SECONDS,
        stop_seconds: float = _STOP_SECONDS,
    ) -> Self:
        """Returns when the emulator answers. Whatever hinders it, or cancels it, nothing is left."""
        for tries_left in reversed(range(_PORT_TRIES)):
            emulator = await cls._spawn(python, pick_port(), data_dir, stop_seconds)
            try:
                await emulator._until_healthy(patience_seconds)
                return emulator
            except _PortTaken:
                await emulator.stop()
                if not tries_left:
                    raise
            except BaseException:
                await emulator.stop()
                raise
        raise AssertionError("the last try returns or raises")

    @classmethod
    async def _spawn(cls, python: str, port: int, data_dir: Path | None, stop_seconds: float) -> Self:
        instance = f"awsidecar-{secrets.token_hex(8)}"
        # The keeper makes it: a sidecar that dies here has made nothing.
        scratch = Path(tempfile.gettempdir()) / instance
        try:
            child = await asyncio.create_subprocess_exec(
                python,
                "-I",  # no user site, no folder of the script on the path
                str(_KEEPER),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=emulator_environment(
                    os.environ, port=port, scratch=scratch, data_dir=data_dir, instance=instance
                ),
                start_new_session=True,  # Ctrl-C in the terminal is for the sidecar alone
            )
        except OSError as exc:
            raise EmulatorFailed(f"the embedded AWS: {python} cannot be run ({exc.strerror})") from exc
        return cls(child, port=port, scratch=scratch, instance=instance, stop_seconds=stop_seconds)

    @property
    def pid(self) -> int:
        return self._child.pid

    async def wait(self) -> EmulatorFailed | None:
        """Returns when the process has ended: with the reason, or None when `stop` was what ended it."""
        code = await self._child.wait()
        if self._ending is not None:
            return None
        await self._finish_output()
        return self._failure(f"ended unexpectedly ({_in_words(code)})")

    async def stop(self) -> None:
        """Ends the process gracefully, then not so, and removes its temporary folder. May be called again."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        try:
            async with asyncio.timeout(self._stop_seconds):
                await self._child.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            await self._child.wait()
        await self._finish_output()
        await asyncio.to_thread(shutil.rmtree, self._scratch, ignore_errors=True)

    async def _until_healthy(self, patience_seconds: float) -> None:
        health = asyncio.create_task(self._health())
        ended = asyncio.create_task(self._child.wait())
        try:
            await asyncio.wait({health, ended}, timeout=patience_seconds, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                await self._finish_output()
                raise self._failure(f"did not start ({_in_words(ended.result())})")
            if not health.done():
                raise self._failure(f"gave no answer within {patience_seconds:g} s")
            health.result()
        finally:
            for task in (health, ended):
                task.cancel()
            await asyncio.gather(health, ended, return_exceptions=True)

    async def _health(self) -> None:
        """Returns when this emulator answers, and not another one on the same port."""
        import aiohttp

        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_HEALTH_SECONDS)) as http:
            while True:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError, ValueError):
                    async with http.get(f"{self.endpoint_url}/_ministack/health") as answer:
                        health = await answer.json()
                        if isinstance(health, dict) and health.get("edition") == self._instance:
                            return
                await asyncio.sleep(_POLL_SECONDS)

    async def _read_output(self) -> None:
        assert self._child.stdout is not None
        while chunk := await self._child.stdout.read(_OUTPUT_BYTES):
            self._output = (self._output + chunk)[-_OUTPUT_BYTES:]

    async def _finish_output(self) -> None:
        # Bounded: a process that the emulator started may hold the pipe open.
        await asyncio.wait({self._reader}, timeout=1)
        self._reader.cancel()

    def _failure(self, what: str) -> EmulatorFailed:
        printed = self._output.decode(errors="replace").splitlines()[-_OUTPUT_LINES:]
        kind = _PortTaken if any("already in use" in line for line in printed) else EmulatorFailed
        return kind("\n  ".join([f"the embedded AWS {what}", *printed]))


def _in_words(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
