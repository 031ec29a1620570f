from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.identity.fakes import HOUR, MINUTE, SECOND, START, make_credentials

from awsidecar_server.identity.leases import Freshness, Lease


def lease(expires_at: datetime | None, *, limit: datetime | None = None, jitter: float = 0.0) -> Lease:
    return Lease.of(make_credentials(expires_at), START, limit=limit, jitter=jitter)


@pytest.mark.parametrize(
    ("life", "jitter", "window"),
    [
        (12 * HOUR, 0.0, 10 * MINUTE),
        (HOUR, 0.0, 10 * MINUTE),
        (HOUR, 1.0, 15 * MINUTE),
        (15 * MINUTE, 0.0, 5 * MINUTE),
        (15 * MINUTE, 1.0, 6.25 * MINUTE),
    ],
)
def test_new_credentials_are_sought_late_in_a_life(life: timedelta, jitter: float, window: timedelta) -> None:
    held = lease(START + life, jitter=jitter)
    assert held.freshness(START + life - window - SECOND) is Freshness.NOT_REQUIRED
    assert held.freshness(START + life - window) is Freshness.SOON
    assert held.freshness(START + life - 5.1 * SECOND) is Freshness.SOON
    assert held.freshness(START + life - 5 * SECOND) is Freshness.REQUIRED


def test_credentials_without_an_end_are_read_again_softly() -> None:
    held = lease(None)
    assert held.freshness(START + 5 * MINUTE - SECOND) is Freshness.NOT_REQUIRED
    assert held.freshness(START + 5 * MINUTE) is Freshness.SOON
    assert held.freshness(START + 10_000 * HOUR) is Freshness.SOON


def test_nothing_new_is_sought_for_a_token_that_ends_first() -> None:
    held = lease(START + HOUR, limit=START + 10 * MINUTE)
    assert held.credentials.expires_at == START + 10 * MINUTE
    assert held.freshness(START + 10 * MINUTE - SECOND) is Freshness.NOT_REQUIRED
    assert held.freshness(START + 10 * MINUTE) is Freshness.REQUIRED


def test_credentials_without_an_end_end_with_the_token() -> None:
    held = lease(None, limit=START + HOUR)
    assert held.credentials.expires_at == START + HOUR
    assert held.freshness(START + HOUR) is Freshness.REQUIRED


_TIMES = st.timedeltas(timedelta(seconds=6), timedelta(days=7))


@settings(deadline=None)
@given(life=_TIMES, token_life=st.none() | _TIMES, jitter=st.floats(0, 1), at=_TIMES)
def test_nothing_is_served_past_any_end_nor_renewed_in_the_first_half_of_its_life(
    life: timedelta, token_life: timedelta | None, jitter: float, at: timedelta
) -> None:
    limit = None if token_life is None else START + token_life
    held = lease(START + life, limit=limit, jitter=jitter)
    ends = [end for end in (life, token_life) if end is not None]
    assert held.credentials.expires_at == START + min(ends)
    if at >= min(ends):
        assert held.freshness(START + at) is Freshness.REQUIRED
    elif life > 12 * SECOND and at < life / 2:
        assert held.freshness(START + at) is Freshness.NOT_REQUIRED
