"""Requests that are answered before there is a call: what is no gRPC, and what no handler takes."""

from __future__ import annotations

from awsidecar_server.api import grpc_wire as wire
from awsidecar_server.http2.stream import Stream


class NoCall:
    """Takes what is left of a request that was answered at once."""

    def data(self, chunk: bytes) -> None:
        """Dropped."""

    def ended(self) -> None:
        """Nobody waits for it."""

    def lost(self) -> None:
        """Nobody misses it."""


def refuse(stream: Stream, refused: wire.Refused) -> NoCall:
    """Answers a request that no handler takes."""
    stream.end(wire.RESPONSE + wire.status(refused.code, refused.message))
    return NoCall()


def refuse_http(stream: Stream, http_status: int) -> NoCall:
    """Answers what is no gRPC request."""
    stream.end(wire.http_refusal(http_status))
    return NoCall()
