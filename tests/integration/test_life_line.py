"""Nothing that tests start outlives them, even when they are killed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_PATIENCE_SECONDS = 20.0
_SETTINGS = {
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "AKIAOFNOACCOUNTATALL",
    "AWS_SECRET_ACCESS_KEY": "any-secret-will-do",
    "AWSIDECAR_LISTEN_PORT": "0",
    "AWSIDECAR_ADMIN_PORT": "0",
}
_HOLD_EMULATOR = """
import time
from tests.dynamodb_local import running
with running() as endpoint:
    print(endpoint.removeprefix("http://"), flush=True)
    time.sleep(600)
"""
_HOLD = f"""
import time
from tests.integration.conftest import start_sidecar
print(start_sidecar([], {_SETTINGS}).target, flush=True)
time.sleep(600)
"""
_HOLD_FOR_ASYNCIO = f"""
import asyncio
from tests.integration.stub.process import launched

async def hold():
    print((await launched({_SETTINGS})).target, flush=True)
    await asyncio.sleep(600)

asyncio.run(hold())
"""


@pytest.mark.parametrize("hold", [_HOLD, _HOLD_FOR_ASYNCIO], ids=["start_sidecar", "launched"])
def test_sidecar_ends_with_the_tests_that_started_it_however_they_end(hold: str) -> None:
    _end_with_their_holder(hold)


@pytest.mark.usefixtures("dynamodb_local")
def test_dynamodb_local_ends_with_the_tests_that_started_it_however_they_end() -> None:
    _end_with_their_holder(_HOLD_EMULATOR)


def _end_with_their_holder(hold: str) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", hold],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    with holder.stdout as printed:
        host, _, port = printed.readline().strip().rpartition(":")
    assert _listens(host, int(port))
    holder.kill()
    holder.wait()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while _listens(host, int(port)):
        assert time.monotonic() < deadline, "it outlives the tests"
        time.sleep(0.05)


def _listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0
