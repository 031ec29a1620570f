from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from awsidecar.credentials.v1 import credentials_pb2 as pb
from awsidecar_server.api.admission import Admission
from awsidecar_server.api.calls import Handler, Reply, Request, Streamed, Streaming, Upload
from awsidecar_server.api.edge import Edge
from awsidecar_server.api.metadata import Regions
from awsidecar_server.aws.idempotency import Nature
from awsidecar_server.aws.progress import Awaited
from awsidecar_server.config import ListenConfig
from awsidecar_server.contract import CREDENTIALS_SERVICE, Rpc, rpcs
from awsidecar_server.errors import AwsRejected, CredentialsUnavailable, LimitReached
from awsidecar_server.ops.telemetry import Telemetry

WHO_AM_I = next(rpc for rpc in rpcs(CREDENTIALS_SERVICE) if rpc.method == "WhoAmI")


class Aborted(Exception):
    """What `abort` raises, as gRPC's does."""


class FakeContext:
    """As much of gRPC's context as the edge asks for."""

    def __init__(self, time_remaining: float | None = None) -> None:
        self._time_remaining = time_remaining
        self.code: grpc.StatusCode | None = None
        self.message = ""

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return ()

    def time_remaining(self) -> float | None:
        return self._time_remaining

    def set_trailing_metadata(self, trailers: Any) -> None:
        self.trailers = dict(trailers)

    def on_untaken(self, untaken: Callable[[], None]) -> None:
        self.untaken = untaken

    async def abort(self, code: grpc.StatusCode, message: str, trailers: Any) -> None:
        self.code, self.message, self.trailers = code, message, dict(trailers)
        raise Aborted


async def serve(handler: Handler, telemetry: Telemetry, context: FakeContext) -> Any:
    edge = Edge(Admission(ListenConfig()), Regions("eu-central-1", frozenset({"eu-central-1"})), telemetry)
    method: Any = edge.method(WHO_AM_I, handler)
    return await method.unary_unary(b"", context)


def counted(telemetry: Telemetry, code: str) -> float | None:
    labels = {"grpc_service": WHO_AM_I.service, "grpc_method": "WhoAmI", "grpc_code": code}
    return telemetry.registry.get_sample_value("awsidecar_rpc_total", labels)


def in_flight(telemetry: Telemetry) -> float | None:
    labels = {"grpc_service": WHO_AM_I.service, "grpc_method": "WhoAmI"}
    return telemetry.registry.get_sample_value("awsidecar_rpc_in_flight", labels)


async def test_whoever_answers_hears_when_the_answer_is_not_taken() -> None:
    heard: list[str] = []

    async def answer(request: Request) -> Reply:
        return Reply(pb.WhoAmIResponse(), untaken=lambda: heard.append("untaken"))

    context = FakeContext()
    await serve(answer, Telemetry(), context)
    assert heard == []
    context.untaken()
    assert heard == ["untaken"]


async def test_answer_is_written_and_counted() -> None:
    async def answer(request: Request) -> Reply:
        return Reply(pb.WhoAmIResponse(region=request.region), "session", "REQ", 2)

    telemetry, context = Telemetry(), FakeContext(60)
    raw = await serve(answer, telemetry, context)
    assert pb.WhoAmIResponse.FromString(raw).region == "eu-central-1"
    assert context.trailers["x-awsidecar-tier"] == "session"
    assert (counted(telemetry, "OK"), in_flight(telemetry)) == (1, 0)


@pytest.mark.parametrize("time_remaining", [0.01, 0.0, -1.0])
async def test_deadline_ends_the_work(time_remaining: float) -> None:
    ended = False

    async def hang(request: Request) -> Reply:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            ended = True
        raise AssertionError

    telemetry, context = Telemetry(), FakeContext(time_remaining)
    with pytest.raises(Aborted):
        await serve(hang, telemetry, context)
    assert context.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert ended
    assert (counted(telemetry, "DEADLINE_EXCEEDED"), in_flight(telemetry)) == (1, 0)


def told(context: FakeContext) -> dict[str, str]:
    """The metadata of the one ErrorInfo."""
    status = status_pb2.Status.FromString(context.trailers["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return dict(info.metadata)


async def test_deadline_that_cuts_a_write_on_its_way_says_so() -> None:
    async def hang(request: Request) -> Reply:
        request.progress.begin(lambda: Nature.REPEATABLE)
        request.progress.sent()
        await asyncio.Event().wait()
        raise AssertionError

    context = FakeContext(0.01)
    with pytest.raises(Aborted):
        await serve(hang, Telemetry(), context)
    assert told(context) == {"operation": "WhoAmI", "attempts": "1", "ambiguous": "true"}
    assert context.trailers["x-awsidecar-attempts"] == "1"
    assert context.trailers["grpc-retry-pushback-ms"] == "-1"


async def test_deadline_that_passes_before_anything_is_sent_says_nothing_of_it() -> None:
    async def hang(request: Request) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    context = FakeContext(0.01)
    with pytest.raises(Aborted):
        await serve(hang, Telemetry(), context)
    assert told(context) == {"operation": "WhoAmI"}
    assert not {"x-awsidecar-attempts", "grpc-retry-pushback-ms"} & set(context.trailers)


@pytest.mark.parametrize(
    ("last", "words", "metadata"),
    [("CREATING", "the last one was CREATING", {"status": "CREATING"}), ("", "AWS has told none", {})],
)
async def test_deadline_of_a_wait_says_what_it_waits_for(last: str, words: str, metadata: dict[str, str]) -> None:
    async def hang(request: Request) -> Reply:
        request.progress.awaited = Awaited("ACTIVE", last)
        await asyncio.Event().wait()
        raise AssertionError

    context = FakeContext(0.01)
    with pytest.raises(Aborted):
        await serve(hang, Telemetry(), context)
    assert context.message == f"the deadline passed while the call waited for the state ACTIVE; {words}"
    assert told(context) == {"operation": "WhoAmI", **metadata}


@pytest.mark.parametrize(
    "failure",
    [
        CredentialsUnavailable("no", tier="cognito"),
        LimitReached("the reply is too large", reason="MESSAGE_TOO_LARGE"),
        AwsRejected("dynamodb", "PutItem", "AccessDeniedException", ""),
        KeyError("a defect"),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_failure_of_any_kind_tells_of_the_write_before_it(failure: Exception) -> None:
    """The renewal of credentials, for example, may fail after an attempt that went unanswered."""

    async def fail(request: Request) -> Reply:
        for _ in range(2):
            request.progress.begin(lambda: Nature.REPEATABLE)
            request.progress.sent()
        raise failure

    context = FakeContext()
    with pytest.raises(Aborted):
        await serve(fail, Telemetry(), context)
    assert (told(context)["attempts"], told(context)["ambiguous"]) == ("2", "true")


@pytest.mark.parametrize("defect", [TimeoutError("canary"), KeyError("canary"), StopAsyncIteration("canary")])
async def test_defect_is_internal_and_says_nothing_of_itself(defect: Exception) -> None:
    """Somebody else's timeout is no deadline of the caller's."""

    async def fail(request: Request) -> Reply:
        raise defect

    telemetry, context = Telemetry(), FakeContext(60)
    with pytest.raises(Aborted):
        await serve(fail, telemetry, context)
    assert context.code is grpc.StatusCode.INTERNAL
    assert context.message == "an internal error; the sidecar's log has it"
    raw = context.trailers["grpc-status-details-bin"]
    assert b"canary" not in raw
    assert status_pb2.Status.FromString(raw).code == grpc.StatusCode.INTERNAL.value[0]
    assert telemetry.registry.get_sample_value("awsidecar_internal_errors_total") == 1


async def test_cancellation_passes_through_and_is_counted() -> None:
    started = asyncio.Event()

    async def hang(request: Request) -> Reply:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    telemetry, context = Telemetry(), FakeContext()
    serving = asyncio.create_task(serve(hang, telemetry, context))
    await started.wait()
    assert in_flight(telemetry) == 1
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert context.code is None
    assert (counted(telemetry, "CANCELLED"), in_flight(telemetry)) == (1, 0)


async def test_call_that_outlasts_the_grace_is_told_whether_its_write_may_have_been_done() -> None:
    started = asyncio.Event()

    async def hang(request: Request) -> Reply:
        request.progress.begin(lambda: Nature.ONCE)
        request.progress.sent()
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    telemetry, context, admission = Telemetry(), FakeContext(), Admission(ListenConfig())
    edge = Edge(admission, Regions("eu-central-1", frozenset({"eu-central-1"})), telemetry)
    method: Any = edge.method(WHO_AM_I, hang)
    serving = asyncio.create_task(method.unary_unary(b"", context))
    await started.wait()
    admission.drain()
    admission.stop()
    serving.cancel()
    with pytest.raises(Aborted):
        await serving
    assert told(context) == {"operation": "WhoAmI", "attempts": "1", "ambiguous": "true"}
    assert context.code is grpc.StatusCode.UNAVAILABLE
    assert context.trailers["grpc-retry-pushback-ms"] == "-1"
    assert (counted(telemetry, "UNAVAILABLE"), in_flight(telemetry)) == (1, 0)


class FakeStreamContext(FakeContext):
    """As much of gRPC's context as a stream asks for."""

    def __init__(self, time_remaining: float | None = None) -> None:
        super().__init__(time_remaining)
        self.written: list[str] = []

    async def write(self, raw: bytes) -> None:
        self.written.append(pb.WhoAmIResponse.FromString(raw).region)


WATCH = replace(WHO_AM_I, gives_stream=True)
EXCHANGE = replace(WHO_AM_I, takes_stream=True, gives_stream=True)


class Streams:
    """An edge with its admission, and a method of it that answers with a stream."""

    def __init__(self, rpc: Rpc, handler: Any, *, endless: bool = False, limit_bytes: int = 1024) -> None:
        self.telemetry = Telemetry()
        self.admission = Admission(ListenConfig(max_message_bytes=limit_bytes))
        edge = Edge(self.admission, Regions("eu-central-1", frozenset({"eu-central-1"})), self.telemetry)
        method: Any = edge.stream(rpc, Streaming(handler, endless=endless))
        self.serve = method.stream_stream if rpc.takes_stream else method.unary_stream


async def streamed_regions(request: Request) -> Streamed:
    async def messages() -> AsyncGenerator[Message | bytes, None]:
        yield pb.WhoAmIResponse(region="one")
        yield pb.WhoAmIResponse(region="two").SerializeToString()

    return Streamed(messages(), "session")


async def test_stream_is_written_message_by_message_and_counted() -> None:
    streams, context = Streams(WATCH, streamed_regions), FakeStreamContext()
    await streams.serve(b"", context)
    assert context.written == ["one", "two"]
    assert context.trailers == {"x-awsidecar-tier": "session"}
    assert (counted(streams.telemetry, "OK"), in_flight(streams.telemetry)) == (1, 0)


async def test_stream_that_fails_says_what_came_before_and_why_and_closes_its_source() -> None:
    closed = False

    async def handler(request: Request) -> Streamed:
        async def messages() -> AsyncGenerator[Message | bytes, None]:
            nonlocal closed
            try:
                yield pb.WhoAmIResponse(region="one")
                raise LimitReached("enough", reason="OVERLOADED")
            finally:
                closed = True

        return Streamed(messages(), "session")

    streams, context = Streams(WATCH, handler), FakeStreamContext()
    with pytest.raises(Aborted):
        await streams.serve(b"", context)
    assert (context.written, context.code, closed) == (["one"], grpc.StatusCode.RESOURCE_EXHAUSTED, True)
    assert context.trailers["x-awsidecar-tier"] == "session"
    assert counted(streams.telemetry, "RESOURCE_EXHAUSTED") == 1


async def test_deadline_ends_a_stream_between_its_messages() -> None:
    async def handler(request: Request) -> Streamed:
        async def messages() -> AsyncGenerator[Message | bytes, None]:
            yield pb.WhoAmIResponse(region="one")
            await asyncio.Event().wait()

        return Streamed(messages())

    context = FakeStreamContext(0.05)
    with pytest.raises(Aborted):
        await Streams(WATCH, handler).serve(b"", context)
    assert (context.written, context.code) == (["one"], grpc.StatusCode.DEADLINE_EXCEEDED)


async def test_slow_reader_holds_the_source_back() -> None:
    made: list[int] = []
    taken = asyncio.Event()

    class SlowContext(FakeStreamContext):
        async def write(self, raw: bytes) -> None:
            await super().write(raw)
            if len(self.written) == 2:
                taken.set()
                await asyncio.Event().wait()

    async def handler(request: Request) -> Streamed:
        async def messages() -> AsyncGenerator[Message | bytes, None]:
            for number in range(10):
                made.append(number)
                yield pb.WhoAmIResponse(region=str(number))

        return Streamed(messages())

    serving = asyncio.create_task(Streams(WATCH, handler).serve(b"", SlowContext()))
    await taken.wait()
    assert made == [0, 1]
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_stream_that_outlasts_the_grace_is_told_that_the_sidecar_goes() -> None:
    started = asyncio.Event()

    async def handler(request: Request) -> Streamed:
        async def messages() -> AsyncGenerator[Message | bytes, None]:
            started.set()
            await asyncio.Event().wait()
            yield pb.WhoAmIResponse()

        return Streamed(messages())

    streams, context = Streams(WATCH, handler), FakeStreamContext()
    serving = asyncio.create_task(streams.serve(b"", context))
    await started.wait()
    streams.admission.drain()
    streams.admission.stop()
    serving.cancel()
    with pytest.raises(Aborted):
        await serving
    assert context.code is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("endless", [True, False])
async def test_drain_ends_a_stream_only_when_it_is_endless(endless: bool) -> None:
    started, going_on = asyncio.Event(), asyncio.Event()

    async def handler(request: Request) -> Streamed:
        async def messages() -> AsyncGenerator[Message | bytes, None]:
            started.set()
            await going_on.wait()
            yield pb.WhoAmIResponse(region="end")

        return Streamed(messages())

    streams, context = Streams(WATCH, handler, endless=endless), FakeStreamContext()
    serving = asyncio.create_task(streams.serve(b"", context))
    await started.wait()
    streams.admission.drain()
    going_on.set()
    if endless:
        with pytest.raises(Aborted):
            await serving
        assert (context.written, context.code) == ([], grpc.StatusCode.UNAVAILABLE)
    else:
        await serving
        assert context.written == ["end"]
    await streams.admission.idle()


async def test_exchange_reads_its_caller_message_by_message_and_refuses_one_that_is_too_large() -> None:
    async def handler(upload: Upload) -> Streamed:
        async def messages() -> AsyncGenerator[Message | bytes, None]:
            async for message in upload.messages:
                assert isinstance(message, pb.WhoAmIRequest)
                yield pb.WhoAmIResponse(region="read")

        return Streamed(messages())

    async def requests() -> AsyncGenerator[bytes, None]:
        yield b""
        yield b"\x00" * 11

    streams, context = Streams(EXCHANGE, handler, limit_bytes=10), FakeStreamContext()
    with pytest.raises(Aborted):
        await streams.serve(requests(), context)
    assert (context.written, context.code) == (["read"], grpc.StatusCode.RESOURCE_EXHAUSTED)


@pytest.mark.parametrize(("remaining", "given"), [(10.0, 9.98), (0.1, 0.09), (None, None)])
async def test_work_ends_before_the_deadline_by_as_much_as_the_answer_takes(
    remaining: float | None, given: float | None
) -> None:
    """A client that ends the call itself learns nothing."""
    seen: list[float | None] = []

    async def answer(request: Request) -> Reply:
        now = asyncio.get_running_loop().time()
        seen.append(None if request.deadline is None else request.deadline - now)
        return Reply(pb.WhoAmIResponse())

    await serve(answer, Telemetry(), FakeContext(remaining))
    assert seen == [given if given is None else pytest.approx(given, abs=0.008)]
