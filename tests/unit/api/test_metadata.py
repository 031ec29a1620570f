from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsidecar_server.api.metadata import Metadata, Regions, details_budget
from awsidecar_server.config import AwsConfig
from awsidecar_server.errors import Forbidden, InvalidRequest

REGIONS = Regions.of(AwsConfig(region="eu-central-1", allowed_regions=("us-east-1",)))


@pytest.mark.parametrize(
    ("metadata", "region"),
    [
        ((), "eu-central-1"),
        ((("x-awsidecar-region", "us-east-1"),), "us-east-1"),
        ((("x-awsidecar-region", "eu-central-1"),), "eu-central-1"),
        ((("user-agent", "grpc"), ("x-awsidecar-region-bin", b"us-east-1")), "eu-central-1"),
    ],
)
def test_region_is_the_one_named_or_the_configured_one(metadata: Metadata, region: str) -> None:
    assert REGIONS.chosen_by(metadata) == region


@pytest.mark.parametrize("named", ["eu-west-1", "", "EU-CENTRAL-1", "us-east-1 ", "x" * 500])
def test_region_that_is_not_allowed_is_refused_and_given_back_bounded(named: str) -> None:
    with pytest.raises(Forbidden) as refused:
        REGIONS.chosen_by((("x-awsidecar-region", named),))
    assert refused.value.reason == "REGION_NOT_ALLOWED"
    assert refused.value.metadata == {"region": named[:64]}


def test_region_that_is_named_twice_is_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        REGIONS.chosen_by((("x-awsidecar-region", "us-east-1"), ("x-awsidecar-region", "us-east-1")))
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
