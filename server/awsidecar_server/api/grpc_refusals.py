"""Requests that are answered before there is a call: what is no gRPC, and what no handler takes."""

from __future__ import annotations

from grpc import StatusCode

from awsidecar_server.api import grpc_wire as wire
from awsidecar_server.api.details import DEFAULT_BUDGET_BYTES, status_of
from awsidecar_server.api.status import OWN_DOMAIN, Verdict
from awsidecar_server.errors import InvalidRequest
from awsidecar_server.http2.stream import Stream


class NoCall:
    """Takes what is left of a request that was answered at once."""

    def data(self, chunk: bytes) -> None:
        """Dropped."""

    def ended(self) -> None:
        """Nobody waits for it."""

    def lost(self) -> None:
        """Nobody misses it."""


def not_whole(path: str) -> wire.Refused:
    """For a request that ends within a message. gRPC has no rule for it: what was sent is no message."""
    failure = InvalidRequest("the request ends within a message", reason="MALFORMED_MESSAGE")
    return _refusal(path, StatusCode.INVALID_ARGUMENT, failure)


def not_one(path: str, given: str) -> wire.Refused:
    """For a method that takes one request and got `given` ones: UNIMPLEMENTED, as gRPC has it.

    https://github.com/grpc/grpc/blob/master/doc/statuscodes.md ("Request cardinality violation")
    """
    failure = InvalidRequest(f"the method takes one request, and {given} came", reason="NOT_ONE_REQUEST")
    return _refusal(path, StatusCode.UNIMPLEMENTED, failure)


def _refusal(path: str, code: StatusCode, failure: InvalidRequest) -> wire.Refused:
    verdict, method = Verdict(code, OWN_DOMAIN, failure.reason), path.rpartition("/")[2]
    status = status_of(failure, verdict, method, DEFAULT_BUDGET_BYTES)
    return wire.Refused(code, status.message, (("grpc-status-details-bin", status.SerializeToString()),))


def refuse(stream: Stream, refused: wire.Refused) -> NoCall:
    """Answers a request that no handler takes."""
    stream.end(wire.RESPONSE + wire.status(refused.code, refused.message, refused.trailers))
    return NoCall()


def refuse_http(stream: Stream, http_status: int) -> NoCall:
    """Answers what is no gRPC request."""
    stream.end(wire.http_refusal(http_status))
    return NoCall()
