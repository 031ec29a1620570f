"""The metrics of all workers as one: what they counted is added up, and stays counted when one of them dies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

# Samples by name and labels.
_Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]

# Gauges are added up (calls in flight, connections), but for these.
_GAUGES: dict[str, Callable[[float, float], float]] = {
    "awsidecar_build_info": max,
    # Every worker knows all sessions; one that is starting does not yet.
    "awsidecar_sessions_open": max,
    "awsidecar_credential_seconds_to_expiry": min,
}
# Memory, CPU and descriptors belong to one process: they get its name as a label.
_OF_A_PROCESS = "process_"
_RPCS = "awsidecar_rpc"


class _Family(NamedTuple):
    documentation: str
    type: str
    samples: _Samples


def scraped(collector: Collector) -> list[list[Any]]:
    """The families of a registry as JSON holds them: name, documentation, type and samples."""
    return [
        [
            family.name,
            family.documentation,
            family.type,
            [
                [name, labels, value]
                for name, labels, value, *_ in family.samples
                if math.isfinite(value)  # JSON has no others
            ],
        ]
        for family in collector.collect()
    ]


class Tally(Collector):
    """Adds up scrapes. Counters and histograms never fall: those of dead workers are kept, as they were last seen.

    The state is the last scrape of each process, and the sums of what the dead had counted.
    """

    def __init__(self) -> None:
        self._latest: dict[str, dict[str, _Family]] = {}
        self._dead: dict[str, _Family] = {}

    def take(self, process: str, scrape: list[list[Any]]) -> None:
        """Replaces what is known of a process by a newer scrape of it."""
        self._latest[process] = {
            name: _Family(
                documentation,
                kind,
                {(sample, tuple(sorted(labels.items()))): value for sample, labels, value in samples},
            )
            for name, documentation, kind, samples in scrape
        }

    def retire(self, process: str) -> None:
        """Keeps of a process that has ended what it counted."""
        for name, family in self._latest.pop(process, {}).items():
            if family.type != "gauge" and not name.startswith(_OF_A_PROCESS):
                _add(self._dead, name, family)

    def collect(self) -> Iterable[Metric]:
        families: dict[str, _Family] = {}
        for name, family in self._dead.items():
            _add(families, name, family)
        rpcs = CounterMetricFamily(
            "awsidecar_worker_rpc", "RPCs answered, by worker since its start", labels=["worker"]
        )
        for process, latest in self._latest.items():
            for name, family in latest.items():
                own = _labelled(family, process) if name.startswith(_OF_A_PROCESS) else family
                _add(families, name, own)
            if _RPCS in latest:
                rpcs.add_metric([process], sum(latest[_RPCS].samples.values()))
        for name, family in families.items():
            metric = Metric(name, family.documentation, family.type)
            for (sample, labels), value in family.samples.items():
                metric.add_sample(sample, dict(labels), value)
            yield metric
        yield rpcs


def _add(families: dict[str, _Family], name: str, family: _Family) -> None:
    sums = families.setdefault(name, _Family(family.documentation, family.type, {})).samples
    together = _GAUGES.get(name, float.__add__)
    for key, value in family.samples.items():
        sums[key] = together(sums[key], value) if key in sums else float(value)


def _labelled(family: _Family, process: str) -> _Family:
    samples = {(name, (*labels, ("worker", process))): value for (name, labels), value in family.samples.items()}
    return family._replace(samples=samples)
