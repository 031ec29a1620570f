"""Whoever made a response hears when the peer has not taken it."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit import virtual_time
from tests.unit.http2.peer import OK, TRAILERS, Peer, open_request

from awsidecar_server.http2 import frames
from awsidecar_server.http2.stream import Stream

RESET = frames.rst_stream(1, frames.CANCEL)


@pytest.fixture
def untaken() -> list[int]:
    """The streams whose response was not taken."""
    return []


async def requested(peer: Peer, untaken: list[int], *, window: int = 65_535) -> Stream:
    await peer.begin(_4=window)
    await peer.send(open_request(1, ends=True))
    stream = peer.requests[0].stream
    stream.untaken = lambda: untaken.append(stream.id)
    return stream


async def test_response_that_is_taken_is_nothing_to_hear_of(peer: Peer, untaken: list[int]) -> None:
    stream = await requested(peer, untaken)
    stream.respond(OK, b"answer", TRAILERS)
    await peer.send(frames.ping(bytes(8)))
    peer.end()
    assert untaken == []


async def test_reset_without_an_error_is_a_peer_that_has_read_all(peer: Peer, untaken: list[int]) -> None:
    stream = await requested(peer, untaken)
    stream.respond(OK, b"answer", TRAILERS)
    await peer.send(frames.rst_stream(1, frames.NO_ERROR))
    peer.end()
    assert untaken == []


async def test_reset_that_crosses_the_response_says_that_it_was_not_taken(peer: Peer, untaken: list[int]) -> None:
    stream = await requested(peer, untaken)
    stream.respond(OK, b"answer", TRAILERS)
    await peer.send(RESET, RESET)
    peer.end()
    assert untaken == [1]


@pytest.mark.parametrize("end", ["reset", "lost"])
async def test_response_that_waits_for_room_is_not_taken_when_its_caller_has_left(
    peer: Peer, untaken: list[int], end: str
) -> None:
    stream = await requested(peer, untaken, window=0)
    stream.respond(OK, b"answer", TRAILERS)
    assert untaken == []
    if end == "reset":
        await peer.send(RESET)
    peer.end()
    assert untaken == [1]


async def test_response_to_a_request_that_was_given_up_is_not_taken(peer: Peer, untaken: list[int]) -> None:
    stream = await requested(peer, untaken)
    stream.untaken = None  # as it is until the response is made
    await peer.send(RESET)
    stream.untaken = lambda: untaken.append(stream.id)
    stream.respond(OK, b"answer", TRAILERS)
    assert untaken == [1]


async def test_response_that_would_let_too_much_wait_is_not_taken(untaken: list[int]) -> None:
    peer = Peer(waiting_bytes=3)
    stream = await requested(peer, untaken, window=0)
    stream.respond(OK, b"answer", TRAILERS)
    assert untaken == [1]
    peer.end()


def test_response_is_remembered_for_as_long_as_a_reset_may_take(untaken: list[int]) -> None:
    async def play() -> None:
        peer = Peer()
        await peer.begin()
        for number in (1, 3, 5):
            await peer.send(open_request(number, ends=True))
            peer.requests[-1].stream.untaken = lambda number=number: untaken.append(number)
            peer.requests[-1].stream.respond(OK, b"answer", TRAILERS)
            await asyncio.sleep(20)
        await peer.send(*(frames.rst_stream(number, frames.CANCEL) for number in (1, 3, 5)))
        peer.end()

    virtual_time.run(play())
    assert untaken == [3, 5]


@pytest.mark.parametrize(("streams", "remembered"), [(3000, 6000), (15_000, 20_000)])
async def test_twice_as_many_responses_are_remembered_as_may_be_open_up_to_a_limit(
    untaken: list[int], streams: int, remembered: int
) -> None:
    peer, last = Peer(streams=streams), 2 * remembered + 1
    await peer.begin()
    for number in range(1, last + 2, 2):
        peer.connection.data_received(open_request(number, ends=True))
        peer.requests[-1].stream.untaken = lambda number=number: untaken.append(number)
        peer.requests[-1].stream.respond(OK, b"", TRAILERS)
    await peer.received()
    await peer.send(*(frames.rst_stream(number, frames.CANCEL) for number in (1, 3, last)))
    assert untaken == [3, last]
    peer.end()
