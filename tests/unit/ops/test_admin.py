from __future__ import annotations

import asyncio

import aiohttp
import pytest

from awsidecar_server.config import AdminConfig, BadConfig
from awsidecar_server.ops.admin import AdminServer
from awsidecar_server.ops.telemetry import Telemetry


async def get(server: AdminServer, path: str) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{server.address}{path}") as answer,
    ):
        return answer.status, answer.headers["Content-Type"], await answer.text()


async def always() -> bool:
    return True


async def test_operator_sees_life_readiness_and_metrics() -> None:
    ready = False

    async def is_ready() -> bool:
        return ready

    server = AdminServer(AdminConfig(port=0), Telemetry(), is_ready)
    await server.start()
    assert (await get(server, "/livez"))[0] == 200
    assert (await get(server, "/readyz"))[0] == 503
    ready = True
    assert (await get(server, "/readyz"))[0] == 200
    status, content_type, page = await get(server, "/metrics")
    assert (status, content_type.partition(";")[0]) == (200, "text/plain")
    assert "awsidecar_sessions_open" in page
    assert (await get(server, "/"))[0] == 404
    await server.stop()


async def test_address_that_is_taken_is_one_line_that_says_what_to_do() -> None:
    first = AdminServer(AdminConfig(port=0), Telemetry(), always)
    await first.start()
    port = int(first.address.rpartition(":")[2])
    with pytest.raises(BadConfig) as refused:
        await AdminServer(AdminConfig(port=port), Telemetry(), always).start()
    line = str(refused.value)
    assert line.startswith("AWSIDECAR_ADMIN_PORT: 127.0.0.1:")
    assert "for example AWSIDECAR_ADMIN_PORT=" in line
    assert "\n" not in line
    await first.stop()


async def test_connection_that_asks_nothing_is_ended_with_the_server() -> None:
    server = AdminServer(AdminConfig(port=0), Telemetry(), always)
    await server.start()
    host, _, port = server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /live")
    assert (await get(server, "/livez"))[0] == 200  # by then the server has the other one, too
    await server.stop()
    async with asyncio.timeout(4):  # less than it has to ask
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_stopping_what_never_started_is_nothing() -> None:
    await AdminServer(AdminConfig(port=0), Telemetry(), always).stop()
