"""What one measurement is (a cell of the plan), and what comes out of it (a sample)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Self

from benchmarks.measure import median, percentiles


@dataclass(frozen=True)
class Cell:
    """One path doing one operation on one backend, with so many calls in flight or at a fixed rate."""

    backend: str
    path: str
    operation: str
    in_flight: int = 0
    # Calls per second of an open loop; 0 means a closed one.
    rate: float = 0.0

    @property
    def load(self) -> str:
        return f"{self.rate:g}/s" if self.rate else str(self.in_flight)


@dataclass(frozen=True)
class Sample:
    """One run of a cell. CPU is of whole processes, in seconds; that of a process that is not there is 0."""

    seconds: float
    client_cpu: float
    server_cpu: float
    backend_cpu: float
    server_rss_mib: float
    client_rss_mib: float
    latencies: list[float] = field(repr=False)

    @classmethod
    def parse(cls, answer: dict[str, Any]) -> Self:
        return cls(**answer)

    @property
    def calls(self) -> int:
        return len(self.latencies)

    @property
    def calls_per_second(self) -> float:
        return self.calls / self.seconds

    @property
    def client_us(self) -> float:
        return self.client_cpu / self.calls * 1e6

    @property
    def server_us(self) -> float:
        return self.server_cpu / self.calls * 1e6

    @property
    def backend_us(self) -> float:
        return self.backend_cpu / self.calls * 1e6

    @property
    def total_us(self) -> float:
        """Of client and sidecar; DynamoDB's own work is not ours."""
        return self.client_us + self.server_us

    @property
    def p50(self) -> float:
        return percentiles(self.latencies)["p50"]


@dataclass(frozen=True)
class Summary:
    """The rounds of one cell: medians, and the percentiles of all calls together (milliseconds)."""

    cell: Cell
    rounds: int
    calls: int
    calls_per_second: float
    client_us: float
    server_us: float
    backend_us: float
    latency_ms: dict[str, float]
    server_rss_mib: float
    client_rss_mib: float

    @property
    def total_us(self) -> float:
        return self.client_us + self.server_us

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def summarize(cell: Cell, samples: list[Sample]) -> Summary:
    pooled = [latency for sample in samples for latency in sample.latencies]
    return Summary(
        cell=cell,
        rounds=len(samples),
        calls=len(pooled),
        calls_per_second=median([sample.calls_per_second for sample in samples]),
        client_us=median([sample.client_us for sample in samples]),
        server_us=median([sample.server_us for sample in samples]),
        backend_us=median([sample.backend_us for sample in samples]),
        latency_ms={name: value * 1e3 for name, value in percentiles(pooled).items()},
        server_rss_mib=max(sample.server_rss_mib for sample in samples),
        client_rss_mib=max(sample.client_rss_mib for sample in samples),
    )
