"""`python -m benchmarks.long_scan`: a million items by ScanStream, to a slow reader, and past a sidecar that is killed.

Needs DynamoDB Local, which is filled first: some minutes. Prints what was counted, and draws the sidecar's memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.dynamodb_local import Unavailable, running

import awsidecar
from awsidecar import shapes
from benchmarks import many_items
from benchmarks.measure import rss_mib
from benchmarks.paths import Target
from benchmarks.processes import ROOT, Failed, Sidecar, free_port

# DynamoDB Local reads what is left of a segment for each page of it, so that few large ones take minutes.
_SEGMENTS = 64
# Of a stream that gives no page.
_TIMEOUT_SECONDS = 120.0
_SAMPLE_SECONDS = 0.25
_SETTLE_SECONDS = 2.0
# How long the killed sidecar stays away.
_AWAY_SECONDS = 1.0
_RESULTS = ROOT / "benchmarks/results/long_scan.json"
_PLOT = ROOT / "docs/performance/long-scan.svg"


@dataclass
class Scan:
    """What came of one scan. Times are in seconds since it began, memory in MiB."""

    items: int = 0
    repeated: int = 0
    missing: int = 0
    pages: int = 0
    seconds: float = 0.0
    idle_rss: float = 0.0
    # When the reader stopped, and went on.
    stopped: list[float] = field(default_factory=list)
    killed_at: float | None = None
    # Of the sidecar: (time, memory, items read by then).
    samples: list[tuple[float, float, int]] = field(default_factory=list)

    @property
    def is_exact(self) -> bool:
        return self.repeated == 0 and self.missing == 0

    @property
    def peak_rss(self) -> float:
        return max(rss for _, rss, _ in self.samples)


class Sampler:
    """Reads the memory of the sidecar again and again, while it is entered."""

    def __init__(self, scan: Scan, seen: many_items.Seen, started: float, process_id: Callable[[], int]) -> None:
        self._scan = scan
        self._seen = seen
        self._started = started
        self._process_id = process_id
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def _sample(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            try:
                rss = rss_mib(self._process_id())
            except (OSError, ValueError, StopIteration):  # it has just been killed
                continue
            self._scan.samples.append((time.monotonic() - self._started, rss, self._seen.items))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


@dataclass(frozen=True)
class Plan:
    """What is scanned, and in which parts."""

    target: Target
    items: int
    segments: int = _SEGMENTS
    # As many as 1 MB holds, when it is absent.
    page_items: int | None = None


def slow_scan(plan: Plan, *, pause: float, stop: float) -> Scan:
    """Reads with a pause after each page, and stops for a while half-way."""
    scan, seen = Scan(), many_items.Seen(plan.items)
    with ExitStack() as closing:
        sidecar = Sidecar(plan.target, "json", closing)
        time.sleep(_SETTLE_SECONDS)
        scan.idle_rss = rss_mib(sidecar.process_id)
        started = time.monotonic()

        def after_page() -> None:
            time.sleep(pause)
            if seen.items >= plan.items // 2 and not scan.stopped:
                scan.stopped.append(time.monotonic() - started)
                time.sleep(stop)
                scan.stopped.append(time.monotonic() - started)

        with Sampler(scan, seen, started, lambda: sidecar.process_id):
            _read(plan, sidecar.grpc, scan, seen, after_page)
        scan.seconds = time.monotonic() - started
    return scan


def killed_scan(plan: Plan) -> Scan:
    """Reads as fast as it goes; the sidecar is killed half-way, and another one comes to its place a second later."""
    scan, seen = Scan(), many_items.Seen(plan.items)
    with ExitStack() as closing:
        port = free_port()
        sidecars = [Sidecar(plan.target, "json", closing, port=port)]
        scan.idle_rss = rss_mib(sidecars[0].process_id)
        coming: list[threading.Timer] = []
        started = time.monotonic()

        def after_page() -> None:
            if seen.items >= plan.items // 2 and scan.killed_at is None:
                scan.killed_at = time.monotonic() - started
                sidecars[0].kill()
                coming.append(threading.Timer(_AWAY_SECONDS, start_another))
                coming[0].start()

        def start_another() -> None:
            sidecars.append(Sidecar(plan.target, "json", closing, port=port))

        with Sampler(scan, seen, started, lambda: sidecars[-1].process_id):
            _read(plan, sidecars[0].grpc, scan, seen, after_page)
        scan.seconds = time.monotonic() - started
        for timer in coming:
            timer.join()
    return scan


def _read(plan: Plan, address: str, scan: Scan, seen: many_items.Seen, after_page: Callable[[], None]) -> None:
    request: shapes.ScanRequest = {"TableName": many_items.TABLE}
    if plan.page_items is not None:
        request["Limit"] = plan.page_items
    with awsidecar.connect(address, timeout=_TIMEOUT_SECONDS) as client:
        for page in client.dynamodb.scan_stream(segments=plan.segments, **request):
            seen.note(item["id"] for item in page["Items"])
            scan.pages += 1
            after_page()
    scan.items, scan.repeated, scan.missing = seen.items, seen.repeated, seen.missing


def _tell(name: str, scan: Scan) -> None:
    print(
        f"{name}: {scan.items:,} items in {scan.pages} pages, {scan.seconds:.0f} s;"
        f" {scan.repeated} more than once, {scan.missing} missing;"
        f" the sidecar's memory {scan.idle_rss:.0f} MiB before, {scan.peak_rss:.0f} MiB at most"
        + ("" if scan.killed_at is None else f"; killed after {scan.killed_at:.1f} s"),
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_scan", description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--pause", type=float, default=0.5, help="of the slow reader, after each page, in seconds")
    parser.add_argument("--stop", type=float, default=15.0, help="of the slow reader, half-way, in seconds")
    parser.add_argument("--draw", type=Path, default=_PLOT, help="where the plot goes")
    options = parser.parse_args()
    try:
        with running() as endpoint:
            started = time.monotonic()
            many_items.fill(endpoint, options.items)
            print(f"{options.items:,} items put in {time.monotonic() - started:.0f} s", flush=True)
            plan = Plan(Target(endpoint=endpoint), options.items)
            slow = slow_scan(plan, pause=options.pause, stop=options.stop)
            _tell("slow reader", slow)
            killed = killed_scan(plan)
            _tell("killed half-way", killed)
    except (Failed, Unavailable) as failure:
        print(f"long_scan: {failure}", file=sys.stderr)
        return 1
    found: dict[str, Any] = {"slow": asdict(slow), "killed": asdict(killed)}
    _RESULTS.parent.mkdir(parents=True, exist_ok=True)
    _RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    # With it comes matplotlib, which only the environment of the benchmarks has.
    from benchmarks.plots import draw_long_scan

    draw_long_scan(found, options.draw)
    return 0 if slow.is_exact and killed.is_exact else 1


if __name__ == "__main__":
    sys.exit(main())
