"""Calls of AWS's JSON protocol on a machine whose clock is wrong."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from tests.unit.aws.sending import BUSY, HOUR, NOW, OK, ONCE, Harness
from tests.unit.aws.transport import (
    Posted,
    refusal,
)

from awsidecar_server.aws.http import HttpAnswer


class TestClock:
    """Our clock is at `NOW`; AWS's is an hour ahead."""

    DATE = format_datetime(datetime.fromtimestamp(NOW + HOUR, UTC), usegmt=True)

    def skewed(self, code: str = "InvalidSignatureException") -> HttpAnswer:
        return refusal(code, date=self.DATE)

    async def test_request_is_signed_anew_with_the_time_of_aws(self) -> None:
        harness = Harness(self.skewed(), OK)
        assert (await harness.post()).attempts == 2
        first, second = (one.headers for one in harness.posted)
        assert (first["X-Amz-Date"], second["X-Amz-Date"]) == ("20300102T030405Z", "20300102T040405Z")
        assert first["Authorization"] != second["Authorization"]
        assert harness.pauses == []
        await harness.post()
        assert harness.posted[2].headers["X-Amz-Date"] == "20300102T040405Z"

    async def test_refusal_that_is_not_borne_out_corrects_no_other_call(self) -> None:
        """Somebody between us and AWS may have written it."""
        harness = Harness(self.skewed(), refusal("SignatureDoesNotMatch"), OK)
        await harness.rejection()
        await harness.post()
        dates = [one.headers["X-Amz-Date"] for one in harness.posted]
        assert dates == ["20300102T030405Z", "20300102T040405Z", "20300102T030405Z"]

    async def test_attempts_after_the_correction_are_signed_with_it(self) -> None:
        harness = Harness(self.skewed(), BUSY, OK)
        await harness.post()
        assert [one.headers["X-Amz-Date"][-7:] for one in harness.posted] == ["030405Z", "040405Z", "040405Z"]

    async def test_calls_that_are_refused_at_once_are_all_signed_anew(self) -> None:
        """Twenty are under way before the first to come back knows better."""

        def by_its_date(posted: Posted) -> HttpAnswer:
            return OK if posted.headers["X-Amz-Date"] == "20300102T040405Z" else self.skewed()

        harness = Harness(by_its_date)
        assert {reply.attempts for reply in await asyncio.gather(*[harness.post() for _ in range(20)])} <= {1, 2}

    async def test_date_that_came_in_plaintext_is_not_believed(self) -> None:
        harness = Harness(self.skewed(), endpoint_url="http://aws.test")
        assert (await harness.rejection()).attempts == 1

    async def test_correction_may_take_one_attempt_more_and_says_so(self) -> None:
        harness = Harness(self.skewed(), OK, max_attempts=1)
        await harness.post()
        counted = [one.headers["amz-sdk-request"] for one in harness.posted]
        assert counted == ["attempt=1; max=1", "attempt=2; max=2"]

    async def test_it_is_corrected_once_in_a_call(self) -> None:
        later = format_datetime(datetime.fromtimestamp(NOW + 2 * HOUR, UTC), usegmt=True)
        harness = Harness(self.skewed(), refusal("InvalidSignatureException", date=later))
        assert (await harness.rejection()).attempts == 2
        assert len(harness.posted) == 2

    async def test_it_is_corrected_after_a_failure_of_another_kind(self) -> None:
        harness = Harness(BUSY, self.skewed(), OK)
        assert (await harness.post()).attempts == 3

    async def test_write_that_must_happen_once_is_signed_anew_too(self) -> None:
        harness = Harness(self.skewed("RequestExpired"), OK)
        assert (await harness.post("UpdateItem", ONCE["UpdateItem"])).attempts == 2

    @pytest.mark.parametrize("code", ["ValidationException", "InvalidSignatureException"])
    async def test_refusal_that_has_nothing_to_do_with_it_corrects_nothing(self, code: str) -> None:
        date = self.DATE if code == "ValidationException" else format_datetime(datetime.fromtimestamp(NOW, UTC))
        harness = Harness(refusal(code, date=date))
        assert (await harness.rejection()).attempts == 1

    async def test_correction_can_be_switched_off(self) -> None:
        harness = Harness(self.skewed(), disable_clock_skew_correction=True)
        assert (await harness.rejection()).attempts == 1
