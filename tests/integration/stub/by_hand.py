"""A call made frame by frame, for what no gRPC library lets one do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from awsidecar.credentials.v1 import credentials_pb2
from awsidecar_server.http2 import frames
from awsidecar_server.http2.hpack import encoded

_HEAD = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/awsidecar.credentials.v1.CredentialsService/OpenSession"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]


async def opened_and_given_up(target: str, meanwhile: Callable[[str], Awaitable[object]] | None = None) -> str:
    """Opens a session, and gives the call up when its answer is there; returns the handle that it brought.

    `meanwhile` is called with it before the call is given up.
    """
    given = credentials_pb2.AwsCredentials(access_key_id="AKIAGIVENUP", secret_access_key="a-secret")
    message = credentials_pb2.OpenSessionRequest(aws_credentials=given).SerializeToString()
    body = b"\0" + len(message).to_bytes(4, "big") + message
    host, _, port = target.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        block = b"".join(encoded(*one) for one in _HEAD)
        writer.write(
            frames.PREFACE
            + frames.settings({})
            + frames.headers(1, block, end_stream=False, frame_size=frames.DEFAULT_FRAME_SIZE)
            + frames.head(len(body), frames.DATA, frames.END_STREAM, 1)
            + body
        )
        answer = b""
        while True:
            kind, flags, stream_id, payload = await _frame(reader)
            if kind == frames.DATA:
                answer += payload
            if stream_id and flags & frames.END_STREAM:
                break
        handle = credentials_pb2.OpenSessionResponse.FromString(answer[5:]).session
        assert handle
        if meanwhile is not None:
            await meanwhile(handle)
        # Behind the PING's answer, the reset has taken effect.
        writer.write(frames.rst_stream(1, frames.CANCEL) + frames.ping(bytes(8)))
        while (await _frame(reader))[0] != frames.PING:
            pass
        return handle
    finally:
        writer.close()
        await writer.wait_closed()


async def _frame(reader: asyncio.StreamReader) -> tuple[int, int, int, bytes]:
    """The next frame: its kind, its flags, its stream and its payload."""
    head = await reader.readexactly(frames.HEADER_BYTES)
    payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
    return head[3], head[4], int.from_bytes(head[5:], "big"), payload
