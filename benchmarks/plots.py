"""The plots of docs/performance: bars side by side, and latency under load, as SVG on a light background."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.backends import INSTANT
from benchmarks.operations import BATCH_GET, BATCH_WRITE, GET_LARGE, GET_SMALL, PUT, QUERY_FULL
from benchmarks.plan import AIOBOTO3, AIODYNAMO, BOTO3, IN_FLIGHT, OPEN_RATES, SDK_SIDECAR, SIDECAR

Row: TypeAlias = dict[str, Any]

_PATHS = (SIDECAR, SDK_SIDECAR, AIODYNAMO, AIOBOTO3, BOTO3)
_COLOURS = {
    SIDECAR: "#0b6e99",
    SDK_SIDECAR: "#8ecae6",
    AIODYNAMO: "#9aa5b1",
    AIOBOTO3: "#e07a1f",
    BOTO3: "#f2c14e",
}
_OPERATIONS = (GET_SMALL, GET_LARGE, PUT, QUERY_FULL, BATCH_GET, BATCH_WRITE)
_STYLE: Any = {
    # Text stays text: small files, and a reader can search and select it.
    "svg.fonttype": "none",
    # The same figures give the same file.
    "svg.hashsalt": "awsidecar",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e3e7eb",
    "legend.frameon": False,
}


def draw(found: dict[str, Any], directory: Path) -> None:
    """Draws every plot that the findings of a full run allow."""
    directory.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_STYLE):
        _save(_throughput(found["cells"]), directory / "throughput.svg")
        _save(_cpu(found["cells"]), directory / "cpu.svg")
        _save(_latency(found["latency"]), directory / "latency.svg")
        _save(_bars(found["bars"]), directory / "bars.svg")


def draw_long_scan(found: dict[str, Any], file: Path) -> None:
    """Draws the memory of the sidecar during the scans of `benchmarks.long_scan`."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    with mpl.rc_context(_STYLE):
        for axes, name in zip(figure.subplots(2, 1), ("slow", "killed"), strict=True):
            _long_scan(axes, found[name])
        figure.suptitle("ScanStream of a large table: memory of the sidecar, and what the reader has")
        _save(figure, file)


def _long_scan(axes: Axes, scan: dict[str, Any]) -> None:
    times, rss, items = zip(*scan["samples"], strict=True)
    axes.plot(times, rss, color=_COLOURS[SIDECAR])
    axes.axhline(scan["idle_rss"], color=_COLOURS[SIDECAR], linewidth=1, linestyle=":")
    axes.set_ylim(0, max(rss) * 1.6)
    axes.set_ylabel("MiB resident", color=_COLOURS[SIDECAR])
    axes.set_xlabel("seconds")
    beside = axes.twinx()
    beside.plot(times, [count / 1e6 for count in items], color=_COLOURS[AIOBOTO3])
    beside.set_ylim(0, None)
    beside.set_ylabel("million items read", color=_COLOURS[AIOBOTO3])
    beside.grid(visible=False)
    if scan["stopped"]:
        axes.axvspan(*scan["stopped"], color="#eef1f4")
        axes.text(scan["stopped"][0], max(rss) * 1.45, " the reader stops", fontsize=8)
        axes.set_title("A slow reader; dotted: before its first call", fontsize=10)
    if scan["killed_at"] is not None:
        axes.axvline(scan["killed_at"], color="#c8553d", linewidth=1, linestyle="--")
        axes.text(scan["killed_at"], max(rss) * 1.45, " SIGKILL, another one a second later", fontsize=8)
        axes.set_title("As fast as it goes, and killed half-way", fontsize=10)


def _save(figure: Figure, file: Path) -> None:
    figure.savefig(file, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
    # Matplotlib ends lines with blanks.
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")


def _rows(rows: Iterable[Row], **wanted: object) -> list[Row]:
    return [row for row in rows if all(row["cell"][name] == value for name, value in wanted.items())]


def _figure_of(rows: Sequence[Row], path: str, figure: Callable[[Row], float]) -> float:
    found = [figure(row) for row in rows if row["cell"]["path"] == path]
    return found[0] if found else 0.0


def _throughput(rows: list[Row]) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    groups = [_rows(rows, backend=INSTANT, operation=GET_SMALL.name, in_flight=load) for load in IN_FLIGHT]
    _grouped(axes, groups, lambda row: float(row["calls_per_second"]), label="{:,.0f}")
    axes.set_xticks(range(len(IN_FLIGHT)), [f"{load} in flight" for load in IN_FLIGHT])
    axes.set_ylabel("calls per second")
    figure.suptitle("GetItem of 0.3 KB, one client process: calls per second (more is better)")
    axes.legend(ncols=len(_PATHS), loc="upper center", bbox_to_anchor=(0.5, -0.1))
    return figure


def _grouped(axes: Axes, groups: list[list[Row]], value: Callable[[Row], float], *, label: str) -> None:
    """Bars side by side: a group for each list of rows, a bar for each path."""
    width = 0.84 / len(_PATHS)
    for index, path in enumerate(_PATHS):
        heights = [_figure_of(group, path, value) for group in groups]
        places = [group + (index - (len(_PATHS) - 1) / 2) * width for group in range(len(groups))]
        drawn = axes.bar(places, heights, width * 0.94, color=_COLOURS[path], label=path)
        axes.bar_label(drawn, [label.format(height) if height else "" for height in heights], fontsize=7, padding=2)


def _cpu(rows: list[Row]) -> Figure:
    figure = Figure(figsize=(9, 7), layout="constrained")
    for axes, operation in zip(figure.subplots(2, 3).flat, _OPERATIONS, strict=True):
        found = _rows(rows, backend=INSTANT, operation=operation.name, in_flight=32)
        clients = [_figure_of(found, path, lambda row: row["client_us"] / 1e3) for path in _PATHS]
        servers = [_figure_of(found, path, lambda row: row["server_us"] / 1e3) for path in _PATHS]
        places, colours = range(len(_PATHS)), [_COLOURS[path] for path in _PATHS]
        axes.bar(places, clients, 0.7, color=colours)
        stacked = axes.bar(
            places, servers, 0.7, bottom=clients, color=colours, alpha=0.55, hatch="///", edgecolor="white"
        )
        sums = [client + server for client, server in zip(clients, servers, strict=True)]
        axes.bar_label(stacked, [f"{total:.3g}" if total else "" for total in sums], fontsize=8, padding=2)
        axes.margins(y=0.12)
        axes.set_title(operation.name, fontsize=10)
        axes.set_xticks(
            places, [path.replace(" on ", "\non ") for path in _PATHS], fontsize=7, rotation=30, ha="right"
        )
        axes.set_ylabel("ms of CPU per call")
    figure.suptitle("CPU per call at 32 in flight: client (solid) and sidecar (hatched); less is better")
    return figure


def _latency(rows: list[Row]) -> Figure:
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, rate in zip(figure.subplots(1, len(OPEN_RATES)), OPEN_RATES, strict=True):
        for path in _PATHS:
            for row in _rows(rows, path=path, rate=rate):
                names, values = zip(*row["latency_ms"].items(), strict=True)
                axes.plot(names, values, marker="o", markersize=4, color=_COLOURS[path], label=path)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.set_title(f"{rate:,.0f} calls per second", fontsize=10)
        axes.set_ylabel("ms, from when a call was due")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=len(_PATHS), loc="outside lower center")
    figure.suptitle("GetItem latency at a fixed rate, with a DynamoDB that takes 3 ms (open loop; less is better)")
    return figure


def _bars(bars: list[dict[str, Any]]) -> Figure:
    """Every bar as a share of its limit."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    shown = bars[::-1]
    # A figure that must be large is drawn upside down, so that left of the line is always good.
    shares = [bar["limit"] / bar["value"] if bar["at_least"] else bar["value"] / bar["limit"] for bar in shown]
    colours = ["#2a9d55" if bar["is_met"] else "#c8553d" for bar in shown]
    drawn = axes.barh([bar["name"] for bar in shown], shares, 0.65, color=colours)
    texts = [f"{bar['value']:.3g} (limit {'≥' if bar['at_least'] else '≤'} {bar['limit']:g})" for bar in shown]
    axes.bar_label(drawn, texts, fontsize=8, padding=4)
    axes.axvline(1, color="#333333", linewidth=1, linestyle="--")
    axes.set_xlim(0, max(*shares, 1.0) * 1.25)
    axes.set_xlabel("share of the limit")
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    figure.suptitle("The bars: left of the line is met")
    return figure
