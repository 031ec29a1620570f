from __future__ import annotations

import asyncio
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from awsidecar_server.ops.telemetry import AwsMetrics, RpcMetrics, Telemetry

# Everything a label may say. None of it is a user's, an organisation's, a table's or an item's.
LABELS = {
    "grpc_service", "grpc_method", "grpc_code", "aws_service", "operation", "outcome", "tier", "event", "version", "le", "region",
}  # fmt: skip


@pytest.fixture
def telemetry() -> Telemetry:
    """One of everything, counted once."""
    telemetry = Telemetry()
    rpc = RpcMetrics(telemetry, "awsidecar.dynamodb.v1.DynamoDbService", "GetItem")
    rpc.in_flight += 1
    rpc.finished("OK", 0.002)
    aws = AwsMetrics(telemetry, "dynamodb", "eu-central-1", "GetItem")
    aws.pool_in_use.inc()
    aws.finished("ok", 0.001)
    telemetry.aws_attempts.labels("dynamodb", "GetItem").inc(3)
    telemetry.aws_throttles.labels("dynamodb", "GetItem").inc()
    telemetry.aws_pool_size.labels("dynamodb", "eu-central-1").set(100)
    telemetry.credential_event("cognito", "hit")
    telemetry.watch_expiry(lambda: [("cognito", 59.5)])
    telemetry.sessions_open.set_function(lambda: 7)
    telemetry.errors_internal.inc()
    telemetry.build.labels("1.2.3").set(1)
    return telemetry


def text(telemetry: Telemetry) -> str:
    return asyncio.run(telemetry.page())[0].decode()


def test_page_is_what_prometheus_reads(telemetry: Telemetry) -> None:
    assert asyncio.run(telemetry.page())[1].startswith("text/plain")
    families = {family.name for family in text_string_to_metric_families(text(telemetry))}
    assert {"awsidecar_rpc", "awsidecar_aws_call_duration_seconds", "process_open_fds"} <= families


@pytest.mark.parametrize(
    "sample",
    [
        'awsidecar_rpc_total{grpc_code="OK",grpc_method="GetItem",grpc_service="awsidecar.dynamodb.v1.DynamoDbService"} 1.0',
        'awsidecar_rpc_in_flight{grpc_method="GetItem",grpc_service="awsidecar.dynamodb.v1.DynamoDbService"} 1.0',
        'awsidecar_aws_call_duration_seconds_count{aws_service="dynamodb",operation="GetItem",outcome="ok"} 1.0',
        'awsidecar_aws_attempts_total{aws_service="dynamodb",operation="GetItem"} 3.0',
        'awsidecar_aws_throttles_total{aws_service="dynamodb",operation="GetItem"} 1.0',
        'awsidecar_aws_pool_in_use{aws_service="dynamodb",region="eu-central-1"} 1.0',
        'awsidecar_aws_pool_size{aws_service="dynamodb",region="eu-central-1"} 100.0',
        'awsidecar_credential_cache_events_total{event="hit",tier="cognito"} 1.0',
        'awsidecar_credential_seconds_to_expiry{tier="cognito"} 59.5',
        "awsidecar_sessions_open 7.0",
        "awsidecar_internal_errors_total 1.0",
        'awsidecar_build_info{version="1.2.3"} 1.0',
    ],
)
def test_metric_is_on_the_page(telemetry: Telemetry, sample: str) -> None:
    assert sample in text(telemetry).splitlines()


def test_labels_hold_nothing_of_a_user(telemetry: Telemetry) -> None:
    ours = [line for line in text(telemetry).splitlines() if line.startswith("awsidecar_")]
    assert {label for line in ours for label in re.findall(r'(\w+)="', line)} == LABELS


def test_names_say_their_unit_and_whose_they_are(telemetry: Telemetry) -> None:
    for family in text_string_to_metric_families(text(telemetry)):
        assert re.fullmatch(r"(awsidecar|process)_[a-z0-9_]+", family.name)
        assert family.documentation
        assert family.type != "histogram" or family.name.endswith("_seconds")


def test_each_sidecar_counts_for_itself() -> None:
    one, other = Telemetry(), Telemetry()
    one.errors_internal.inc()
    assert "awsidecar_internal_errors_total 0.0" in text(other)
