"""The end of the process: one signal drains, a second one ends it at once."""

from __future__ import annotations

import asyncio
import os
import signal

# A process ended by a signal exits with this plus the signal's number.
_SIGNAL_EXIT = 128


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
