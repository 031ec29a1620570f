"""HTTP/2 as h2spec checks it: some 150 cases of RFC 9113 and RFC 7541. It is a program in Go, built where Go is."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.integration.conftest import leave_out

from awsidecar_server.http2.budget import Budget
from awsidecar_server.http2.connection import Connection
from awsidecar_server.http2.limits import Limits
from awsidecar_server.http2.request import Head
from awsidecar_server.http2.stream import Stream

_H2SPEC = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"
_BUILD_SECONDS = 150
_RUN_SECONDS = 100
_STATUS_200 = b"\x88"


@pytest.fixture(scope="session")
def h2spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    go = shutil.which("go")
    if go is None:
        leave_out("h2spec needs Go to be built")
    folder = tmp_path_factory.mktemp("h2spec")
    environment: Mapping[str, str] = {**os.environ, "GOBIN": str(folder), "GOFLAGS": "-mod=mod"}
    built = subprocess.run(
        [go, "install", _H2SPEC],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=_BUILD_SECONDS,
    )
    if built.returncode:
        leave_out(f"h2spec could not be built: {built.stderr[-200:]}")
    return folder / "h2spec"


class Answering:
    """Answers each request when it is whole, whatever it is about."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def data(self, chunk: bytes) -> None:
        self._stream.consumed(len(chunk))

    def ended(self) -> None:
        self._stream.respond(_STATUS_200, b"hello", b"\x00\x01x\x01y")

    def lost(self) -> None:
        """Nothing is under way."""


class Acceptor:
    def request(self, stream: Stream, head: Head) -> Answering:
        return Answering(stream)

    def too_large(self, stream: Stream) -> None:
        stream.end(_STATUS_200)


@asynccontextmanager
async def listening() -> AsyncIterator[int]:
    connections: set[Connection] = set()
    closed = asyncio.Event()

    def ended(connection: Connection) -> None:
        connections.discard(connection)
        closed.set()

    def connection() -> Connection:
        made = Connection(Acceptor(), Limits(100, 64 * 1024), Budget(1 << 20), ended)
        connections.add(made)
        return made

    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for open_one in list(connections):
        open_one.abort()
    while connections:
        closed.clear()
        await closed.wait()


async def test_every_case_passes_also_the_strict_ones(h2spec: Path) -> None:
    async with listening() as port:
        arguments = ["--strict", "--timeout", "5", "--host", "127.0.0.1", "--port", str(port)]
        run = await asyncio.create_subprocess_exec(str(h2spec), *arguments, stdout=asyncio.subprocess.PIPE)
        said, _ = await asyncio.wait_for(run.communicate(), _RUN_SECONDS)
    summary = said.decode().strip().splitlines()[-1]
    assert summary.endswith(" 0 failed"), said.decode()[-4000:]
    assert int(summary.split()[0]) > 140
