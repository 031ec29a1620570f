"""The figures in docs/performance.md: what stands between its markers is written by a full run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.backends import DYNAMODB_LOCAL, INSTANT, TLS
from benchmarks.measure import median

Row: TypeAlias = dict[str, Any]

_BEGIN, _END = "<!-- figures: written by `make bench` -->", "<!-- end of figures -->"


def write(found: dict[str, Any], file: Path) -> None:
    """Replaces the figures; the words around them stay."""
    before, _, rest = file.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    figures = "\n".join(_figures(found))
    file.write_text(f"{before}{_BEGIN}\n\n{figures}\n\n{_END}{after}", encoding="utf-8")


def _figures(found: dict[str, Any]) -> Iterator[str]:
    machine = found["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    yield f"Measured {machine['date']} on {machine['cores']} cores of {machine['cpu']}, CPython {machine['python']}; {packages}."
    yield "\n### The bars\n"
    yield from _bars(found["bars"])
    yield "\n### Memory and start\n"
    yield from _residence(found)
    operations = [
        row for row in found["cells"] if row["cell"]["backend"] == INSTANT and row["cell"]["in_flight"] == 32
    ]
    yield "\n### Every operation, 32 in flight, a DynamoDB that answers at once"
    yield from _tables(operations)
    yield "\n### The same over TLS to AWS"
    yield from _tables([row for row in found["cells"] if row["cell"]["backend"] == TLS])
    yield "\n### Latency at a fixed rate, a DynamoDB that takes 3 ms"
    yield from _tables(found["latency"])
    local = [
        row for row in found["cells"] if row["cell"]["backend"] == DYNAMODB_LOCAL and row["cell"]["in_flight"] == 32
    ]
    if local:
        yield "\n### DynamoDB Local, 32 in flight (the emulator is the limit here)"
        yield from _tables(local)


def _bars(bars: list[dict[str, Any]]) -> Iterator[str]:
    yield "| bar | value | limit | |\n|---|---|---|---|"
    for bar in bars:
        sign = "≥" if bar["at_least"] else "≤"
        yield f"| `{bar['name']}` | {bar['value']:.3g} | {sign} {bar['limit']:g} | {'met' if bar['is_met'] else '**not met**'} |"


def _residence(found: dict[str, Any]) -> Iterator[str]:
    yield "| lane | exec to serving | idle | with 10,000 sessions | after a call as each | peak under load |\n|---|---|---|---|---|---|"
    for lane, row in found["residence"].items():
        used, peak = row["used_sessions_rss_mib"], found["peak_rss_mib"].get(lane)
        cells = [row["idle_rss_mib"], row["sessions_rss_mib"], used, peak]
        memory = " | ".join("-" if cell is None else f"{cell:.0f} MiB" for cell in cells)
        yield f"| `{lane}` | {median(row['start_seconds']):.2f} s | {memory} |"


def _tables(rows: list[Row]) -> Iterator[str]:
    """A table for every operation and load; a line for every path."""
    for (operation, in_flight, rate), group in groupby(rows, key=_block):
        load = f"{rate:g} calls/s" if rate else f"{in_flight} in flight"
        yield f"\n**{operation}, {load}**\n"
        yield "| path | calls/s | client CPU µs | sidecar CPU µs | sum µs | p50 ms | p90 | p99 | p99.9 |\n|---|---|---|---|---|---|---|---|---|"
        for row in group:
            client, server = row["client_us"], row["server_us"]
            figures = [row["calls_per_second"], client, server, client + server, *row["latency_ms"].values()]
            cells = " | ".join(_short(figure) for figure in figures)
            yield f"| {row['cell']['path']} | {cells} |"


def _block(row: Row) -> tuple[str, int, float]:
    cell = row["cell"]
    return cell["operation"], cell["in_flight"], cell["rate"]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value else "-"
