"""A defect of ours, on its way to the caller: a handler that raises what nothing foresaw, behind the real edge."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import grpc
import pytest
import structlog
from tests.integration.conftest import error_info

from awsidecar.dynamodb.v1 import dynamodb_service_pb2_grpc, items_pb2
from awsidecar_server.api.admission import Admission
from awsidecar_server.api.calls import Reply, Request
from awsidecar_server.api.edge import Edge
from awsidecar_server.api.grpc_server import GrpcServer
from awsidecar_server.api.listeners import address_of, bind_tcp
from awsidecar_server.api.metadata import Regions
from awsidecar_server.config import AwsConfig, ListenConfig, LogConfig
from awsidecar_server.contract import AWS_SERVICES, rpcs
from awsidecar_server.ops import log
from awsidecar_server.ops.telemetry import Telemetry

_SECRET = "a-secret-that-stood-in-the-exception"


async def broken(request: Request) -> Reply:
    raise ZeroDivisionError(_SECRET)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What the sidecar logs; afterwards logging is as it was."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    log.configure(LogConfig(format="json"), stream)
    yield stream
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


async def test_gives_a_fixed_message_whose_id_the_log_has_with_the_traceback(logged: io.StringIO) -> None:
    telemetry = Telemetry()
    edge = Edge(Admission(ListenConfig()), Regions.of(AwsConfig(region="us-east-1")), telemetry)
    (get_item,) = (rpc for rpc in rpcs(AWS_SERVICES[0]) if rpc.method == "GetItem")
    server = GrpcServer(max_message_bytes=1024, max_metadata_bytes=8192, max_streams=10, max_waiting_bytes=1 << 20)
    server.add_registered_method_handlers(get_item.service, {get_item.method: edge.method(get_item, broken)})
    bound = bind_tcp("127.0.0.1", 0)
    await server.listen(bound)
    try:
        async with grpc.aio.insecure_channel(address_of(bound)) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await dynamodb_service_pb2_grpc.DynamoDbServiceStub(channel).GetItem(items_pb2.GetItemRequest())
    finally:
        await server.stop()
    failure = failed.value
    info = error_info(failure)
    assert failure.code() is grpc.StatusCode.INTERNAL
    assert failure.details() == "an internal error; the sidecar's log has it"
    assert (info.domain, info.reason) == ("awsidecar", "INTERNAL_ERROR")
    assert _SECRET not in str(failure.trailing_metadata())
    (line,) = (json.loads(line) for line in logged.getvalue().splitlines() if "internal error" in line)
    assert line["error_id"] == info.metadata["error_id"]
    assert "ZeroDivisionError" in line["exception"]
    assert telemetry.registry.get_sample_value("awsidecar_internal_errors_total") == 1
