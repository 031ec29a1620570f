"""How a connection ends: what is taken, refused, waited for and told."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable

import pytest
import uvloop
from tests.unit import virtual_time
from tests.unit.http2.peer import OK, TRAILERS, Peer, body_of, data, of_kind, open_request

from awsidecar_server.http2 import frames


async def test_requests_on_their_way_are_taken_and_later_ones_refused(peer: Peer) -> None:
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


async def test_thousands_of_requests_that_cross_the_word_are_refused_and_harm_no_other(peer: Peer) -> None:
    await peer.begin()
    await peer.send(open_request(1, ends=True))
    peer.connection.go_away(60)
    peer.connection.refuse_more()
    await peer.received()
    for number in range(3, 6003, 2):
        found = await peer.send(open_request(number), data(number, b"more"), data(number, b"", ends=True))
        assert [(one.kind, one.number) for one in found] == [(frames.RST_STREAM, frames.REFUSED_STREAM)]
    assert not await peer.send(*[data(6001, b"of one")] * 6000, open_request(6001, ends=True))
    assert len(peer.requests) == 1
    peer.requests[0].stream.respond(OK, b"answer", TRAILERS)
    assert body_of(await peer.received(), 1) == b"answer"
    assert peer.transport.is_half_closed


async def test_requests_without_end_after_the_word_end_the_connection(peer: Peer) -> None:
    await peer.begin()
    await peer.send(open_request(1, ends=True))
    peer.connection.go_away(60)
    peer.connection.refuse_more()
    for number in range(3, 400_000, 2):
        peer.connection.data_received(open_request(number, ends=True))
        if number % 1000 == 1:
            await peer.received()
        if peer.transport.is_closed:
            return
    raise AssertionError("the connection bears it")


@pytest.mark.parametrize("frame", [data(3, b""), open_request(3, ends=True)], ids=["empty data", "trailers"])
async def test_frames_that_move_nothing_on_refused_streams_end_the_connection(peer: Peer, frame: bytes) -> None:
    await peer.begin()
    await peer.send(open_request(1, ends=True))
    peer.connection.go_away(60)
    peer.connection.refuse_more()
    await peer.send(open_request(3))
    for _ in range(100):
        await peer.send(frame * 100)
        if peer.transport.is_closed:
            return
    raise AssertionError("the connection bears it")


async def test_connection_without_requests_ends_with_the_peers_side(peer: Peer) -> None:
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


async def test_peer_that_is_slow_to_read_hears_which_request_was_the_last(peer: Peer) -> None:
    await peer.begin()
    peer.connection.pause_writing()
    peer.connection.go_away(60)
    peer.connection.refuse_more()
    assert peer.transport.is_half_closed
    goaways = of_kind(await peer.received(), frames.GOAWAY)
    assert [int.from_bytes(one.payload[:4], "big") for one in goaways] == [frames.LARGEST_WINDOW, 0]


async def test_peer_that_is_sending_gets_the_last_answer() -> None:
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


async def test_peer_that_reads_late_is_waited_for(peer: Peer) -> None:
    await peer.begin()
    await peer.send(open_request(1, ends=True))
    peer.requests[0].stream.respond(OK, b"answer", TRAILERS)
    peer.transport.kept_bytes = 1
    peer.connection.go_away(60)
    waiting = asyncio.ensure_future(peer.connection.answered())
    peer.connection.refuse_more()
    await peer.received()
    assert peer.transport.heeds_every_byte
    assert peer.transport.is_half_closed
    assert not waiting.done()
    peer.transport.kept_bytes = 0
    peer.connection.resume_writing()
    await waiting


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_answers_that_the_transport_keeps_are_waited_for(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    answer = b"x" * 1_000_000

    async def play() -> None:
        loop = asyncio.get_running_loop()
        peer = Peer()
        client, accepted = socket.socketpair()
        with client:
            # The system takes little, so that something is left to the transport.
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            accepted.setblocking(False)
            client.setblocking(False)
            transport, _ = await loop.connect_accepted_socket(lambda: peer.connection, accepted)
            grown = frames.LARGEST_WINDOW - frames.DEFAULT_WINDOW
            sent = frames.settings({frames.INITIAL_WINDOW_SIZE: frames.LARGEST_WINDOW})
            sent += frames.window_update(0, grown) + open_request(1, ends=True)
            await loop.sock_sendall(client, frames.PREFACE + sent)
            await peer.moved.wait()
            peer.requests[0].stream.respond(OK, answer, TRAILERS)
            peer.connection.go_away(60)
            peer.connection.refuse_more()
            left: list[int] = []
            waiting = asyncio.ensure_future(peer.connection.answered())
            waiting.add_done_callback(lambda _: left.append(transport.get_write_buffer_size()))
            size = 0
            while piece := await loop.sock_recv(client, 16_384):
                size += len(piece)
            assert size > len(answer)
            await waiting
            assert left == [0]
            client.shutdown(socket.SHUT_WR)
            peer.moved.clear()
            await peer.moved.wait()
            assert peer.is_gone

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(play())


def test_peer_that_has_not_read_all_may_take_its_time() -> None:
    async def play() -> None:
        peer = Peer()
        await peer.begin()
        peer.connection.go_away(60)
        peer.connection.pause_writing()
        peer.transport.kept_bytes = 1
        peer.connection.refuse_more()
        await asyncio.sleep(100)
        assert (peer.transport.is_half_closed, peer.transport.is_closed) == (True, False)
        peer.transport.kept_bytes = 0
        peer.connection.resume_writing()
        await asyncio.sleep(10)
        assert peer.transport.is_closed
        peer.end()

    virtual_time.run(play())


@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells what the peer has acknowledged")
@pytest.mark.parametrize("begun", ["before", "after"])
def test_response_in_the_systems_buffer_is_waited_for(begun: str) -> None:
    """A socket that is closed answers what its peer still sends with a reset, and drops what is left."""

    async def play(ours: socket.socket, theirs: socket.socket) -> None:
        peer = Peer()
        peer.transport.socket = ours
        await peer.begin()
        await peer.send(open_request(1, ends=True))
        if begun == "after":
            peer.connection.go_away(60)
        peer.requests[0].stream.respond(OK, b"answer", TRAILERS)
        ours.send(b"the answer, which the peer has not read")
        peer.connection.go_away(60)
        peer.connection.refuse_more()
        waiting = asyncio.ensure_future(peer.connection.answered())
        await asyncio.sleep(100)
        assert (peer.transport.is_half_closed, peer.transport.is_closed, waiting.done()) == (True, False, False)
        theirs.recv(100)
        await asyncio.sleep(0.1)
        assert (peer.transport.is_closed, waiting.done()) == (False, True)
        await asyncio.sleep(2)
        assert peer.transport.is_closed
        peer.end()

    ours, theirs = socket.socketpair()
    with ours, theirs:
        virtual_time.run(play(ours, theirs))


@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells what the peer has acknowledged")
@pytest.mark.parametrize("heard", ["nothing", "our settings", "its response"])
def test_peer_that_is_owed_nothing_and_does_not_hear_the_word_holds_nobody_up(heard: str) -> None:
    async def play(ours: socket.socket) -> None:
        peer = Peer()
        peer.transport.socket = ours
        await peer.begin()
        if heard == "nothing":
            ours.send(b"our settings, which the peer does not acknowledge")
        if heard == "its response":
            await peer.send(open_request(1, ends=True))
            peer.requests[0].stream.respond(OK, b"answer", TRAILERS)
        peer.connection.go_away(60)
        ours.send(b"the word, which the peer does not acknowledge")
        async with asyncio.timeout(1):
            await peer.connection.answered()
        peer.connection.refuse_more()
        await asyncio.sleep(2)
        assert peer.transport.is_closed
        peer.end()

    ours, theirs = socket.socketpair()
    with ours, theirs:
        virtual_time.run(play(ours))


@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells what the peer has acknowledged")
@pytest.mark.parametrize("begun", ["before", "after"])
def test_response_that_has_yet_to_be_handed_to_the_system_is_waited_for(begun: str) -> None:
    """A transport may keep what it is given until others have had their turn."""

    async def play(ours: socket.socket, theirs: socket.socket) -> None:
        peer = Peer()
        peer.transport.socket = ours
        await peer.begin()
        await peer.send(open_request(1, ends=True))
        if begun == "after":
            peer.connection.go_away(60)
            await peer.received()
        peer.transport.keeps_all = True
        peer.requests[0].stream.respond(OK, b"answer", TRAILERS)
        peer.connection.go_away(60)
        waiting = asyncio.ensure_future(peer.connection.answered())
        await asyncio.sleep(1)
        ours.send(b"the answer, which the peer has not read")
        peer.transport.keeps_all, peer.transport.kept_bytes = False, 0
        peer.connection.resume_writing()
        await asyncio.sleep(100)
        assert not waiting.done()
        theirs.recv(100)
        await asyncio.sleep(0.1)
        assert waiting.done()
        peer.end()

    ours, theirs = socket.socketpair()
    with ours, theirs:
        virtual_time.run(play(ours, theirs))


async def test_connection_whose_last_request_is_given_up_ends(peer: Peer) -> None:
    await peer.begin()
    await peer.send(open_request(1, ends=True))
    peer.connection.go_away(60)
    (_, ping) = await peer.received()
    await peer.send(frames.ping(ping.payload, frames.ACK))
    assert not peer.transport.is_half_closed
    await peer.send(frames.rst_stream(1, frames.CANCEL))
    assert peer.transport.is_half_closed


@pytest.mark.parametrize("end", ["taken", "given up", "lost"])
async def test_responses_that_are_made_are_waited_for(peer: Peer, end: str) -> None:
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
