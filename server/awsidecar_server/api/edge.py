"""What every RPC passes: observe, admit, read, serve, and translate errors. Handlers see none of it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from awsidecar_server.api.contract import Rpc
from awsidecar_server.api.details import status_of
from awsidecar_server.api.metadata import Metadata, Regions, details_budget, trace_id
from awsidecar_server.api.status import OWN_DOMAIN, Verdict, verdict
from awsidecar_server.api.wire import parse
from awsidecar_server.config import ListenConfig
from awsidecar_server.errors import (
    AwsRejected,
    AwsUnreachable,
    DeadlineSpent,
    Draining,
    InvalidRequest,
    LimitReached,
    SidecarError,
)
from awsidecar_server.ops.telemetry import RpcMetrics, Telemetry

_log = structlog.get_logger()

_Context = grpc.aio.ServicerContext[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Request:
    """One call, as handlers see it."""

    message: Message = field(repr=False)
    metadata: Metadata = field(repr=False)
    region: str
    # On the event loop's clock. None: the caller set no deadline.
    deadline: float | None
    # Of the message as it came, in bytes.
    size: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """What a handler answers, and what the trailers say of it."""

    # A message, or one that is written already.
    message: Message | bytes = field(repr=False)
    tier: str = ""
    request_id: str = ""
    attempts: int = 0


Handler = Callable[[Request], Awaitable[Reply]]


class Edge:
    """Turns handlers into gRPC methods.

    The mutable state is the number of calls in flight and of their bytes, and the word that no more are taken.
    """

    def __init__(self, config: ListenConfig, regions: Regions, telemetry: Telemetry) -> None:
        self._config = config
        self._regions = regions
        self._telemetry = telemetry
        self._in_flight = 0
        self._in_flight_bytes = 0
        self._draining = False
        self._turning_away = asyncio.Event()
        self._idle = asyncio.Event()

    def drain(self) -> None:
        """Takes no more calls; those in flight go on, and new ones wait to be turned away."""
        self._draining = True

    async def idle(self) -> None:
        """Returns when no call is in flight any more; only during a drain."""
        while self._in_flight:
            self._idle.clear()
            await self._idle.wait()

    def turn_away(self) -> None:
        """Answers what came during the drain, and what still comes."""
        self._turning_away.set()

    def method(self, rpc: Rpc, handler: Handler) -> grpc.RpcMethodHandler[bytes, bytes]:
        """The gRPC method of an RPC. Requests arrive as bytes, so that unreadable ones are answered by us."""
        metrics = RpcMetrics(self._telemetry, rpc.service, rpc.method)
        request_class = GetMessageClass(rpc.request)

        async def serve(raw: bytes, context: _Context) -> bytes:
            started, code = time.perf_counter(), "CANCELLED"
            metrics.in_flight += 1
            self._in_flight += 1
            self._in_flight_bytes += len(raw)
            try:
                await self._admit(raw)
                request = self._read(rpc, request_class, raw, context)
                reply = await _within_deadline(handler(request), request.deadline)
                answer = self._written(rpc, reply, context)
                code = "OK"
                return answer
            except asyncio.CancelledError:
                raise
            except Exception as failure:
                abort = self._abort(rpc, failure, context)
                code = abort.code.name
                await context.abort(abort.code, abort.message, abort.trailers)
                raise  # never reached: abort raises
            finally:
                self._in_flight -= 1
                self._in_flight_bytes -= len(raw)
                self._idle.set()
                metrics.in_flight -= 1
                metrics.finished(code, time.perf_counter() - started)

        return grpc.unary_unary_rpc_method_handler(serve)

    async def _admit(self, raw: bytes) -> None:
        if self._draining:
            await self._turning_away.wait()
            raise Draining
        most, most_bytes = self._config.max_in_flight, self._config.max_in_flight_bytes
        if self._in_flight > most:
            raise LimitReached("too many calls are in flight", reason="OVERLOADED", limit=str(most))
        # A single request is never too much: it has its own limit.
        if self._in_flight_bytes > most_bytes and self._in_flight > 1:
            raise LimitReached("too many bytes are in flight", reason="OVERLOADED", limit_bytes=str(most_bytes))
        self._check_size(len(raw), "request")

    def _check_size(self, size: int, direction: str) -> None:
        limit = self._config.max_message_bytes
        if size > limit:
            raise LimitReached(
                f"the {direction} has {size} bytes, more than {limit}",
                reason="MESSAGE_TOO_LARGE",
                direction=direction,
                size_bytes=str(size),
                limit_bytes=str(limit),
            )

    def _read(self, rpc: Rpc, request_class: type[Message], raw: bytes, context: _Context) -> Request:
        metadata: Any = context.invocation_metadata() or ()
        try:
            message = parse(request_class, raw)
        except DecodeError as malformed:
            name = rpc.request.full_name
            raise InvalidRequest(
                f"the bytes are no {name}", reason="MALFORMED_MESSAGE", message=name
            ) from malformed
        remaining: Any = context.time_remaining()
        deadline = None if remaining is None else asyncio.get_running_loop().time() + remaining
        return Request(message, metadata, self._regions.chosen_by(metadata), deadline, len(raw))

    def _written(self, rpc: Rpc, reply: Reply, context: _Context) -> bytes:
        answer = reply.message if isinstance(reply.message, bytes) else reply.message.SerializeToString()
        self._check_size(len(answer), "reply")
        trailers = _trailers(reply.tier, reply.request_id, reply.attempts)
        if trailers:
            context.set_trailing_metadata(trailers)
        return answer

    def _abort(self, rpc: Rpc, failure: Exception, context: _Context) -> _Abort:
        if isinstance(failure, SidecarError | AwsRejected):
            known, found = failure, verdict(failure)
        else:
            known = self._defect(rpc, failure)
            found = Verdict(grpc.StatusCode.INTERNAL, OWN_DOMAIN, known.reason)
        metadata: Any = context.invocation_metadata() or ()
        status = status_of(known, found, rpc.method, details_budget(metadata))
        request_id = known.request_id if isinstance(known, AwsRejected) else ""
        attempts = known.attempts if isinstance(known, AwsRejected | AwsUnreachable) else 0
        trailers: tuple[tuple[str, str | bytes], ...] = _trailers(known.tier, request_id, attempts)
        if isinstance(known, AwsRejected | AwsUnreachable):
            # The sidecar has tried again already: a client's own policy shall not (gRFC A6).
            trailers = (*trailers, ("grpc-retry-pushback-ms", "-1"))
        _log.debug(
            "rpc refused",
            method=rpc.method,
            code=found.code.name,
            reason=found.reason,
            trace_id=trace_id(metadata),
        )
        return _Abort(
            found.code, status.message, (*trailers, ("grpc-status-details-bin", status.SerializeToString()))
        )

    def _defect(self, rpc: Rpc, failure: Exception) -> SidecarError:
        """Logs a failure that nothing foresaw. The caller gets a fixed message, and the log's id for it."""
        error_id = secrets.token_hex(8)
        self._telemetry.errors_internal.inc()
        _log.error("internal error", method=rpc.method, error_id=error_id, exc_info=failure)
        return SidecarError(
            "an internal error; the sidecar's log has it", reason="INTERNAL_ERROR", error_id=error_id
        )


async def _within_deadline(reply: Awaitable[Reply], deadline: float | None) -> Reply:
    """The one place where the caller's deadline ends the work: credentials, attempts and waits are all inside."""
    if deadline is None:
        return await reply
    limit = asyncio.timeout_at(deadline)
    try:
        async with limit:
            return await reply
    except TimeoutError as spent:
        if not limit.expired():  # somebody else's
            raise
        raise DeadlineSpent from spent


@dataclass(frozen=True, slots=True)
class _Abort:
    code: grpc.StatusCode
    message: str
    trailers: tuple[tuple[str, str | bytes], ...]


def _trailers(tier: str, request_id: str, attempts: int) -> tuple[tuple[str, str], ...]:
    found = []
    if tier:
        found.append(("x-awsidecar-tier", tier))
    if request_id:
        found.append(("x-amzn-requestid", request_id))
    if attempts:
        found.append(("x-awsidecar-attempts", str(attempts)))
    return tuple(found)
