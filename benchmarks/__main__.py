"""`python -m benchmarks`: measures the sidecar beside its alternatives, prints tables and bars, draws plots."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from awsidecar_server.config import settings
from benchmarks import document, plots, report
from benchmarks.bars import bars, fake_note, wire_form_notes
from benchmarks.plan import parts
from benchmarks.processes import ROOT, Failed
from benchmarks.run import Run

_RESULTS = ROOT / "benchmarks/results/latest.json"


def main() -> int:
    options = _parser().parse_args()
    if options.publish_only:
        _publish(json.loads(options.results.read_text(encoding="utf-8")))
        return 0
    started = time.monotonic()

    def tell(line: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {line}", file=sys.stderr, flush=True)

    run = Run(parts(quick=options.quick, exhaustive=options.exhaustive), tell, quick=options.quick)
    try:
        findings = run.carry_out()
    except Failed as failure:
        print(f"benchmarks: {failure}", file=sys.stderr)
        return 1
    met = bars(findings.bars, findings.residence["json"])
    found = report.as_json(findings, met, mode="quick" if options.quick else "full")
    report.write_json(found, options.results)
    for samples in (findings.bars, findings.samples, findings.latency):
        print(*report.table(report.summaries(samples)), sep="\n")
    print("", *report.residence_lines(findings), sep="\n")
    print(*fake_note(findings.bars), *wire_form_notes(findings.bars), sep="\n")
    if all(leaf.env != "AWSIDECAR_AWS_LANE" for leaf in settings()):
        print("NOTE this tree has one lane only: `sidecar` and `sidecar on aioboto3` are the same")
    print(*findings.skipped, *met, sep="\n")
    if not options.quick:
        _publish(found)
    return 1 if options.strict and not all(bar.is_met for bar in met) else 0


def _publish(found: dict[str, object]) -> None:
    plots.draw(found, ROOT / "docs/performance")
    document.write(found, ROOT / "docs/performance.md")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only what the bars need; less than 90 seconds")
    parser.add_argument("--exhaustive", action="store_true", help="256 pages of 1 MB at once, too; slow")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a bar is not met")
    parser.add_argument(
        "--results", type=Path, default=_RESULTS, metavar="FILE", help="JSON to write (default: %(default)s)"
    )
    parser.add_argument(
        "--publish-only", action="store_true", help="measure nothing; draw and document what FILE has"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
