"""What is counted of calls of AWS's JSON protocol."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.aws.sending import ANN, BUSY, OK, REGION, THROTTLED, Harness
from tests.unit.aws.transport import (
    LOST,
    Posted,
    Step,
    refusal,
)

from awsidecar_server.aws.http import HttpAnswer
from awsidecar_server.errors import AwsRejected, AwsUnreachable, InvalidRequest


class TestMetrics:
    async def test_attempts_and_throttles_are_counted_and_the_call_once(self) -> None:
        harness = Harness(THROTTLED, BUSY, OK)
        await harness.post()
        assert harness.metric("attempts_total") == 3
        assert harness.metric("throttles_total") == 1
        assert harness.outcomes("ok") == 1

    @pytest.mark.parametrize(
        ("step", "outcome"), [(refusal("ValidationException"), "rejected"), (LOST, "unreachable")]
    )
    async def test_call_that_failed_is_counted_by_how(self, step: Step, outcome: str) -> None:
        harness = Harness(step)
        with pytest.raises((AwsRejected, AwsUnreachable)):
            await harness.post()
        assert harness.outcomes(outcome) == 1
        assert harness.outcomes("ok") is None

    async def test_call_for_which_there_is_no_endpoint_is_counted_as_invalid(self) -> None:
        harness = Harness(OK, account_id_endpoint_mode="required")
        with pytest.raises(InvalidRequest):
            await harness.post(signed_by=ANN)
        assert (harness.outcomes("invalid"), harness.outcomes("cancelled")) == (1, None)

    async def test_call_that_failed_by_a_defect_is_counted_as_failed(self) -> None:
        def defect(_: Posted) -> HttpAnswer:
            raise KeyError("ours")

        harness = Harness(defect)
        with pytest.raises(KeyError):
            await harness.post()
        assert (harness.outcomes("failed"), harness.outcomes("cancelled")) == (1, None)

    async def test_cancelled_call_ends_its_request(self) -> None:
        harness = Harness()
        calling = asyncio.create_task(harness.post())
        await harness.transport.asked.wait()
        assert harness.metric("pool_in_use", region=REGION) == 1
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert harness.transport.cancelled == 1
        assert harness.outcomes("cancelled") == 1
        assert harness.metric("pool_in_use", region=REGION) == 0

    async def test_cancelled_pause_sends_nothing_more(self) -> None:
        pausing = asyncio.Event()

        async def never(_: float) -> None:
            pausing.set()
            await asyncio.Event().wait()

        harness = Harness(BUSY, OK)
        harness.sender._pause = never
        calling = asyncio.create_task(harness.post())
        await pausing.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert len(harness.posted) == 1
