from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from awsidecar_server.ops.telemetry import AwsMetrics, RpcMetrics, Telemetry
from awsidecar_server.workers.tally import Tally, scraped


def worker(*, calls: int = 1, sessions: int = 0, expiry: float = 60.0) -> Telemetry:
    """The metrics of a worker that served some calls, of which one is still running."""
    telemetry = Telemetry()
    rpc = RpcMetrics(telemetry, "a.Service", "GetItem")
    for _ in range(calls):
        rpc.finished("OK", 0.002)
    rpc.in_flight = 1
    aws = AwsMetrics(telemetry, "dynamodb", "eu-central-1", "GetItem")
    aws.pool_in_use.inc()
    telemetry.aws_pool_size.labels("dynamodb", "eu-central-1").set(100)
    telemetry.sessions_open.set(sessions)
    telemetry.build.labels("1.2.3").set(1)
    telemetry.watch_expiry(lambda: [("cognito", expiry)])
    return telemetry


def take(tally: Tally, name: str, telemetry: Telemetry) -> None:
    tally.take(name, orjson.loads(orjson.dumps(scraped(telemetry.registry))))


def samples(tally: Tally) -> dict[str, float]:
    """What Prometheus reads: samples by name, and by the name of the worker where they have one."""
    registry = CollectorRegistry()
    registry.register(tally)
    page = generate_latest(registry).decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            worker = sample.labels.get("worker")
            bucket = sample.labels.get("le")
            name = sample.name + (f"@{worker}" if worker else "") + (f"<{bucket}" if bucket else "")
            assert name not in found
            found[name] = sample.value
    return found


def test_counters_and_histograms_are_added_up() -> None:
    tally = Tally()
    take(tally, "0", worker(calls=3))
    take(tally, "1", worker(calls=4))
    found = samples(tally)
    assert found["awsidecar_rpc_total"] == 7
    assert found["awsidecar_rpc_duration_seconds_count"] == 7
    assert found["awsidecar_rpc_duration_seconds_bucket<0.001"] == 0
    assert found["awsidecar_rpc_duration_seconds_bucket<0.0025"] == 7
    assert found["awsidecar_rpc_duration_seconds_bucket<+Inf"] == 7
    assert (found["awsidecar_worker_rpc_total@0"], found["awsidecar_worker_rpc_total@1"]) == (3, 4)


def test_gauges_are_what_they_mean_for_all_workers() -> None:
    tally = Tally()
    take(tally, "0", worker(sessions=5, expiry=60.0))
    take(tally, "1", worker(sessions=4, expiry=30.0))
    found = samples(tally)
    assert found["awsidecar_rpc_in_flight"] == 2
    assert found["awsidecar_aws_pool_in_use"] == 2
    assert found["awsidecar_aws_pool_size"] == 200
    assert found["awsidecar_sessions_open"] == 5
    assert found["awsidecar_build_info"] == 1
    assert found["awsidecar_credential_seconds_to_expiry"] == 30.0


def test_what_belongs_to_a_process_has_its_name() -> None:
    tally = Tally()
    take(tally, "0", worker())
    take(tally, "supervisor", worker())
    found = samples(tally)
    assert {"process_resident_memory_bytes@0", "process_resident_memory_bytes@supervisor"} <= set(found)
    assert "process_resident_memory_bytes" not in found


def test_newer_scrape_takes_the_place_of_the_older_one() -> None:
    tally = Tally()
    take(tally, "0", worker(calls=3))
    take(tally, "0", worker(calls=5))
    assert samples(tally)["awsidecar_rpc_total"] == 5


def test_dead_worker_still_counts_and_has_nothing_in_flight() -> None:
    tally = Tally()
    take(tally, "0", worker(calls=3))
    take(tally, "1", worker(calls=4))
    tally.retire("1")
    found = samples(tally)
    assert found["awsidecar_rpc_total"] == 7
    assert found["awsidecar_rpc_in_flight"] == 1
    assert "process_resident_memory_bytes@1" not in found
    take(tally, "1", worker(calls=1))
    assert samples(tally)["awsidecar_rpc_total"] == 8
    tally.retire("1")
    tally.retire("nobody")
    assert samples(tally)["awsidecar_rpc_total"] == 8


@given(st.lists(st.tuples(st.sampled_from("012"), st.booleans(), st.integers(0, 3)), max_size=12))
def test_counters_never_fall(steps: list[tuple[str, bool, int]]) -> None:
    tally = Tally()
    calls: dict[str, int] = {}
    shown = 0.0
    for name, dies, more in steps:
        if dies:
            tally.retire(name)
            calls.pop(name, None)
        else:
            calls[name] = calls.get(name, 0) + more
            take(tally, name, worker(calls=calls[name]))
        now = samples(tally).get("awsidecar_rpc_total", 0.0)
        assert now >= shown
        shown = now
