"""What may wait, and how connections share it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.http2.peer import OK, TRAILERS, Peer, body_of, of_kind, open_request

from awsidecar_server.http2 import frames
from awsidecar_server.http2.budget import Budget, Share


def fill(share: Share) -> None:
    while share.take(1):
        pass


def test_one_connection_has_half_and_leaves_as_much_to_each_of_those_that_come() -> None:
    budget = Budget(1200)
    shares = [budget.share() for _ in range(3)]
    for share in shares:
        fill(share)
    assert [share.held_bytes for share in shares] == [600, 300, 150]
    shares[0].give_back(600)
    fill(shares[2])
    assert shares[2].held_bytes == 450


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 300), st.booleans())))
def test_nobody_ever_has_more_than_is_left(steps: list[tuple[int, int, bool]]) -> None:
    budget = Budget(1000)
    shares = [budget.share() for _ in range(4)]
    for number, size, gives_back in steps:
        share = shares[number]
        if gives_back:
            share.give_back(min(size, share.held_bytes))
        elif share.take(size):
            assert share.held_bytes <= budget.limit_bytes - budget.held_bytes
        assert budget.held_bytes == sum(one.held_bytes for one in shares) <= budget.limit_bytes


async def test_client_that_takes_nothing_does_not_have_others_refused() -> None:
    budget = Budget(1000)
    stuck, other = Peer(sharing=budget), Peer(sharing=budget)
    await stuck.begin(_4=0)
    await other.begin(_4=0)
    for number in range(1, 41, 2):
        await stuck.send(open_request(number, ends=True))
        stuck.requests[-1].stream.respond(OK, b"x" * 60, TRAILERS)
    refused = of_kind(await stuck.received(), frames.RST_STREAM)
    assert {frame.number for frame in refused} == {frames.ENHANCE_YOUR_CALM}
    assert 0 < len(refused) < 20
    await other.send(open_request(1, ends=True))
    other.requests[0].stream.respond(OK, b"y" * 200, TRAILERS)
    assert body_of(await other.send(frames.window_update(1, 200)), 1) == b"y" * 200
    stuck.end()
    other.end()
    assert budget.held_bytes == 0
