"""AWS's own emulator as the tests have it, and a sidecar on it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import grpc
from tests.integration.conftest import Sidecar

from awsidecar.dynamodb.v1.dynamodb_service_pb2_grpc import DynamoDbServiceStub
from awsidecar.dynamodb.v1.tables_pb2 import ListTablesRequest

_ROOT = Path(__file__).parents[2]
_PATIENCE_SECONDS = 20.0
_HOLD = """
import time
from tests.dynamodb_local import running
with running() as endpoint:
    print(endpoint, flush=True)
    time.sleep(600)
"""


def test_it_ends_with_the_process_that_started_it_however_that_ends(dynamodb_local: str) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    with holder.stdout as printed:
        endpoint = printed.readline().strip()
    assert _listens(endpoint)
    holder.kill()
    holder.wait()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while _listens(endpoint):
        assert time.monotonic() < deadline, "it outlives who started it"
        time.sleep(0.05)


def _listens(endpoint: str) -> bool:
    address = urlsplit(endpoint)
    with socket.socket() as probe:
        return probe.connect_ex((address.hostname, address.port)) == 0


def test_sidecar_serves_the_tables_of_dynamodb_local(sidecar_on_dynamodb_local: Sidecar) -> None:
    with grpc.insecure_channel(sidecar_on_dynamodb_local.target) as channel:
        call = DynamoDbServiceStub(channel).ListTables
        _, finished = call.with_call(ListTablesRequest(), timeout=30)
    trailers = dict(finished.trailing_metadata() or ())
    assert trailers["x-awsidecar-tier"] == "service_account"
    assert trailers["x-amzn-requestid"]
