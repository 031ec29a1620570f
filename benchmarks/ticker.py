"""A clock that ticks to the microsecond: the timers of event loops have a resolution of one millisecond."""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from types import TracebackType
from typing import Self

_NANOSECONDS = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("first", _Timespec))


class Ticker:
    """A periodic timer of the kernel (timerfd_create(2); Python has it since 3.13) for the running event loop."""

    def __init__(self, interval_seconds: float) -> None:
        self.ticks = 0
        self._wanted = 0
        self._reached: asyncio.Future[None] | None = None
        self._library = ctypes.CDLL(None, use_errno=True)
        self._file = self._library.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        seconds, nanoseconds = divmod(int(interval_seconds * _NANOSECONDS), _NANOSECONDS)
        each = _Timespec(seconds, nanoseconds)
        self._spec = _TimerSpec(each, each)

    async def wait(self, ticks: int) -> None:
        """Returns when it has ticked so often since it was entered."""
        self._wanted = ticks
        self._reached = asyncio.get_running_loop().create_future()
        await self._reached

    def _ticked(self) -> None:
        self.ticks += int.from_bytes(os.read(self._file, 8), "little")
        if self._reached is not None and self.ticks >= self._wanted and not self._reached.done():
            self._reached.set_result(None)

    def __enter__(self) -> Self:
        self._library.timerfd_settime(self._file, 0, ctypes.byref(self._spec), None)
        asyncio.get_running_loop().add_reader(self._file, self._ticked)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._file)
        os.close(self._file)
