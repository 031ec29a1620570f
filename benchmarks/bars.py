"""The bars: ratios that this project promises to keep, each made of medians over interleaved rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.backends import INSTANT
from benchmarks.cells import Cell, Sample
from benchmarks.measure import median, spread
from benchmarks.operations import EMPTY, GET_SMALL, QUERY_100, QUERY_FULL
from benchmarks.plan import AIOBOTO3, AIOBOTO3_WIRE, EMPTY_RPC, SIDECAR, STUBS
from benchmarks.residence import SESSIONS, Residence


@dataclass(frozen=True)
class Bar:
    """A measured value and its limit. `spread` is half the distance of the rounds' extremes, as a share."""

    name: str
    value: float
    limit: float
    at_least: bool = False
    spread: float = 0.0

    @property
    def is_met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        verdict = "PASS" if self.is_met else "FAIL"
        return f"BAR {self.name} value={self.value:.3f} limit={self.limit:g} {verdict}"


class Rounds:
    """The samples of all cells, and ratios between two cells, round by round."""

    def __init__(self, samples: Mapping[Cell, Sequence[Sample]]) -> None:
        self._samples = samples

    def ratios(
        self, over: tuple[str, str, int], under: tuple[str, str, int], figure: Callable[[Sample], float]
    ) -> list[float]:
        """One ratio a round: both sides of it were measured within seconds, on the same mood of the machine."""
        upper, lower = (self._samples[Cell(INSTANT, *name)] for name in (over, under))
        return [figure(one) / figure(other) for one, other in zip(upper, lower, strict=True)]


def bars(samples: Mapping[Cell, Sequence[Sample]], residence: Residence) -> list[Bar]:
    """Every bar of the project. benchmarks/README.md says what each means."""
    rounds = Rounds(samples)
    get, direct_get = (SIDECAR, GET_SMALL.name, 32), (AIOBOTO3, GET_SMALL.name, 32)
    alone, direct_alone = (SIDECAR, GET_SMALL.name, 1), (AIOBOTO3, GET_SMALL.name, 1)
    page, direct_page = (SIDECAR, QUERY_FULL.name, 1), (AIOBOTO3, QUERY_FULL.name, 1)
    server = rounds.ratios(get, (EMPTY_RPC, EMPTY.name, 32), lambda sample: sample.server_us)
    throughput = rounds.ratios(get, direct_get, lambda sample: sample.calls_per_second)
    latency = rounds.ratios(alone, direct_alone, lambda sample: sample.p50)
    client = rounds.ratios(get, direct_get, lambda sample: sample.client_us)
    total = rounds.ratios(page, direct_page, lambda sample: sample.total_us)
    per_page = rounds.ratios(page, (SIDECAR, QUERY_100.name, 1), lambda sample: sample.total_us)
    growth = [ratio * QUERY_100.items / QUERY_FULL.items for ratio in per_page]
    return [
        _of("getitem_server_cpu_over_empty_rpc", server, 1.6),
        _of("getitem_throughput_over_direct_aioboto3", throughput, 2.5, at_least=True),
        _of("getitem_p50_over_direct_aioboto3", latency, 1.0),
        _of("client_cpu_over_direct_aioboto3", client, 0.3),
        _of("query_1mb_total_cpu_over_direct_aioboto3", total, 0.5),
        _of("cpu_per_item_growth", growth, 1.1),
        Bar("idle_rss_mib", residence.idle_rss_mib, 64),
        Bar(f"rss_after_{SESSIONS // 1000}k_sessions_mib", residence.sessions_rss_mib, 96),
        _of("start_to_serving_seconds", residence.start_seconds, 1.0),
    ]


def fake_note(samples: Mapping[Cell, Sequence[Sample]]) -> list[str]:
    """What the fake costs: the more, the longer it sleeps between calls."""
    costs = [
        median([one.backend_us for one in found])
        for cell, found in samples.items()
        if cell.operation == GET_SMALL.name
    ]
    cost = f"{min(costs):.0f} to {max(costs):.0f} us"
    return [
        f"NOTE the fake DynamoDB (Python, uvloop, raw protocol) costs {cost} of CPU per GetItem, least on a busy path"
    ]


def wire_form_notes(samples: Mapping[Cell, Sequence[Sample]]) -> list[str]:
    """The two ratios that compare clients, without conversion of values on either side."""
    rounds = Rounds(samples)
    stubs, wire = (STUBS, GET_SMALL.name, 32), (AIOBOTO3_WIRE, GET_SMALL.name, 32)
    throughput = median(rounds.ratios(stubs, wire, lambda sample: sample.calls_per_second))
    client = median(rounds.ratios(stubs, wire, lambda sample: sample.client_us))
    return [
        f"NOTE stubs over aioboto3 in wire form, GetItem 0.3 KB, 32 in flight: throughput {throughput:.2f}, client CPU {client:.2f}"
    ]


def _of(name: str, values: Sequence[float], limit: float, *, at_least: bool = False) -> Bar:
    return Bar(name, median(values), limit, at_least, spread(values))
