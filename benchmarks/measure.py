"""What is read of a process (CPU, memory), and what is made of many readings (percentiles, medians)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

_MIB = 1 << 20
_PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}


def cpu_seconds(process_id: int) -> float:
    """User and system time of a process and all its threads, to the nanosecond.

    `/proc/PID/stat` counts ticks of 10 ms; the process's CPU clock is the same account, exact. Its id is made as
    `clock_getcpuclockid(3)` makes it.
    """
    return time.clock_gettime((~process_id << 3) | 2)


def rss_mib(process_id: int) -> float:
    """The resident memory of a process now."""
    return _status_kib(process_id, "VmRSS") * 1024 / _MIB


def peak_rss_mib(process_id: int) -> float:
    """The most resident memory that a process has had."""
    return _status_kib(process_id, "VmHWM") * 1024 / _MIB


def _status_kib(process_id: int, name: str) -> int:
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise ProcessLookupError(process_id)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """The percentiles that are reported, by nearest rank."""
    ordered = sorted(values)
    return {name: ordered[min(len(ordered) - 1, int(share * len(ordered)))] for name, share in _PERCENTILES.items()}


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float]) -> float:
    """Half the distance between the extremes, as a share of the median."""
    middle = statistics.median(values)
    return (max(values) - min(values)) / 2 / middle if middle else 0.0
