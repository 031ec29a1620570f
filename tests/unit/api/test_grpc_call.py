"""That of the ErrorInfo in a status' details; None where there are none."""

from __future__ import annotations

import asyncio
import base64
import gzip
from typing import Any, cast

import grpc
import hpack
import pytest
from grpc import StatusCode
from tests.unit.api.calling import FIELDS, LIMIT, FakeHost, FakeStream, echo, message, unary
from tests.unit.http2.peer import HEAD, Peer, data, of_kind, open_request

from awsidecar_server.api.grpc_call import UnaryCall
from awsidecar_server.api.grpc_server import GrpcServer
from awsidecar_server.api.grpc_wire import Refused
from awsidecar_server.http2 import frames
from awsidecar_server.http2.hpack import encoded
from awsidecar_server.http2.request import head_of


async def test_message_is_put_together_however_it_is_cut() -> None:
    raw = message(b"hello")
    for at in range(len(raw) + 1):
        host, stream = FakeHost(), FakeStream()
        call = unary(host, stream)
        call.data(raw[:at])
        call.data(raw[at:])
        call.ended()
        await host.some_finished.wait()
        assert (stream.body, stream.status, stream.consumed_bytes) == (raw, "0", len(raw))
        assert host.budget.held_bytes == 0


async def test_request_that_is_not_whole_or_more_than_one_is_refused() -> None:
    for raw, code, reason in (
        (b"", StatusCode.UNIMPLEMENTED, "NOT_ONE_REQUEST"),
        (message(b"hello")[:3], StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE"),
        (message(b"hello")[:-1], StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE"),
        (message(b"one") + message(b"two"), StatusCode.UNIMPLEMENTED, "NOT_ONE_REQUEST"),
        (message(b"x" * (LIMIT + 1))[:10], StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE"),
    ):
        host, stream = FakeHost(), FakeStream()
        call = unary(host, stream)
        call.data(raw)
        if stream.status is None:
            call.ended()
        assert stream.status == str(code.value[0])
        assert stream.reason == reason
        assert len(host.finished_calls) == 1
        assert host.budget.held_bytes == 0


async def test_requests_that_do_not_end_are_refused_before_they_fill_the_memory() -> None:
    host, streams = FakeHost(limit_bytes=3 * LIMIT), [FakeStream() for _ in range(5)]
    calls = [unary(host, stream) for stream in streams]
    for call in calls:
        call.data(message(b"x" * LIMIT)[: LIMIT - 100])
    assert [stream.status for stream in streams] == [None, None, None, "8", "8"]
    for call in calls[:3]:
        call.lost()
    assert host.budget.held_bytes == 0
    assert len(host.finished_calls) == 5


async def test_call_that_is_lost_before_its_handler_took_a_step_is_finished_all_the_same() -> None:
    host, stream = FakeHost(), FakeStream()
    call = unary(host, stream)
    call.data(message(b"hello"))
    call.ended()
    call.lost()
    await host.some_finished.wait()
    assert stream.body == b""


async def test_request_in_countless_pieces_counts_for_what_it_takes() -> None:
    host, stream = FakeHost(), FakeStream()
    call = unary(host, stream)
    for piece in [b"\0\0", b"\0\3", b"\0", *[b"xy"] * 300]:
        if stream.status is None:
            call.data(piece)
    assert (stream.status, host.budget.held_bytes) == ("8", 0)


@pytest.mark.parametrize("end", ["lost", "finished"])
async def test_metadata_count_until_the_call_is_over_and_are_not_kept_behind_it(end: str) -> None:
    host, stream = FakeHost(), FakeStream()
    stream.share = host.share
    handler: Any = grpc.unary_unary_rpc_method_handler(echo)
    head = head_of([*FIELDS, ("x", "y" * 500)])
    call = UnaryCall(host, cast(Any, stream), handler, head)
    assert 500 < host.budget.held_bytes < 2000
    if end == "lost":
        call.lost()
    else:
        call.data(message(b"hello"))
        call.ended()
        await host.some_finished.wait()
        assert stream.status == "0"
    call.lost()  # of a stream whose response its peer did not take
    assert (host.budget.held_bytes, host.share.held_bytes, call.invocation_metadata()) == (0, 0, ())


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ([("grpc-timeout", "1 S")], StatusCode.INVALID_ARGUMENT, b"INVALID_REQUEST"),
        ([("x-why-bin", "!")], StatusCode.INVALID_ARGUMENT, b"INVALID_REQUEST"),
        ([("x-why", "y" * 5000)], StatusCode.RESOURCE_EXHAUSTED, b"OVERLOADED"),
        ([("x-why", "y" * 9000)], StatusCode.RESOURCE_EXHAUSTED, b"MESSAGE_TOO_LARGE"),
    ],
)
async def test_request_that_never_becomes_a_call_is_told_why(
    fields: list[tuple[str, str]], code: StatusCode, reason: bytes
) -> None:
    server = GrpcServer(max_message_bytes=LIMIT, max_metadata_bytes=8192, max_streams=10, max_waiting_bytes=LIMIT)
    server.add_registered_method_handlers("s", {"m": grpc.unary_unary_rpc_method_handler(lambda raw, _: raw)})
    peer = Peer(acceptor=server, sharing=server.budget)
    await peer.begin()
    block = HEAD + encoded("content-type", "application/grpc") + b"".join(encoded(*one) for one in fields)
    (answer,) = of_kind(await peer.send(open_request(1, block=block)), frames.HEADERS)
    told: Any = dict(hpack.Decoder().decode(answer.payload))
    assert told["grpc-status"] == str(code.value[0])
    assert reason in base64.b64decode(told["grpc-status-details-bin"] + "==")
    peer.end()


async def test_metadata_of_requests_that_never_come_are_refused_before_they_fill_the_memory() -> None:
    host = FakeHost(limit_bytes=10_000)
    handler: Any = grpc.unary_unary_rpc_method_handler(echo)
    stream: Any = FakeStream()
    stream.share = host.share
    head = head_of([*FIELDS, *(("x", "y") for _ in range(10))])
    for _ in range(10_000 // head.size_bytes):
        UnaryCall(host, stream, handler, head)
    with pytest.raises(Refused) as refused:
        UnaryCall(host, stream, handler, head)
    assert refused.value.code is StatusCode.RESOURCE_EXHAUSTED


def compressed(host: FakeHost, plain: bytes, serve: Any = echo) -> tuple[UnaryCall, FakeStream]:
    stream, handler = FakeStream(), cast(Any, grpc.unary_unary_rpc_method_handler(serve))
    stream.share = host.share
    call = UnaryCall(host, cast(Any, stream), handler, head_of([*FIELDS, ("grpc-encoding", "gzip")]))
    call.data(b"\1" + message(gzip.compress(plain))[1:])
    call.ended()
    return call, stream


async def test_messages_that_few_bytes_stand_for_become_large_one_at_a_time_and_step_by_step() -> None:
    size = 1 << 20
    host = FakeHost(limit_bytes=2 * size)
    host.max_message_bytes = size
    sizes: list[int] = []

    async def serve(raw: bytes, context: Any) -> bytes:
        sizes.append(len(raw))
        return b""

    calls = [compressed(host, bytes(size), serve) for _ in range(4)]
    turns, most = 0, 0
    while len(host.finished_calls) < 4:
        await asyncio.sleep(0)
        turns, most = turns + 1, max(most, host.budget.held_bytes)
    assert sizes == [size] * 4
    assert [stream.status for _, stream in calls] == ["0"] * 4
    assert turns > 4 * size // (64 * 1024) - 4
    assert most < size + 20_000
    assert host.budget.held_bytes == 0


@pytest.mark.parametrize("after", [0, 3, 40])
async def test_call_given_up_while_its_message_is_made_leaves_nothing(after: int) -> None:
    host = FakeHost(limit_bytes=4 << 20)
    host.max_message_bytes = 1 << 20
    first, _ = compressed(host, bytes(1 << 20))
    second, _ = compressed(host, bytes(1 << 20))
    for _ in range(after):
        await asyncio.sleep(0)
    first.lost()
    second.lost()
    await asyncio.gather(*[call._task for call in (first, second) if call._task], return_exceptions=True)
    assert (host.budget.held_bytes, host.share.decompressing.locked()) == (0, False)


async def test_message_that_is_too_much_for_what_may_wait_when_it_is_large_is_refused() -> None:
    host = FakeHost(limit_bytes=1 << 20)
    host.max_message_bytes = 4 << 20
    _, stream = compressed(host, bytes(2 << 20))
    await host.some_finished.wait()
    assert (stream.status, host.budget.held_bytes) == ("8", 0)


async def test_request_that_was_refused_is_not_served_though_it_ends_well() -> None:
    """Its last bytes come in one frame with those that it was refused for."""
    served = []

    async def serve(raw: bytes, context: Any) -> bytes:
        served.append(raw)
        return raw

    server = GrpcServer(max_message_bytes=LIMIT, max_metadata_bytes=8192, max_streams=10, max_waiting_bytes=LIMIT)
    server.add_registered_method_handlers("s", {"m": grpc.unary_unary_rpc_method_handler(serve)})
    peer = Peer(acceptor=server)
    await peer.begin()
    block = HEAD + encoded("content-type", "application/grpc")
    for number, raw in ((1, b"\0\x7f\0\0\0small"), (3, message(b"one") + message(b"two"))):
        await peer.send(open_request(number, block=block) + data(number, raw, ends=True))
    await peer.received()
    assert served == []
    peer.end()
