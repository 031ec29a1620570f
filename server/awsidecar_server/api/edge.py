"""What every RPC passes: observe, admit, read, serve, and translate errors. Handlers see none of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from awsidecar_server.api.aborts import Abort, Aborts, trailers
from awsidecar_server.api.admission import Admission
from awsidecar_server.api.calls import Handler, Request, Streamed, Streaming, Upload
from awsidecar_server.api.metadata import Metadata, Regions
from awsidecar_server.aws.progress import Progress
from awsidecar_server.bridge.depth import parse
from awsidecar_server.contract import Rpc
from awsidecar_server.errors import DeadlineSpent, Draining, InvalidRequest
from awsidecar_server.ops.telemetry import RpcMetrics, Telemetry

# Before the caller's deadline, the work is ended and the caller is told what was sent: a client that ends the call itself
# learns nothing. It is longer than an answer takes on one host, and no large share of a short deadline.
_ANSWER_SECONDS = 0.02
_ANSWER_SHARE = 0.1

_Context = grpc.aio.ServicerContext[bytes, bytes]
ResultT = TypeVar("ResultT")


class Edge:
    """Turns handlers into gRPC methods. Requests arrive as bytes, so that unreadable ones are answered by us."""

    def __init__(self, admission: Admission, regions: Regions, telemetry: Telemetry) -> None:
        self._admission = admission
        self._regions = regions
        self._telemetry = telemetry
        self._aborts = Aborts(telemetry)

    def method(self, rpc: Rpc, handler: Handler) -> grpc.RpcMethodHandler[bytes, bytes]:
        """The gRPC method of an RPC with one request and one response."""
        metrics = RpcMetrics(self._telemetry, rpc.service, rpc.method)
        request_class = GetMessageClass(rpc.request)
        admission = self._admission

        async def serve(raw: bytes, context: _Context) -> bytes:
            started, code, progress = time.perf_counter(), "CANCELLED", Progress()
            metrics.in_flight += 1
            admission.enter(len(raw))
            try:
                await admission.admit(len(raw))
                metadata, region, deadline = self._told(context)
                request = Request(_read(request_class, raw), metadata, region, deadline, len(raw), progress)
                reply = await _within_deadline(handler(request), deadline, progress)
                answer = self._written(reply.message)
                ends = trailers(reply.tier, reply.request_id, reply.attempts)
                if ends:
                    context.set_trailing_metadata(ends)
                if reply.untaken is not None:
                    call: Any = context  # gRPC's own context has no such thing
                    call.on_untaken(reply.untaken)
                code = "OK"
                return answer
            except (asyncio.CancelledError, Exception) as failure:
                abort = self._abort(rpc, failure, context, progress)
                if abort is None:
                    raise
                code = abort.code.name
                await context.abort(abort.code, abort.message, abort.trailers)
                raise  # never reached: abort raises
            finally:
                admission.leave(len(raw))
                metrics.in_flight -= 1
                metrics.finished(code, time.perf_counter() - started)

        return grpc.unary_unary_rpc_method_handler(serve)

    def stream(self, rpc: Rpc, streaming: Streaming) -> grpc.RpcMethodHandler[bytes, bytes]:
        """The gRPC method of an RPC that answers with a stream, to one request or to a stream of them."""
        metrics = RpcMetrics(self._telemetry, rpc.service, rpc.method)
        request_class = GetMessageClass(rpc.request)

        async def serve(requests: Any, context: _Context) -> None:
            started, code, progress = time.perf_counter(), "CANCELLED", Progress()
            size = 0 if rpc.takes_stream else len(requests)
            metrics.in_flight += 1
            self._admission.enter(size)
            try:
                await self._admission.admit(size)
                call = self._call(rpc, request_class, requests, context, progress)
                await self._answered(streaming, call, context)
                code = "OK"
            except (asyncio.CancelledError, Exception) as failure:
                abort = self._abort(rpc, failure, context, progress, endless=streaming.endless)
                if abort is None:
                    raise
                code = abort.code.name
                await context.abort(abort.code, abort.message, abort.trailers)
                raise  # never reached: abort raises
            finally:
                self._admission.leave(size)
                metrics.in_flight -= 1
                metrics.finished(code, time.perf_counter() - started)

        if rpc.takes_stream:
            return grpc.stream_stream_rpc_method_handler(serve)
        return grpc.unary_stream_rpc_method_handler(serve)

    def _abort(
        self,
        rpc: Rpc,
        failure: asyncio.CancelledError | Exception,
        context: _Context,
        progress: Progress,
        *,
        endless: bool = False,
    ) -> Abort | None:
        """What a call that has failed ends with; None when its caller has left."""
        if isinstance(failure, asyncio.CancelledError):
            if not (self._admission.stopped or (endless and self._admission.draining)):
                return None
            # It is the sidecar that ends it. What was on its way may have been carried out.
            failure = Draining()
        return self._aborts.of(rpc, failure, _metadata_of(context), progress)

    def _call(
        self, rpc: Rpc, request_class: type[Message], requests: Any, context: _Context, progress: Progress
    ) -> Request | Upload:
        metadata, region, deadline = self._told(context)
        if rpc.takes_stream:
            messages = self._messages(request_class, requests)
            return Upload(messages, metadata, region, deadline, progress, self._admission.drain_begun)
        return Request(_read(request_class, requests), metadata, region, deadline, len(requests), progress)

    async def _messages(
        self, request_class: type[Message], requests: AsyncIterator[bytes]
    ) -> AsyncIterator[Message]:
        async for raw in requests:
            self._admission.check_size(len(raw), "request")
            yield _read(request_class, raw)

    async def _answered(self, streaming: Streaming, call: Request | Upload, context: _Context) -> None:
        task = asyncio.current_task()
        assert task is not None
        if streaming.endless:
            self._admission.begin_endless(task)
        handler: Any = streaming.handler
        try:
            work = self._written_out(handler(call), context, call.progress)
            await _within_deadline(work, call.deadline, call.progress)
        except DeadlineSpent as spent:
            if streaming.endless and call.progress.has_answered:
                raise DeadlineSpent(endless=True) from spent
            raise
        finally:
            self._admission.end_endless(task)

    async def _written_out(self, opening: Awaitable[Streamed], context: _Context, progress: Progress) -> None:
        streamed = await opening
        if streamed.tier:
            context.set_trailing_metadata(trailers(streamed.tier, "", 0))
        try:
            async with aclosing(streamed.messages) as messages:
                async for message in messages:
                    await context.write(self._written(message))
                    progress.has_answered = True
        except Exception as failure:
            if streamed.tier and not getattr(failure, "tier", "-"):
                failure.tier = streamed.tier  # type: ignore[attr-defined]
            raise

    def _told(self, context: _Context) -> tuple[Metadata, str, float | None]:
        """What a call says beside its message: its metadata, and from them its region; and its deadline."""
        metadata = _metadata_of(context)
        return metadata, self._regions.chosen_by(metadata), _deadline(context.time_remaining())

    def _written(self, message: Message | bytes) -> bytes:
        answer = message if isinstance(message, bytes) else message.SerializeToString()
        self._admission.check_size(len(answer), "reply")
        return answer


def _metadata_of(context: _Context) -> Metadata:
    metadata: Any = context.invocation_metadata() or ()
    return metadata  # type: ignore[no-any-return]


def _read(message_class: type[Message], raw: bytes) -> Message:
    try:
        return parse(message_class, raw)
    except DecodeError as malformed:
        name = message_class.DESCRIPTOR.full_name
        raise InvalidRequest(f"the bytes are no {name}", reason="MALFORMED_MESSAGE", message=name) from malformed


def _deadline(remaining: float | None) -> float | None:
    """When the work must be over, on the event loop's clock, for its caller to hear of it within so many seconds."""
    if remaining is None:
        return None
    return asyncio.get_running_loop().time() + remaining - min(_ANSWER_SECONDS, remaining * _ANSWER_SHARE)


async def _within_deadline(work: Awaitable[ResultT], deadline: float | None, progress: Progress) -> ResultT:
    """The one place where the caller's deadline ends the work: credentials, attempts and waits are all inside."""
    if deadline is None:
        return await work
    limit = asyncio.timeout_at(deadline)
    try:
        async with limit:
            return await work
    except TimeoutError as spent:
        if not limit.expired():  # somebody else's
            raise
        awaited = progress.awaited
        raise (DeadlineSpent(awaited.state, awaited.last) if awaited else DeadlineSpent()) from spent
