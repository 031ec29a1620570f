"""The findings as text, as Markdown for the documentation, and as JSON."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.bars import Bar
from benchmarks.cells import Cell, Sample, Summary, summarize
from benchmarks.measure import median
from benchmarks.run import Findings

_PACKAGES = ("grpcio", "protobuf", "uvloop", "aioboto3", "aiobotocore", "boto3", "aiodynamo", "aiohttp")
_COLUMNS = ("calls/s", "client us", "server us", "total us", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms")


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def summaries(samples: dict[Cell, list[Sample]]) -> list[Summary]:
    return [summarize(cell, rounds) for cell, rounds in samples.items()]


def table(rows: Iterable[Summary]) -> Iterator[str]:
    """A block for every backend, operation and load; a line for every path."""
    blocks: dict[tuple[str, str, str], list[Summary]] = {}
    for row in rows:
        blocks.setdefault((row.cell.backend, row.cell.operation, row.cell.load), []).append(row)
    for (backend, operation, load), group in blocks.items():
        unit = "open loop" if "/s" in load else "in flight"
        yield f"\n{operation} | {backend} | {load} {unit}"
        yield f"  {'':28}" + "".join(f"{name:>11}" for name in _COLUMNS)
        for row in group:
            cells = [row.calls_per_second, row.client_us, row.server_us, row.total_us, *row.latency_ms.values()]
            yield f"  {row.cell.path:28}" + "".join(f"{_short(value):>11}" for value in cells)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}" if value else "-"


def residence_lines(findings: Findings) -> Iterator[str]:
    """Memory and starts, by lane."""
    for lane, found in findings.residence.items():
        used = f", after a call as each {found.used_sessions_rss_mib:.1f}" if found.used_sessions_rss_mib else ""
        peak = f", peak under load {findings.peak_rss_mib[lane]:.1f}" if lane in findings.peak_rss_mib else ""
        yield (
            f"sidecar, lane {lane}: serving {median(found.start_seconds):.2f} s after exec; resident MiB: "
            f"idle {found.idle_rss_mib:.1f}, with 10,000 sessions {found.sessions_rss_mib:.1f}{used}{peak}"
        )


def as_json(findings: Findings, bars: list[Bar], *, mode: str) -> dict[str, Any]:
    """All of it, without the single latencies."""
    return {
        "mode": mode,
        "machine": machine(),
        "bars": [{**asdict(bar), "is_met": bar.is_met} for bar in bars],
        "bar_cells": [row.as_dict() for row in summaries(findings.bars)],
        "cells": [row.as_dict() for row in summaries(findings.samples)],
        "latency": [row.as_dict() for row in summaries(findings.latency)],
        "residence": {lane: asdict(found) for lane, found in findings.residence.items()},
        "peak_rss_mib": findings.peak_rss_mib,
        "skipped": findings.skipped,
    }


def write_json(found: dict[str, Any], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
