"""The life of the process: its event loop, and its end. One signal drains, a second one ends it at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from typing import Any

# A process ended by a signal exits with this plus the signal's number.
_SIGNAL_EXIT = 128


def run(main: Coroutine[Any, Any, int]) -> int:
    """Runs the process's coroutine to its end, on uvloop where that exists; returns the exit code."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


class Shutdown:
    """Waits for the word to stop, from a signal or from within."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        # Why the process ends though nobody asked it to; None for an orderly end.
        self.failure: str | None = None

    def listen(self) -> None:
        """Takes SIGTERM and SIGINT over."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

    def fail(self, reason: str) -> None:
        """Asks for the end because something the sidecar needs is gone."""
        self.failure = self.failure or reason
        self._asked.set()

    async def asked(self) -> None:
        await self._asked.wait()

    def _on_signal(self, number: int) -> None:
        if self._asked.is_set():
            # Somebody is in a hurry; nothing that we hold outlives the process.
            os._exit(_SIGNAL_EXIT + number)
        self._asked.set()
