"""Calls of gRPC on a fake stream of HTTP/2."""

from __future__ import annotations

import asyncio
import base64
from typing import Any, cast

import grpc
import hpack
from google.rpc import error_details_pb2, status_pb2

from awsidecar_server.api.grpc_call import Call, UnaryCall
from awsidecar_server.http2.budget import Budget
from awsidecar_server.http2.request import Head

LIMIT = 1000
FIELDS = [(":method", "POST"), (":scheme", "http"), (":path", "/s/echo")]


def reason_in(details: str | None) -> str | None:
    """That of the ErrorInfo in a status' details; None where there are none."""
    if details is None:
        return None
    status, info = status_pb2.Status.FromString(base64.b64decode(details + "==")), error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "awsidecar"
    assert info.metadata["operation"] in {"echo", "join"}
    return str(info.reason)


class FakeStream:
    """As much of a stream as a call asks for."""

    def __init__(self) -> None:
        self.has_begun = False
        self.consumed_bytes = 0
        self.status: str | None = None
        self.reason: str | None = None
        self.body = b""
        self.share = Budget(0).share()

    def consumed(self, size: int) -> None:
        self.consumed_bytes += size

    def respond(self, head: bytes, body: bytes, trailers: bytes) -> None:
        self.body = body
        self.end(trailers)

    def end(self, block: bytes) -> None:
        if self.status is not None:  # the first end stands
            return
        fields: Any = hpack.Decoder().decode(block)
        self.status = dict(fields)["grpc-status"]
        self.reason = reason_in(dict(fields).get("grpc-status-details-bin"))


class FakeHost:
    """Keeps which calls have finished."""

    def __init__(self, limit_bytes: int = 10 * LIMIT) -> None:
        self.loop = asyncio.get_running_loop()
        self.max_message_bytes = LIMIT
        # One connection may have half of what is not set apart.
        self.budget = Budget(2 * limit_bytes * 8 // 7)
        self.share = self.budget.share()
        self.finished_calls: list[Call] = []
        self.some_finished = asyncio.Event()

    def finished(self, call: Call) -> None:
        self.finished_calls.append(call)
        self.some_finished.set()


async def echo(raw: bytes, context: Any) -> bytes:
    return raw


async def join(requests: Any, context: Any) -> bytes:
    return b"+".join([raw async for raw in requests])


def unary(host: FakeHost, stream: FakeStream) -> UnaryCall:
    stream.share = host.share
    handler: Any = grpc.unary_unary_rpc_method_handler(echo)
    return UnaryCall(host, cast(Any, stream), handler, Head("/s/echo", "POST", ()))


def message(raw: bytes) -> bytes:
    return b"\0" + len(raw).to_bytes(4, "big") + raw
