"""Where the sidecar is served: ports, the Unix socket, health and reflection."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.integration.stub.conftest import Start
from tests.integration.stub.process import launched
from tests.integration.stub.sidecar import Sidecar, connected, settings_for
from tests.integration.stub_aws import StubAws, held

from awsidecar.credentials.v1 import credentials_pb2 as pb
from awsidecar.dynamodb.v1 import tables_pb2
from awsidecar_server.api.listeners import BindError

pytestmark = pytest.mark.asyncio(loop_scope="session")

_PATIENCE_SECONDS = 10.0
_POLL_SECONDS = 0.01
EX_USAGE = 64  # sysexits.h: the command was used incorrectly
SERVICES = {
    "awsidecar.dynamodb.v1.DynamoDbService",
    "awsidecar.dynamodb.v1.DynamoDbStreamsService",
    "awsidecar.credentials.v1.CredentialsService",
    "awsidecar.documents.v1.DocumentService",
}


@pytest.fixture
def socket_path() -> Iterator[str]:
    """In a directory of its own with a short name: a socket's path has at most 107 characters."""
    with TemporaryDirectory(prefix="awsidecar-") as directory:
        yield str(Path(directory) / "grpc.sock")


@pytest.fixture
def taken_port() -> Iterator[int]:
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


async def test_health_is_serving_overall_and_for_each_service(sidecar: Sidecar) -> None:
    stub = health_pb2_grpc.HealthStub(sidecar.channel)
    for service in ("", *SERVICES):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_every_service_and_gives_its_file(sidecar: Sidecar) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(sidecar.channel)
    requests = [reflection_pb2.ServerReflectionRequest(list_services="")]
    requests += [reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in sorted(SERVICES)]
    listed, *found = [answer async for answer in stub.ServerReflectionInfo(iter(requests))]
    names = {service.name for service in listed.list_services_response.service}
    assert names == {*SERVICES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert all(answer.file_descriptor_response.file_descriptor_proto for answer in found)


async def test_unix_socket_serves_owner_and_group_and_is_removed_at_the_end(start: Start, socket_path: str) -> None:
    async with start(AWSIDECAR_LISTEN_UNIX_SOCKET=socket_path) as sidecar:
        assert sidecar.app.server.addresses[1] == f"unix:{socket_path}"
        assert stat.S_IMODE(os.stat(socket_path).st_mode) == 0o660
        async with connected(f"unix:{socket_path}") as client:
            answer = await client.credentials.WhoAmI(pb.WhoAmIRequest())
            assert answer.tier == pb.TIER_SERVICE_ACCOUNT
    assert not os.path.exists(socket_path)


async def test_unix_socket_of_a_successor_outlives_the_drain_of_its_predecessor(
    start: Start, aws: StubAws, socket_path: str
) -> None:
    aws.on("ListTables", held())
    async with AsyncExitStack() as serving, AsyncExitStack() as calling:
        old = await serving.enter_async_context(start(AWSIDECAR_LISTEN_UNIX_SOCKET=socket_path))
        client = await calling.enter_async_context(connected(old.target))
        call = asyncio.ensure_future(client.dynamodb.ListTables(tables_pb2.ListTablesRequest()))
        await aws.until(lambda: aws.count("ListTables") == 1)
        draining = asyncio.ensure_future(serving.aclose())
        is_free = False
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not is_free:
                await asyncio.sleep(_POLL_SECONDS)
                is_free = not os.path.exists(socket_path)
        async with start(AWSIDECAR_LISTEN_UNIX_SOCKET=socket_path), connected(f"unix:{socket_path}") as client:
            assert not draining.done()
            aws.release()
            await asyncio.gather(call, draining)
            assert (await client.credentials.WhoAmI(pb.WhoAmIRequest())).tier == pb.TIER_SERVICE_ACCOUNT


async def test_unix_socket_left_by_a_crash_is_replaced(start: Start, socket_path: str) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as crashed:
        crashed.bind(socket_path)
    assert os.path.exists(socket_path)
    async with start(AWSIDECAR_LISTEN_UNIX_SOCKET=socket_path), connected(f"unix:{socket_path}") as client:
        await client.credentials.WhoAmI(pb.WhoAmIRequest())


async def test_unix_socket_that_is_served_on_is_not_taken_over(start: Start, socket_path: str) -> None:
    async with start(AWSIDECAR_LISTEN_UNIX_SOCKET=socket_path):
        with pytest.raises(BindError, match="AWSIDECAR_LISTEN_UNIX_SOCKET"):
            async with start(AWSIDECAR_LISTEN_UNIX_SOCKET=socket_path):
                pass
        async with connected(f"unix:{socket_path}") as client:
            await client.credentials.WhoAmI(pb.WhoAmIRequest())


async def test_file_in_the_place_of_the_unix_socket_is_left_alone(start: Start, socket_path: str) -> None:
    Path(socket_path).write_text("mine", encoding="utf-8")
    with pytest.raises(BindError, match="AWSIDECAR_LISTEN_UNIX_SOCKET"):
        async with start(AWSIDECAR_LISTEN_UNIX_SOCKET=socket_path):
            pass
    assert Path(socket_path).read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("variable", ["AWSIDECAR_LISTEN_PORT", "AWSIDECAR_ADMIN_PORT"])
async def test_taken_port_ends_the_process_with_one_line(variable: str, taken_port: int) -> None:
    settings = settings_for("http://127.0.0.1:1", **{variable: str(taken_port)})
    process = await launched(settings)
    assert await process.ended() == EX_USAGE
    (line,) = process.errors.splitlines()
    assert line.startswith(f"awsidecar: {variable}: ")
    assert str(taken_port) in line


async def test_unix_socket_in_no_directory_ends_the_process_with_one_line(socket_path: str) -> None:
    settings = settings_for("http://127.0.0.1:1", AWSIDECAR_LISTEN_UNIX_SOCKET=f"{socket_path}/no/such.sock")
    process = await launched(settings)
    assert await process.ended() == EX_USAGE
    (line,) = process.errors.splitlines()
    assert line.startswith("awsidecar: AWSIDECAR_LISTEN_UNIX_SOCKET: ")
