"""What may wait, and how connections share it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.http2.peer import OK, TRAILERS, Peer, body_of, data, of_kind, open_request

from awsidecar_server.http2 import frames
from awsidecar_server.http2.budget import Budget, Share
from awsidecar_server.http2.hpack import encoded


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


def test_those_that_keep_all_that_they_can_get_leave_something_for_each_of_many() -> None:
    budget = Budget(1 << 20)
    for size in [1000] * 24 + [1] * 24:
        share = budget.share()
        while share.take(size):
            pass
    for _ in range(200):
        assert budget.share().take(512)
    assert budget.held_bytes <= budget.limit_bytes


@given(st.sampled_from([1000, 10_000]), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3000), st.booleans())))
def test_nobody_ever_has_more_than_is_left(limit: int, steps: list[tuple[int, int, bool]]) -> None:
    budget = Budget(limit)
    shares = [budget.share() for _ in range(4)]
    for number, size, gives_back in steps:
        share = shares[number]
        if gives_back:
            share.give_back(min(size, share.held_bytes))
        elif share.take(size):
            assert share.held_bytes <= max(budget.sure_bytes, budget.limit_bytes - budget.held_bytes)
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


async def test_details_of_failures_that_nobody_takes_count_among_what_waits() -> None:
    peer = Peer(waiting_bytes=100_000)
    await peer.begin()
    peer.connection.pause_writing()
    details = encoded("grpc-status-details-bin", "x" * 20_000)
    for number in range(1, 21, 2):
        await peer.send(open_request(number, ends=True))
        peer.requests[-1].stream.end(OK + details)
        assert peer.budget.held_bytes <= 50_000
    assert [request.is_lost for request in peer.requests] == [False] * 2 + [True] * 8
    peer.end()
    assert peer.budget.held_bytes == 0


async def test_response_that_its_caller_has_room_for_needs_nothing_of_what_may_wait() -> None:
    peer = Peer(waiting_bytes=0)
    await peer.begin()
    await peer.send(open_request(1, ends=True), open_request(3, ends=True))
    peer.requests[0].stream.respond(OK, b"x" * 20_000, TRAILERS)
    peer.requests[1].stream.begin(OK)
    await peer.requests[1].stream.write(b"y" * 20_000)
    peer.requests[1].stream.end(TRAILERS)
    found = await peer.received()
    assert (body_of(found, 1), body_of(found, 3)) == (b"x" * 20_000, b"y" * 20_000)
    assert not of_kind(found, frames.RST_STREAM)
    peer.end()


async def test_response_that_is_in_part_on_its_way_counts_as_a_whole() -> None:
    peer = Peer(waiting_bytes=100_000)
    await peer.begin(_4=19_999)
    await peer.send(open_request(1, ends=True))
    peer.requests[0].stream.respond(OK, b"x" * 20_000, TRAILERS)
    assert peer.budget.held_bytes == 20_000 + len(TRAILERS)
    await peer.send(frames.window_update(1, 1))
    assert peer.budget.held_bytes == 0
    peer.end()


async def test_response_one_too_many_for_a_peer_that_takes_none_is_given_up() -> None:
    peer = Peer(waiting_bytes=200)
    await peer.begin(_4=0)
    await peer.send(open_request(1, ends=True), open_request(3, ends=True))
    for request in peer.requests:
        request.stream.respond(OK, b"x" * 60, TRAILERS)
    (refused,) = of_kind(await peer.received(), frames.RST_STREAM)
    assert (refused.stream_id, refused.number) == (3, frames.ENHANCE_YOUR_CALM)
    assert body_of(await peer.send(frames.window_update(1, 100)), 1) == b"x" * 60
    assert peer.budget.held_bytes == 0
    peer.end()


async def test_rest_of_a_request_whose_response_is_given_up_harms_no_other() -> None:
    peer = Peer(waiting_bytes=200)
    await peer.begin(_4=0)
    await peer.send(open_request(1, ends=True), open_request(3))
    for request in peer.requests:
        request.stream.respond(OK, b"x" * 60, TRAILERS)
    assert of_kind(await peer.received(), frames.RST_STREAM)
    assert not await peer.send(*[data(3, b"on its way")] * 3000)
    assert body_of(await peer.send(frames.window_update(1, 100)), 1) == b"x" * 60
    peer.end()


@pytest.mark.parametrize("end", ["reset", "lost"])
async def test_what_waited_is_given_back_when_nobody_wants_it(end: str) -> None:
    peer = Peer(waiting_bytes=200)
    await peer.begin(_4=0)
    await peer.send(open_request(1, ends=True))
    peer.requests[0].stream.respond(OK, b"x" * 60, TRAILERS)
    assert peer.budget.held_bytes == 60 + len(TRAILERS)
    if end == "reset":
        await peer.send(frames.rst_stream(1, frames.CANCEL))
    peer.end()
    assert peer.budget.held_bytes == 0
