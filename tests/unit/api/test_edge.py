"""What `abort` raises, as gRPC's does."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2
from tests.unit.api.serving import WHO_AM_I, Aborted, FakeContext, counted, in_flight, serve, told

from awsidecar.credentials.v1 import credentials_pb2 as pb
from awsidecar_server.api.admission import Admission
from awsidecar_server.api.calls import Reply, Request
from awsidecar_server.api.edge import Edge
from awsidecar_server.api.metadata import Regions
from awsidecar_server.aws.idempotency import Nature
from awsidecar_server.aws.progress import Awaited
from awsidecar_server.config import ListenConfig
from awsidecar_server.errors import AwsRejected, CredentialsUnavailable, LimitReached
from awsidecar_server.ops.telemetry import Telemetry


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
