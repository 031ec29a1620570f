"""Requests that are answered before there is a call: what is no gRPC, and what no handler takes."""

from __future__ import annotations

from grpc import StatusCode

from awsidecar_server.api import grpc_wire as wire
from awsidecar_server.api.details import DEFAULT_BUDGET_BYTES, status_of
from awsidecar_server.api.status import OWN_DOMAIN, Verdict
from awsidecar_server.errors import InvalidRequest, LimitReached
from awsidecar_server.http2.stream import Stream


class NoCall:
    """Takes what is left of a request that was answered at once."""

    def data(self, chunk: bytes) -> None:
        """Dropped."""

    def ended(self) -> None:
        """Nobody waits for it."""

    def lost(self) -> None:
        """Nobody misses it."""


def not_whole() -> wire.Refused:
    """For a request that ends within a message. gRPC has no rule for it: what was sent is no message."""
    return wire.Refused(InvalidRequest("the request ends within a message", reason="MALFORMED_MESSAGE"))


def not_one(given: str) -> wire.Refused:
    """For a method that takes one request and got `given` ones: UNIMPLEMENTED, as gRPC has it.

    https://github.com/grpc/grpc/blob/master/doc/statuscodes.md ("Request cardinality violation")
    """
    failure = InvalidRequest(f"the method takes one request, and {given} came", reason="NOT_ONE_REQUEST")
    return wire.Refused(failure, StatusCode.UNIMPLEMENTED)


def overfull() -> wire.Refused:
    """For what is one too many of all that waits."""
    return wire.Refused(LimitReached("too many bytes of requests are on their way", reason="OVERLOADED"))


def too_much_metadata(limit: int) -> wire.Refused:
    """For a request whose fields have more than `limit` bytes, as HTTP/2 counts them."""
    problem = f"the metadata have more than {limit} bytes"
    return wire.Refused(
        LimitReached(problem, reason="MESSAGE_TOO_LARGE", direction="metadata", limit_bytes=str(limit))
    )


def told(refused: wire.Refused, path: str) -> bytes:
    """The trailers that end a call of the method so."""
    verdict = Verdict(refused.code, OWN_DOMAIN, refused.failure.reason)
    status = status_of(refused.failure, verdict, path.rpartition("/")[2], DEFAULT_BUDGET_BYTES)
    return wire.status(refused.code, status.message, (("grpc-status-details-bin", status.SerializeToString()),))


def refuse(stream: Stream, refused: wire.Refused, path: str = "") -> NoCall:
    """Answers a request that no handler takes."""
    stream.end(wire.RESPONSE + told(refused, path))
    return NoCall()


def refuse_unknown(stream: Stream) -> NoCall:
    """Answers a request for what is no method."""
    stream.end(wire.RESPONSE + wire.status(StatusCode.UNIMPLEMENTED, "the method is not known"))
    return NoCall()


def refuse_http(stream: Stream, http_status: int) -> NoCall:
    """Answers what is no gRPC request."""
    stream.end(wire.http_refusal(http_status))
    return NoCall()
