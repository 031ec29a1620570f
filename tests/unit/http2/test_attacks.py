"""What is allowed once, and costs more than it should when it does not stop."""

from __future__ import annotations

import asyncio
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit import virtual_time
from tests.unit.http2.peer import HEAD, OK, TRAILERS, Frame, Peer, data, of_kind, open_request

from awsidecar_server.http2 import frames
from awsidecar_server.http2.budget import Budget
from awsidecar_server.http2.hpack import encoded


def steps_of(peer: Peer, attack: bytes) -> int:
    """How many functions are called for what the peer sends."""
    steps = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal steps
        steps += event == "call"

    sys.setprofile(count)
    try:
        peer.connection.data_received(attack)
    finally:
        sys.setprofile(None)
    return steps


def goaway_code(found: list[Frame]) -> int:
    return int.from_bytes(of_kind(found, frames.GOAWAY)[-1].payload[4:8], "big")


async def ended_by(peer: Peer, attack: bytes, most: int) -> int:
    """The code that the peer is told at the end of the connection; the attack is repeated up to so many times."""
    for _ in range(most):
        found = await peer.send(attack)
        if peer.transport.is_closed:
            return goaway_code(found)
    raise AssertionError("the connection bears it")


async def test_rapid_resets(peer: Peer) -> None:
    await peer.begin()
    for number in range(1, 20_000, 2):
        peer.connection.data_received(open_request(number, ends=True) + frames.rst_stream(number, 8))
        if peer.transport.is_closed:
            assert goaway_code(await peer.received()) == frames.ENHANCE_YOUR_CALM
            return
    raise AssertionError("the connection bears it")


@pytest.mark.parametrize(
    "frame",
    [
        frames.settings({}),
        data(1, b""),
        frames.head(0, 0x20, 0, 0),
        frames.head(5, frames.PRIORITY, 0, 3) + bytes(5),
    ],
    ids=["settings", "empty data", "unknown frames", "priorities"],
)
async def test_frames_that_move_nothing(peer: Peer, frame: bytes) -> None:
    await peer.begin()
    await peer.send(open_request(1))
    assert await ended_by(peer, frame * 100, 100) == frames.ENHANCE_YOUR_CALM


async def test_pings_whose_answers_are_not_taken(peer: Peer) -> None:
    await peer.begin()
    peer.connection.pause_writing()
    for _ in range(200):
        assert not await peer.send(frames.ping(bytes(8)) * 1000)
        if peer.transport.is_closed:
            return
    raise AssertionError("the connection bears it")


async def test_requests_whose_refusals_are_not_taken() -> None:
    """Answers without a body have no window that would hold them back."""
    peer = Peer(streams=10)
    await peer.begin()
    peer.connection.pause_writing()
    for number in range(1, 21, 2):
        await peer.send(open_request(number, ends=True))
        peer.requests[-1].stream.end(OK + TRAILERS)
    assert await peer.received() == []
    await peer.send(open_request(21, ends=True))
    assert len(peer.requests) == 10
    peer.connection.resume_writing()
    found = await peer.received()
    assert {frame.stream_id for frame in of_kind(found, frames.HEADERS)} == set(range(1, 21, 2))
    assert [frame.stream_id for frame in of_kind(found, frames.RST_STREAM)] == [21]
    peer.end()


async def test_resets_that_are_not_taken() -> None:
    peer = Peer(streams=1)
    await peer.begin()
    peer.connection.pause_writing()
    number = 1
    while not peer.transport.is_closed:
        assert number < 400_000, "the connection bears it"
        peer.connection.data_received(open_request(number) + data(number, b"x"))
        if peer.requests:
            peer.requests.pop().stream.reset(frames.CANCEL)
        number += 2
    peer.end()


async def test_window_that_grows_by_bytes_does_not_make_us_look_at_streams_that_have_none_of_their_own() -> None:
    peer = Peer(streams=2000)
    await peer.begin(_4=0)
    for number in range(1, 4000, 2):
        peer.connection.data_received(open_request(number, ends=True))
        peer.requests[-1].stream.respond(OK, b"answer", TRAILERS)
    assert steps_of(peer, frames.window_update(0, 1) * 100) < 1000
    peer.end()


async def test_settings_that_name_the_window_a_thousand_times_count_once() -> None:
    peer = Peer()
    await peer.begin()
    await peer.send(open_request(1, ends=True))
    peer.requests[0].stream.respond(OK, b"x" * 100_000, TRAILERS)
    named = frames.settings({frames.INITIAL_WINDOW_SIZE: 70_000})[frames.HEADER_BYTES :]
    other = frames.settings({frames.INITIAL_WINDOW_SIZE: 0})[frames.HEADER_BYTES :]
    payload = (other + named) * 1000
    assert steps_of(peer, frames.head(len(payload), frames.SETTINGS, 0, 0) + payload) < 100
    assert peer.requests[0].stream.window == 70_000 - frames.DEFAULT_WINDOW
    peer.end()


async def test_head_that_is_refused_before_its_block_is_read_ends_the_connection(peer: Peer) -> None:
    """The next block could not be read as it was meant."""
    await peer.begin()
    frame = frames.head(5 + len(HEAD), frames.HEADERS, frames.END_HEADERS | frames.PRIORITY_FLAG, 1)
    assert await ended_by(peer, frame + b"\0\0\0\1\0" + HEAD, 1) == frames.PROTOCOL_ERROR


async def test_content_length_of_thousands_of_digits(peer: Peer) -> None:
    await peer.begin()
    block = HEAD + encoded("content-length", "9" * 5000)
    (reset,) = of_kind(await peer.send(open_request(1, block=block)), frames.RST_STREAM)
    assert reset.number == frames.PROTOCOL_ERROR
    assert not peer.requests


def test_peer_that_sends_no_more_and_takes_nothing() -> None:
    """A transport that closes waits for its reader; somebody must end that."""

    async def play() -> None:
        peer = Peer()
        await peer.begin()
        peer.connection.eof_received()
        assert peer.transport.is_closed
        await asyncio.sleep(10)
        assert peer.transport.is_aborted
        peer.end()

    virtual_time.run(play())


async def test_data_behind_the_refusal_of_a_request_reach_nobody(peer: Peer) -> None:
    await peer.begin()
    await peer.send(open_request(1))
    peer.connection.pause_writing()
    (request,) = peer.requests
    request.stream.end(OK + TRAILERS)
    await peer.send(data(1, b"more"), data(1, b"and more", ends=True))
    assert (request.body, request.is_whole) == (b"", False)


async def test_flood_of_frames_gives_others_their_turn(peer: Peer) -> None:
    await peer.begin()
    assert steps_of(peer, frames.window_update(0, 1) * 10_000) < 5000
    turns = 0
    while not peer.transport.is_read:
        await asyncio.sleep(0)
        turns += 1
    assert turns > 30
    await peer.send(open_request(1))
    assert peer.requests


@pytest.mark.parametrize("attack", ["large heads", "windows of many streams"])
async def test_frames_that_cost_more_than_others_are_fewer_in_a_turn(attack: str) -> None:
    peer = Peer(streams=3000)
    await peer.begin()
    peer.connection.data_received(b"".join(open_request(number) for number in range(1, 4000, 2)))
    for _ in range(100):
        await asyncio.sleep(0)
    if attack == "large heads":
        block = HEAD + encoded("x", "y" * 7000)
        raw = b"".join(open_request(number, block=block) for number in range(5001, 5101, 2))
    else:
        raw = b"".join(frames.settings({frames.INITIAL_WINDOW_SIZE: size}) for size in range(50))
    peer.connection.data_received(raw)
    turns = 0
    while not peer.transport.is_read:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 10
    peer.end()


async def test_header_blocks_without_end_on_many_connections() -> None:
    budget = Budget(1 << 20)
    peers = [Peer(sharing=budget) for _ in range(100)]
    for peer in peers:
        await peer.begin()
        await peer.send(frames.head(16_000, frames.HEADERS, 0, 1) + bytes(16_000))
        if not peer.transport.is_closed:
            await peer.send(frames.head(16_000, frames.CONTINUATION, 0, 1) + bytes(16_000))
    assert budget.held_bytes <= 1 << 20
    assert any(peer.transport.is_closed for peer in peers)
    for peer in peers:
        peer.end()
    assert budget.held_bytes == 0


async def test_header_block_that_is_whole_waits_no_longer(peer: Peer) -> None:
    await peer.begin()
    await peer.send(frames.head(len(HEAD), frames.HEADERS, 0, 1) + HEAD)
    assert peer.budget.held_bytes == len(HEAD)
    await peer.send(frames.head(0, frames.CONTINUATION, frames.END_HEADERS, 1))
    assert (len(peer.requests), peer.budget.held_bytes) == (1, 0)


async def test_block_of_countless_fields(peer: Peer) -> None:
    """A byte can stand for a field of thousands."""
    await peer.begin()
    assert await ended_by(peer, open_request(1, block=b"\x82" * 10_000), 1) == frames.COMPRESSION_ERROR


async def test_header_block_without_end(peer: Peer) -> None:
    await peer.begin()
    piece = b"x" * frames.DEFAULT_FRAME_SIZE
    await peer.send(frames.head(len(piece), frames.HEADERS, 0, 1) + piece)
    assert (
        await ended_by(peer, frames.head(len(piece), frames.CONTINUATION, 0, 1) + piece, 100)
        == frames.ENHANCE_YOUR_CALM
    )


async def test_header_block_in_countless_pieces(peer: Peer) -> None:
    await peer.begin()
    await peer.send(frames.head(0, frames.HEADERS, 0, 1))
    assert await ended_by(peer, frames.head(0, frames.CONTINUATION, 0, 1), 1000) == frames.ENHANCE_YOUR_CALM


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=40))))
async def test_any_frames_are_borne_or_end_the_connection(sent: list[tuple[int, int, int, bytes]]) -> None:
    peer = Peer()
    await peer.begin()
    await peer.send(open_request(1), open_request(3, ends=True))
    for kind, flags, stream_id, payload in sent:
        await peer.send(frames.head(len(payload), kind, flags, stream_id) + payload)
    for request in peer.requests:
        request.stream.respond(OK, b"answer", TRAILERS)
    await peer.received()
    peer.end()
