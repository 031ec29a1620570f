"""The metrics of the sidecar, by name. Labels never hold a user, an organisation or an item."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class RpcMetrics:
    """The metrics of one gRPC method, looked up once."""

    def __init__(self, telemetry: Telemetry, service: str, method: str) -> None:
        # Counted here, and read when somebody looks: a gauge that is set costs a lock each time.
        self.in_flight = 0
        telemetry.rpc_in_flight.labels(service, method).set_function(lambda: self.in_flight)
        seconds, finished = telemetry.rpc_seconds, telemetry.rpc_finished
        self._by_code = cache(
            lambda code: (seconds.labels(service, method, code), finished.labels(service, method, code))
        )

    def finished(self, code: str, seconds: float) -> None:
        latency, count = self._by_code(code)
        latency.observe(seconds)
        count.inc()


class AwsMetrics:
    """The metrics of one AWS operation, looked up once."""

    def __init__(self, telemetry: Telemetry, service: str, region: str, operation: str) -> None:
        seconds = telemetry.aws_seconds
        self.attempts = telemetry.aws_attempts.labels(service, operation)
        self.throttles = telemetry.aws_throttles.labels(service, operation)
        self.pool_in_use = telemetry.aws_pool_in_use.labels(service, region)
        self._seconds = cache(lambda outcome: seconds.labels(service, operation, outcome))

    def finished(self, outcome: str, seconds: float) -> None:
        self._seconds(outcome).observe(seconds)


class Telemetry:
    """All metrics of one sidecar, in a registry of its own."""

    def __init__(self) -> None:
        # A series more for each counter and histogram, that nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._define_rpc_metrics(self.registry)
        self._define_aws_metrics(self.registry)
        self._define_identity_metrics(self.registry)
        self.errors_internal = Counter(
            "awsidecar_internal_errors", "Calls that failed by a defect of ours", registry=self.registry
        )
        self.build = Gauge("awsidecar_build_info", "Version of the sidecar", ["version"], registry=self.registry)

    def _define_rpc_metrics(self, r: CollectorRegistry) -> None:
        self.rpc_finished = Counter(
            "awsidecar_rpc", "RPCs answered", ["grpc_service", "grpc_method", "grpc_code"], registry=r
        )
        self.rpc_seconds = Histogram(
            "awsidecar_rpc_duration_seconds",
            "Time from the arrival of a request to its answer",
            ["grpc_service", "grpc_method", "grpc_code"],
            buckets=_LATENCY_BUCKETS,
            registry=r,
        )
        self.rpc_in_flight = Gauge(
            "awsidecar_rpc_in_flight", "RPCs being served", ["grpc_service", "grpc_method"], registry=r
        )

    def _define_aws_metrics(self, r: CollectorRegistry) -> None:
        self.aws_seconds = Histogram(
            "awsidecar_aws_call_duration_seconds",
            "Time of an AWS call with all its attempts, by outcome (ok, rejected, unreachable, cancelled, invalid, failed)",
            ["aws_service", "operation", "outcome"],
            buckets=_LATENCY_BUCKETS,
            registry=r,
        )
        self.aws_attempts = Counter(
            "awsidecar_aws_attempts",
            "Requests sent to AWS, retries included",
            ["aws_service", "operation"],
            registry=r,
        )
        self.aws_throttles = Counter(
            "awsidecar_aws_throttles", "Requests that AWS throttled", ["aws_service", "operation"], registry=r
        )
        self.consumed_capacity = Counter(
            "awsidecar_dynamodb_consumed_capacity_units",
            "Capacity that AWS said calls have consumed; kind is read, write, or total where AWS does not tell them apart",
            ["table", "operation", "kind"],
            registry=r,
        )
        self.aws_pool_in_use = Gauge(
            "awsidecar_aws_pool_in_use",
            "AWS calls in progress; those beyond the size of the pool wait for a connection",
            ["aws_service", "region"],
            registry=r,
        )
        self.aws_pool_size = Gauge(
            "awsidecar_aws_pool_size", "Connections each pool may open", ["aws_service", "region"], registry=r
        )

    def _define_identity_metrics(self, r: CollectorRegistry) -> None:
        self.credential_events = Counter(
            "awsidecar_credential_cache_events",
            "Credential cache: hit, miss, refresh_ok, refresh_failed, rejected",
            ["tier", "event"],
            registry=r,
        )
        self._credential_event = cache(self.credential_events.labels)
        self.sessions_open = Gauge("awsidecar_sessions_open", "Sessions open", registry=r)

    def credential_event(self, tier: str, event: str) -> None:
        self._credential_event(tier, event).inc()

    def watch_expiry(self, soonest: Callable[[], Iterable[tuple[str, float]]]) -> None:
        """Exports, per tier, the seconds until the first cached credentials end."""
        self.registry.register(_ExpiryCollector(soonest))

    async def page(self) -> tuple[bytes, str]:
        """The scrape, and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


class _ExpiryCollector(Collector):
    def __init__(self, soonest: Callable[[], Iterable[tuple[str, float]]]) -> None:
        self._soonest = soonest

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "awsidecar_credential_seconds_to_expiry",
            "Seconds until the first of the cached credentials end",
            labels=["tier"],
        )
        for tier, seconds in self._soonest():
            family.add_metric([tier], seconds)
        yield family
