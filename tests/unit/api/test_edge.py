from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from awsidecar.credentials.v1 import credentials_pb2 as pb
from awsidecar_server.api.contract import CREDENTIALS_SERVICE, rpcs
from awsidecar_server.api.edge import Edge, Handler, Reply, Request
from awsidecar_server.api.metadata import Regions
from awsidecar_server.config import ListenConfig
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

    async def abort(self, code: grpc.StatusCode, message: str, trailers: Any) -> None:
        self.code, self.message, self.trailers = code, message, dict(trailers)
        raise Aborted


async def serve(handler: Handler, telemetry: Telemetry, context: FakeContext) -> Any:
    edge = Edge(ListenConfig(), Regions("eu-central-1", frozenset({"eu-central-1"})), telemetry)
    method: Any = edge.method(WHO_AM_I, handler)
    return await method.unary_unary(b"", context)


def counted(telemetry: Telemetry, code: str) -> float | None:
    labels = {"grpc_service": WHO_AM_I.service, "grpc_method": "WhoAmI", "grpc_code": code}
    return telemetry.registry.get_sample_value("awsidecar_rpc_total", labels)


def in_flight(telemetry: Telemetry) -> float | None:
    labels = {"grpc_service": WHO_AM_I.service, "grpc_method": "WhoAmI"}
    return telemetry.registry.get_sample_value("awsidecar_rpc_in_flight", labels)


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
