from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsidecar_server.api.metadata import Metadata, Regions, conflict_attempts, details_budget, trace_id
from awsidecar_server.config import AwsConfig
from awsidecar_server.errors import Forbidden, InvalidRequest

REGIONS = Regions.of(AwsConfig(region="eu-central-1", allowed_regions=("us-east-1",)))


@pytest.mark.parametrize(
    ("metadata", "region"),
    [
        ((), "eu-central-1"),
        ((("x-awsidecar-region", "us-east-1"),), "us-east-1"),
        ((("x-awsidecar-region", "eu-central-1"),), "eu-central-1"),
        ((("user-agent", "grpc"), ("x-awsidecar-regions", "us-east-1")), "eu-central-1"),
    ],
)
def test_region_is_the_one_named_or_the_configured_one(metadata: Metadata, region: str) -> None:
    assert REGIONS.chosen_by(metadata) == region


def test_region_that_is_not_text_is_refused_rather_than_passed_over() -> None:
    with pytest.raises(InvalidRequest):
        REGIONS.chosen_by((("x-awsidecar-region-bin", b"us-east-1"),))


def test_trace_is_that_of_traceparent() -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    assert trace_id((("traceparent", f"00-{trace}-b7ad6b7169203331-01"),)) == trace
    assert trace_id((("traceparent", "nonsense"),)) is None
    assert trace_id(()) is None


@pytest.mark.parametrize("named", ["eu-west-1", "", "EU-CENTRAL-1", "us-east-1 ", "x" * 500])
def test_region_that_is_not_allowed_is_refused_and_given_back_bounded(named: str) -> None:
    with pytest.raises(Forbidden) as refused:
        REGIONS.chosen_by((("x-awsidecar-region", named),))
    assert refused.value.reason == "REGION_NOT_ALLOWED"
    assert refused.value.metadata == {"region": named[:64]}


@pytest.mark.parametrize(
    "metadata",
    [
        (("x-awsidecar-region", "us-east-1"), ("x-awsidecar-region", "us-east-1")),
        (("x-awsidecar-region-bin", b"us-east-1"),),
    ],
)
def test_region_that_is_named_twice_or_not_as_text_is_refused(metadata: Metadata) -> None:
    """Passed over, it would send a call to another region than its caller means."""
    with pytest.raises(InvalidRequest) as refused:
        REGIONS.chosen_by(metadata)
    assert refused.value.metadata == {"field": "x-awsidecar-region"}


@pytest.mark.parametrize(
    ("said", "budget"),
    [
        (None, 4096),
        ("0", 4096),
        ("4095", 4096),
        ("20000", 20_000),
        ("1048576", 1024 * 1024),
        ("99999999999", 1024 * 1024),
        ("-1", 4096),
        ("1e6", 4096),
        ("", 4096),
        ("9" * 400, 4096),
        ("²", 4096),
    ],
)
def test_budget_of_details_is_what_the_caller_says_within_bounds(said: str | None, budget: int) -> None:
    assert details_budget(() if said is None else (("x-awsidecar-max-details-bytes", said),)) == budget


@given(st.text(max_size=20))
def test_budget_is_bounded_whatever_is_said(said: str) -> None:
    assert 4096 <= details_budget((("x-awsidecar-max-details-bytes", said),)) <= 1024 * 1024


@pytest.mark.parametrize(
    ("said", "attempts"), [(None, 0), ("false", 0), ("true", 10), ("1", 1), ("7", 7), ("100", 100)]
)
def test_conflicts_are_tried_as_often_as_the_caller_says(said: str | None, attempts: int) -> None:
    assert conflict_attempts(() if said is None else (("x-awsidecar-retry-conflicts", said),)) == attempts


@pytest.mark.parametrize("said", ["", "0", "101", "-1", "1000", "00011000", "yes", "True", "²", "9" * 400])
def test_number_of_attempts_that_cannot_be_followed_is_refused(said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        conflict_attempts((("x-awsidecar-retry-conflicts", said),))
    assert refused.value.metadata == {"field": "x-awsidecar-retry-conflicts"}


TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        ((), None),
        ((("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"),), TRACE),
        ((("traceparent", f"01-{TRACE}-b7ad6b7169203331-01-what-comes-later"),), TRACE),
        ((("traceparent", f"00-{TRACE.upper()}-b7ad6b7169203331-01"),), None),
        ((("traceparent", "canary"), ("tracestate", TRACE)), None),
    ],
)
def test_trace_is_taken_from_traceparent(metadata: Metadata, found: str | None) -> None:
    assert trace_id(metadata) == found


def test_retries_of_conflicts_that_are_asked_for_twice_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="x-awsidecar-retry-conflicts: is given twice"):
        conflict_attempts((("x-awsidecar-retry-conflicts", "3"), ("x-awsidecar-retry-conflicts", "true")))
