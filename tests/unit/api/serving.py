"""A call as the edge serves it, and what it sees of gRPC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from awsidecar_server.api.admission import Admission
from awsidecar_server.api.calls import Handler
from awsidecar_server.api.edge import Edge
from awsidecar_server.api.metadata import Regions
from awsidecar_server.config import ListenConfig
from awsidecar_server.contract import CREDENTIALS_SERVICE, rpcs
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


def told(context: FakeContext) -> dict[str, str]:
    """The metadata of the one ErrorInfo."""
    status = status_pb2.Status.FromString(context.trailers["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return dict(info.metadata)
