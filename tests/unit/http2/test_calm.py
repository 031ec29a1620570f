"""How much of what costs us and moves nothing is borne."""

from __future__ import annotations

import pytest
from tests.unit.http2.peer import Peer, of_kind, open_request

from awsidecar_server.http2 import frames
from awsidecar_server.http2.calm import Calm
from awsidecar_server.http2.frames import ConnectionFailed


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("is_rapid", "most"), [(True, 5_000), (False, 150_000)])
def test_so_many_resets_are_borne_in_a_period(is_rapid: bool, most: int) -> None:
    clock = Clock()
    calm = Calm(clock)
    for _ in range(most):
        calm.reset(is_rapid=is_rapid)
    clock.now += 10.0
    calm.reset(is_rapid=is_rapid)  # a new period begins
    for _ in range(most):
        calm.reset(is_rapid=is_rapid)
    with pytest.raises(ConnectionFailed) as failed:
        calm.reset(is_rapid=is_rapid)
    assert failed.value.code == frames.ENHANCE_YOUR_CALM


async def test_client_that_gives_up_many_calls_that_were_begun_keeps_its_connection() -> None:
    """As a gateway does that asks twice, or whose deadlines pass while AWS is slow."""
    peer = Peer()
    await peer.begin()
    for number in range(1, 40_000, 2):
        peer.connection.data_received(open_request(number, ends=True))
        peer.connection.data_received(frames.rst_stream(number, frames.CANCEL))
    assert not peer.transport.is_closed
    assert not of_kind(await peer.received(), frames.GOAWAY)
    assert all(request.is_lost for request in peer.requests)
    peer.end()
