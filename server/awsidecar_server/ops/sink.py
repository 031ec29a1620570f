"""Where log lines go: a thread writes them, so that neither a slow nor a broken reader of the log touches a call."""

from __future__ import annotations

import atexit
import threading
from collections import deque
from select import PIPE_BUF
from typing import TextIO

# Lines that wait. When the reader is that far behind, the oldest give way.
_MOST_LINES = 10_000
_LAST_WORDS_SECONDS = 1.0


class LogSink:
    """A text stream that never blocks and never raises.

    The state is the queue of lines; the thread takes from its left, and everyone else adds to its right.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[str] = deque(maxlen=_MOST_LINES)
        self._has_lines = threading.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def write(self, text: str) -> int:
        self._lines.append(text)
        self._has_lines.set()
        return len(text)

    def flush(self) -> None:
        """Lines are written as soon as their reader takes them; nobody waits for that."""

    def close(self) -> None:
        """Waits for what is left, as long as somebody reads it."""
        self._is_closing = True
        self._has_lines.set()
        self._thread.join(_LAST_WORDS_SECONDS)

    def _write(self) -> None:
        while not (self._is_closing and not self._lines):
            self._has_lines.wait()
            self._has_lines.clear()
            while self._lines:
                text = self._take()
                try:
                    self._stream.write(text)
                    self._stream.flush()
                except (OSError, ValueError):
                    continue  # nobody reads; later lines may find a reader

    def _take(self) -> str:
        """As many lines as a pipe takes whole, and at least one."""
        taken = self._lines.popleft()
        while self._lines and len(taken) + len(self._lines[0]) <= PIPE_BUF:
            taken += self._lines.popleft()
        return taken
