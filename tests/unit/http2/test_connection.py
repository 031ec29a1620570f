"""A connection, frame by frame. That it keeps RFC 9113 throughout is shown by h2spec, in the integration tests."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit import virtual_time
from tests.unit.http2.peer import HEAD, OK, TRAILERS, Peer, body_of, data, of_kind, open_request

from awsidecar_server.http2 import frames
from awsidecar_server.http2.budget import Budget
from awsidecar_server.http2.hpack import encoded


@pytest.fixture
async def peer() -> Iterator[Peer]:  # type: ignore[misc]
    made = Peer()
    yield made
    made.end()


async def test_request_arrives_whole_however_its_bytes_are_cut(peer: Peer) -> None:
    whole = frames.PREFACE + frames.settings({}) + open_request(1) + data(1, b"abc") + data(1, b"def", ends=True)
    for at in range(len(whole)):
        peer.connection.data_received(whole[at : at + 1])
    (request,) = peer.requests
    assert request.head is not None
    assert (request.head.path, request.head.method, request.body) == ("/s/m", "POST", b"abcdef")
    assert request.is_whole


async def test_response_is_one_write_of_headers_data_and_trailers(peer: Peer) -> None:
    await peer.begin()
    await peer.send(open_request(1, ends=True))
    peer.requests[0].stream.respond(OK, b"answer", TRAILERS)
    found = await peer.received()
    assert [(one.kind, one.flags, one.payload) for one in found] == [
        (frames.HEADERS, frames.END_HEADERS, OK),
        (frames.DATA, 0, b"answer"),
        (frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, TRAILERS),
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    size=st.integers(0, 200_000),
    window=st.integers(0, 70_000),
    grants=st.lists(st.integers(1, 70_000), max_size=6),
)
async def test_no_more_is_sent_than_the_windows_allow_and_in_the_end_all_of_it(
    size: int, window: int, grants: list[int]
) -> None:
    peer = Peer()
    await peer.begin(_4=window)
    await peer.send(open_request(1, ends=True))
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    peer.requests[0].stream.respond(OK, body, TRAILERS)
    found = await peer.received()
    stream_room, room = window, frames.DEFAULT_WINDOW
    for grant in grants:
        assert len(body_of(found, 1)) <= min(stream_room, room)
        stream_room += grant
        found += await peer.send(frames.window_update(1, grant))
    assert len(body_of(found, 1)) == min(size, stream_room, room)
    found += await peer.send(frames.window_update(0, 1_000_000), frames.window_update(1, 1_000_000))
    assert body_of(found, 1) == body
    assert found[-1].flags & frames.END_STREAM
    assert all(len(one.payload) <= frames.DEFAULT_FRAME_SIZE for one in found)
    peer.end()


async def test_responses_that_wait_for_room_get_it_in_turn(peer: Peer) -> None:
    await peer.begin()
    await peer.send(*(open_request(number, ends=True) for number in (1, 3, 5)))
    for request in peer.requests:
        request.stream.respond(OK, b"x" * 60_000, TRAILERS)
    await peer.received()
    assert [bool(of_kind(await peer.send(frames.window_update(0, 60_000)), frames.DATA)) for _ in range(2)] == [
        True,
        True,
    ]


async def test_writer_waits_until_the_peer_has_room(peer: Peer) -> None:
    await peer.begin(_4=10)
    await peer.send(open_request(1, ends=True))
    stream = peer.requests[0].stream
    stream.begin(OK)
    writing = asyncio.create_task(stream.write(b"x" * 25))
    assert body_of(await peer.received(), 1) == b"x" * 10
    assert not writing.done()
    await peer.send(frames.window_update(1, 15))
    await writing


async def test_paused_transport_holds_data_back_and_lets_it_go_on(peer: Peer) -> None:
    await peer.begin()
    await peer.send(open_request(1, ends=True))
    peer.connection.pause_writing()
    peer.requests[0].stream.respond(OK, b"answer", TRAILERS)
    assert await peer.received() == []
    peer.connection.resume_writing()
    assert body_of(await peer.received(), 1) == b"answer"


async def test_sender_that_is_not_read_may_send_one_window_and_no_more(peer: Peer) -> None:
    peer.takes = False
    await peer.begin()
    await peer.send(open_request(1))
    chunk, sent = b"x" * frames.DEFAULT_FRAME_SIZE, 0
    while not (found := await peer.send(data(1, chunk))) or not of_kind(found, frames.RST_STREAM):
        sent += len(chunk)
    assert sent == 1024 * 1024
    assert of_kind(found, frames.RST_STREAM)[0].number == frames.FLOW_CONTROL_ERROR
    assert peer.requests[0].is_lost


async def test_sender_that_is_read_may_go_on(peer: Peer) -> None:
    await peer.begin()
    await peer.send(open_request(1))
    chunk = b"x" * frames.DEFAULT_FRAME_SIZE
    granted = 0
    for _ in range(3 * 64):
        granted += sum(one.number for one in of_kind(await peer.send(data(1, chunk)), frames.WINDOW_UPDATE))
    assert len(peer.requests[0].body) == 3 * 1024 * 1024
    assert granted >= 2 * 1024 * 1024


async def test_reset_of_the_peer_reaches_the_receiver_once_and_ends_what_was_to_be_sent(peer: Peer) -> None:
    await peer.begin(_4=0)
    await peer.send(open_request(1, ends=True))
    request = peer.requests[0]
    request.stream.respond(OK, b"answer", TRAILERS)
    await peer.send(frames.rst_stream(1, frames.CANCEL))
    assert request.is_lost
    assert of_kind(await peer.send(frames.window_update(0, 10)), frames.DATA) == []


async def test_answer_before_the_end_of_a_request_asks_the_peer_to_stop_and_drops_what_still_comes(
    peer: Peer,
) -> None:
    await peer.begin()
    await peer.send(open_request(1))
    peer.requests[0].stream.end(OK + TRAILERS)
    found = await peer.received()
    assert [one.kind for one in found] == [frames.HEADERS, frames.RST_STREAM]
    assert found[1].number == frames.NO_ERROR
    assert await peer.send(data(1, b"more"), data(1, b"last", ends=True)) == []
    await peer.send(open_request(3, ends=True))
    assert len(peer.requests) == 2


async def test_lost_connection_reaches_every_receiver(peer: Peer) -> None:
    await peer.begin()
    await peer.send(open_request(1), open_request(3))
    peer.end()
    assert [request.is_lost for request in peer.requests] == [True, True]
    assert peer.is_gone


async def test_one_stream_too_many_is_refused_and_may_be_sent_again() -> None:
    peer = Peer(streams=2)
    await peer.begin()
    found = await peer.send(open_request(1), open_request(3), open_request(5))
    (refused,) = of_kind(found, frames.RST_STREAM)
    assert (refused.stream_id, refused.number) == (5, frames.REFUSED_STREAM)
    assert len(peer.requests) == 2
    peer.end()


async def test_head_that_is_too_large_is_answered_and_the_connection_goes_on(peer: Peer) -> None:
    await peer.begin()
    block = HEAD + encoded("x-large", "v" * 30_000)
    await peer.send(open_request(1, ends=True, block=block))
    assert len(peer.refused) == 1
    await peer.send(open_request(3, ends=True))
    assert len(peer.requests) == 1


class TestGoingAway:
    async def test_requests_on_their_way_are_taken_and_later_ones_refused(self, peer: Peer) -> None:
        await peer.begin()
        await peer.send(open_request(1, ends=True))
        peer.connection.go_away(60)
        first, ping = await peer.received()
        assert (first.kind, ping.kind) == (frames.GOAWAY, frames.PING)
        await peer.send(open_request(3, ends=True))
        (last,) = await peer.send(frames.ping(ping.payload, frames.ACK))
        assert int.from_bytes(last.payload[:4], "big") == 3
        (refused,) = await peer.send(open_request(5, ends=True))
        assert (refused.kind, refused.number) == (frames.RST_STREAM, frames.REFUSED_STREAM)
        for request in peer.requests:
            assert not peer.transport.is_half_closed
            request.stream.respond(OK, b"", TRAILERS)
        assert peer.transport.is_half_closed

    async def test_connection_without_requests_ends_with_the_peers_side(self, peer: Peer) -> None:
        await peer.begin()
        peer.connection.go_away(60)
        (_, ping) = await peer.received()
        await peer.send(frames.ping(ping.payload, frames.ACK))
        assert peer.transport.is_half_closed
        assert not peer.transport.is_closed
        assert not await peer.send(frames.ping(bytes(8)), open_request(1, ends=True))
        assert not peer.requests
        peer.connection.eof_received()
        assert peer.transport.is_closed

    async def test_peer_that_is_slow_to_read_hears_which_request_was_the_last(self, peer: Peer) -> None:
        await peer.begin()
        peer.connection.pause_writing()
        peer.connection.go_away(60)
        peer.connection.refuse_more()
        assert peer.transport.is_half_closed
        goaways = of_kind(await peer.received(), frames.GOAWAY)
        assert [int.from_bytes(one.payload[:4], "big") for one in goaways] == [frames.LARGEST_WINDOW, 0]

    async def test_peer_that_is_sending_gets_the_last_answer(self) -> None:
        loop = asyncio.get_running_loop()
        peer = Peer()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname())
            accepted, _ = listening.accept()
        with client:
            accepted.setblocking(False)
            await loop.connect_accepted_socket(lambda: peer.connection, accepted)
            client.sendall(frames.PREFACE + frames.settings({}) + open_request(1))
            await peer.moved.wait()
            peer.moved.clear()
            peer.connection.go_away(60)
            peer.connection.refuse_more()
            client.sendall(data(1, b"more"))  # which is there, and has not been read
            peer.requests[0].stream.respond(OK, b"answer", TRAILERS)
            await asyncio.sleep(0)
            client.setblocking(False)
            raw = bytearray()
            while piece := await loop.sock_recv(client, 65536):
                raw += piece
            assert b"answer" in raw
            client.sendall(data(1, b"and more"))
            client.shutdown(socket.SHUT_WR)
            await peer.moved.wait()
            assert peer.is_gone

    async def test_connection_whose_last_request_is_given_up_is_closed(self, peer: Peer) -> None:
        await peer.begin()
        await peer.send(open_request(1, ends=True))
        peer.connection.go_away(60)
        (_, ping) = await peer.received()
        await peer.send(frames.ping(ping.payload, frames.ACK))
        assert not peer.transport.is_half_closed
        await peer.send(frames.rst_stream(1, frames.CANCEL))
        assert peer.transport.is_half_closed

    @pytest.mark.parametrize("end", ["taken", "given up", "lost"])
    async def test_responses_that_are_made_are_waited_for(self, peer: Peer, end: str) -> None:
        await peer.begin(_4=0)
        await peer.send(open_request(1, ends=True), open_request(3, ends=True))
        peer.requests[0].stream.respond(OK, b"answer", TRAILERS)  # the other one is at work
        peer.connection.go_away(60)
        waiting = asyncio.ensure_future(peer.connection.answered())
        await peer.received()
        assert not waiting.done()
        if end == "taken":
            await peer.send(frames.window_update(1, 100))
        elif end == "given up":
            await peer.send(frames.rst_stream(1, frames.CANCEL))
        else:
            peer.end()
        await waiting


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


class TestAttacks:
    """What is allowed once, and costs more than it should when it does not stop."""

    async def ended_by(self, peer: Peer, attack: bytes, most: int) -> int:
        """How the connection ended; the attack is repeated up to so many times."""
        for _ in range(most):
            found = await peer.send(attack)
            if peer.transport.is_closed:
                return of_kind(found, frames.GOAWAY)[-1].number if found else frames.NO_ERROR
        raise AssertionError("the connection bears it")

    async def test_rapid_resets(self, peer: Peer) -> None:
        await peer.begin()
        for number in range(1, 20_000, 2):
            peer.connection.data_received(open_request(number, ends=True) + frames.rst_stream(number, 8))
            if peer.transport.is_closed:
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
    async def test_frames_that_move_nothing(self, peer: Peer, frame: bytes) -> None:
        await peer.begin()
        await peer.send(open_request(1))
        await self.ended_by(peer, frame * 100, 100)

    async def test_pings_whose_answers_are_not_taken(self, peer: Peer) -> None:
        await peer.begin()
        peer.connection.pause_writing()
        await self.ended_by(peer, frames.ping(bytes(8)) * 1000, 200)

    async def test_requests_whose_refusals_are_not_taken(self) -> None:
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

    async def test_resets_that_are_not_taken(self) -> None:
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

    async def test_window_that_grows_by_bytes_does_not_make_us_look_at_streams_that_have_none_of_their_own(
        self,
    ) -> None:
        peer = Peer(streams=2000)
        await peer.begin(_4=0)
        for number in range(1, 4000, 2):
            peer.connection.data_received(open_request(number, ends=True))
            peer.requests[-1].stream.respond(OK, b"answer", TRAILERS)
        assert steps_of(peer, frames.window_update(0, 1) * 100) < 1000
        peer.end()

    async def test_settings_that_name_the_window_a_thousand_times_count_once(self) -> None:
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

    async def test_head_that_is_refused_before_its_block_is_read_ends_the_connection(self, peer: Peer) -> None:
        """The next block could not be read as it was meant."""
        await peer.begin()
        frame = frames.head(5 + len(HEAD), frames.HEADERS, frames.END_HEADERS | frames.PRIORITY_FLAG, 1)
        await self.ended_by(peer, frame + b"\0\0\0\1\0" + HEAD, 1)

    async def test_content_length_of_thousands_of_digits(self, peer: Peer) -> None:
        await peer.begin()
        block = HEAD + encoded("content-length", "9" * 5000)
        (reset,) = of_kind(await peer.send(open_request(1, block=block)), frames.RST_STREAM)
        assert reset.number == frames.PROTOCOL_ERROR
        assert not peer.requests

    def test_peer_that_sends_no_more_and_takes_nothing(self) -> None:
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

    async def test_data_behind_the_refusal_of_a_request_reach_nobody(self, peer: Peer) -> None:
        await peer.begin()
        await peer.send(open_request(1))
        peer.connection.pause_writing()
        (request,) = peer.requests
        request.stream.end(OK + TRAILERS)
        await peer.send(data(1, b"more"), data(1, b"and more", ends=True))
        assert (request.body, request.is_whole) == (b"", False)

    async def test_flood_of_frames_gives_others_their_turn(self, peer: Peer) -> None:
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
    async def test_frames_that_cost_more_than_others_are_fewer_in_a_turn(self, attack: str) -> None:
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

    async def test_header_blocks_without_end_on_many_connections(self) -> None:
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

    async def test_header_block_that_is_whole_waits_no_longer(self, peer: Peer) -> None:
        await peer.begin()
        await peer.send(frames.head(len(HEAD), frames.HEADERS, 0, 1) + HEAD)
        assert peer.budget.held_bytes == len(HEAD)
        await peer.send(frames.head(0, frames.CONTINUATION, frames.END_HEADERS, 1))
        assert (len(peer.requests), peer.budget.held_bytes) == (1, 0)

    async def test_block_of_countless_fields(self, peer: Peer) -> None:
        """A byte can stand for a field of thousands."""
        await peer.begin()
        await self.ended_by(peer, open_request(1, block=b"\x82" * 10_000), 1)

    async def test_header_block_without_end(self, peer: Peer) -> None:
        await peer.begin()
        piece = b"x" * frames.DEFAULT_FRAME_SIZE
        await peer.send(frames.head(len(piece), frames.HEADERS, 0, 1) + piece)
        await self.ended_by(peer, frames.head(len(piece), frames.CONTINUATION, 0, 1) + piece, 100)

    async def test_header_block_in_countless_pieces(self, peer: Peer) -> None:
        await peer.begin()
        await peer.send(frames.head(0, frames.HEADERS, 0, 1))
        await self.ended_by(peer, frames.head(0, frames.CONTINUATION, 0, 1), 1000)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=40))))
    async def test_any_frames_are_borne_or_end_the_connection(
        self, sent: list[tuple[int, int, int, bytes]]
    ) -> None:
        peer = Peer()
        await peer.begin()
        await peer.send(open_request(1), open_request(3, ends=True))
        for kind, flags, stream_id, payload in sent:
            await peer.send(frames.head(len(payload), kind, flags, stream_id) + payload)
        for request in peer.requests:
            request.stream.respond(OK, b"answer", TRAILERS)
        await peer.received()
        peer.end()


class TestBudget:
    """What waits is counted over all streams, and given back however it ends."""

    async def test_response_one_too_many_for_a_peer_that_takes_none_is_given_up(self) -> None:
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

    async def test_rest_of_a_request_whose_response_is_given_up_harms_no_other(self) -> None:
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
    async def test_what_waited_is_given_back_when_nobody_wants_it(self, end: str) -> None:
        peer = Peer(waiting_bytes=200)
        await peer.begin(_4=0)
        await peer.send(open_request(1, ends=True))
        peer.requests[0].stream.respond(OK, b"x" * 60, TRAILERS)
        assert peer.budget.held_bytes == 60 + len(TRAILERS)
        if end == "reset":
            await peer.send(frames.rst_stream(1, frames.CANCEL))
        peer.end()
        assert peer.budget.held_bytes == 0
