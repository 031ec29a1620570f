"""A connection, frame by frame. That it keeps RFC 9113 throughout is shown by h2spec, in the integration tests."""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.http2.peer import HEAD, OK, TRAILERS, Peer, body_of, data, of_kind, open_request

from awsidecar_server.http2 import frames
from awsidecar_server.http2.hpack import encoded


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


async def test_requests_beyond_the_limit_are_refused_one_by_one_up_to_a_bound() -> None:
    peer = Peer(streams=1)
    await peer.begin()
    await peer.send(open_request(1))
    for number in range(3, 4003, 2):
        (refused,) = await peer.send(open_request(number, ends=True))
        assert refused.number == frames.REFUSED_STREAM
    await peer.send(open_request(4003, ends=True))
    assert peer.transport.is_closed
    peer.end()


async def test_rest_of_as_many_requests_as_may_be_open_is_dropped() -> None:
    peer = Peer(streams=3000)
    await peer.begin()
    for number in range(1, 6001, 2):
        peer.connection.data_received(open_request(number))
    for request in list(peer.requests):
        request.stream.respond(OK, b"", TRAILERS)
    # From a caller who has heard of the answers, and has not sent the rest of the first requests yet.
    for number in range(6001, 12_001, 2):
        peer.connection.data_received(open_request(number))
        peer.requests[-1].stream.respond(OK, b"", TRAILERS)
    await peer.received()
    rests = [data(number, b"on its way", ends=True) for number in range(1, 12_001, 2)]
    assert not of_kind(await peer.send(*rests), frames.RST_STREAM)
    peer.end()


async def test_rest_of_a_request_that_was_refused_is_dropped() -> None:
    peer = Peer(streams=1)
    await peer.begin()
    await peer.send(open_request(1))
    assert (await peer.send(open_request(3)))[0].number == frames.REFUSED_STREAM
    malformed = encoded(":method", "POST") + encoded(":status", "200")
    peer.requests[0].stream.respond(OK, b"", TRAILERS)
    assert [one.number for one in of_kind(await peer.received(), frames.RST_STREAM)] == [frames.NO_ERROR]
    assert (await peer.send(open_request(5, block=malformed)))[0].number == frames.PROTOCOL_ERROR
    for number in (1, 3, 5):
        assert not await peer.send(*[data(number, b"on its way")] * 3000, data(number, b"", ends=True))
    await peer.send(open_request(7, ends=True))
    assert [request.stream.id for request in peer.requests] == [1, 7]
    peer.end()


async def test_head_that_is_too_large_is_answered_and_the_connection_goes_on(peer: Peer) -> None:
    await peer.begin()
    block = HEAD + encoded("x-large", "v" * 30_000)
    await peer.send(open_request(1, ends=True, block=block))
    assert len(peer.refused) == 1
    await peer.send(open_request(3, ends=True))
    assert len(peer.requests) == 1
