"""A run: stage after stage, part after part, round after round; and all that it found."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import dynamodb_local, residence
from benchmarks.backends import DYNAMODB_LOCAL, INSTANT, Fake, Stage
from benchmarks.cells import Cell, Sample
from benchmarks.measure import peak_rss_mib
from benchmarks.paths import Target
from benchmarks.plan import Part
from benchmarks.processes import Failed
from benchmarks.residence import Residence

Tell = Callable[[str], None]
_LANES = ("json", "sdk")


@dataclass
class Findings:
    """Everything that was measured. `skipped` has a line for whatever was not."""

    samples: dict[Cell, list[Sample]] = field(default_factory=dict)
    latency: dict[Cell, list[Sample]] = field(default_factory=dict)
    # By lane.
    residence: dict[str, Residence] = field(default_factory=dict)
    peak_rss_mib: dict[str, float] = field(default_factory=dict)
    # Those that the bars are made of, by themselves.
    bars: dict[Cell, list[Sample]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def add(self, part: str, cell: Cell, sample: Sample) -> None:
        into = {"bars": self.bars, "latency": self.latency}.get(part, self.samples)
        into.setdefault(cell, []).append(sample)


class Run:
    """Carries out a plan."""

    def __init__(self, plan: list[Part], tell: Tell, *, quick: bool) -> None:
        self._plan = plan
        self._tell = tell
        self._quick = quick
        self.findings = Findings()

    def carry_out(self) -> Findings:
        """Measures memory and starts first, while nothing else runs, then the cells."""
        with TemporaryDirectory(prefix="awsidecar-bench-") as directory, ExitStack() as closing:
            fake = Fake.start(Path(directory), closing)
            for lane in _LANES[:1] if self._quick else _LANES:
                self.findings.residence[lane] = residence.measure(
                    fake.targets[INSTANT],
                    lane,
                    starts=5,
                    use_sessions=lane == _LANES[0] and not self._quick,
                    tell=self._tell,
                )
            for backend, parts in groupby(self._plan, key=lambda part: part.backend):
                self._stage(backend, list(parts), fake)
        return self.findings

    def _stage(self, backend: str, parts: list[Part], fake: Fake) -> None:
        with ExitStack() as closing:
            target: Target | str = (
                dynamodb_local.start(closing) if backend == DYNAMODB_LOCAL else fake.targets[backend]
            )
            if isinstance(target, str):
                self._skip(f"{backend}: skipped, {target}")
                return
            self._tell(f"{backend}: is there")
            stage = Stage(target, 0 if backend == DYNAMODB_LOCAL else fake.process_id, closing)
            for part in parts:
                self._part(part, stage)
            if backend == INSTANT and not self._quick:
                for lane, sidecar in stage.sidecars.items():
                    self.findings.peak_rss_mib[lane] = peak_rss_mib(sidecar.process_id)

    def _part(self, part: Part, stage: Stage) -> None:
        started = time.monotonic()
        for turn in range(part.rounds):
            for cell in part.cells:
                try:
                    sample = stage.run(cell, seconds=part.seconds, warm_seconds=part.warm_seconds)
                except Failed as failure:
                    if part.name == "bars":
                        raise
                    self._skip(f"{cell.backend}, {cell.path}, {cell.operation}, {cell.load}: {failure}")
                    continue
                self.findings.add(part.name, cell, sample)
            self._tell(f"{part.backend}: {part.name}, round {turn + 1} of {part.rounds}")
        self._tell(f"{part.backend}: {part.name} took {time.monotonic() - started:.0f} s")

    def _skip(self, line: str) -> None:
        self.findings.skipped.append(line)
        self._tell(line)
