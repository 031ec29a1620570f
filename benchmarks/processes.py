"""The processes of a run: fakes and servers that are measured, and clients that measure. Each ends with its parent."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.cells import Cell, Sample
from benchmarks.paths import ACCESS_KEY_ID, CONNECTIONS, REGION, SECRET_ACCESS_KEY, Target

ROOT = Path(__file__).parents[1]
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0


def free_port() -> int:
    """A port of the loopback address that nobody serves on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Failed(Exception):
    """A process that did not do what a run needs of it."""


def environment(**more: str) -> dict[str, str]:
    """The environment of every process: what AWS settings the machine has must not matter."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(("AWS", "COGNITO_"))}
    paths = [str(ROOT), str(ROOT / "server"), str(ROOT / "clients/python")]
    return {**inherited, "PYTHONPATH": os.pathsep.join(paths), "AWS_EC2_METADATA_DISABLED": "true", **more}


class Process:
    """A module of ours as a process that is spoken to in lines of JSON."""

    def __init__(self, module: str, *arguments: str, closing: ExitStack) -> None:
        self._module = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=environment(),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        closing.callback(self._stop)

    @property
    def process_id(self) -> int:
        return self._process.pid

    def hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f"{self._module} ended")
        heard: dict[str, Any] = json.loads(line)
        return heard

    def say(self, order: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def _stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class ClientProcess:
    """A client on one path; `run` measures one cell in it."""

    def __init__(self, path: str, target: Target, *, server: int, backend: int, closing: ExitStack) -> None:
        settings = {"path": path, "target": asdict(target), "server": server, "backend": backend}
        self._process = Process("benchmarks.client", json.dumps(settings), closing=closing)

    def run(self, cell: Cell, *, seconds: float, warm_seconds: float) -> Sample:
        order = {"operation": cell.operation, "in_flight": cell.in_flight, "rate": cell.rate}
        self._process.say({**order, "seconds": seconds, "warm_seconds": warm_seconds})
        try:
            return Sample.parse(self._process.hear())
        except Failed as failure:
            raise Failed(f"the client of {cell} ended; what it said is above") from failure


class Sidecar:
    """A sidecar process, from exec to the line in its log that says where it serves."""

    def __init__(self, target: Target, lane: str, closing: ExitStack, *, port: int = 0) -> None:
        self._log: list[str] = []
        self._serving = threading.Event()
        self.grpc = ""
        more = {"AWS_CA_BUNDLE": target.ca_file} if target.ca_file else {}
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "awsidecar_server", "serve"],
            env=environment(
                AWS_REGION=REGION,
                AWS_ACCESS_KEY_ID=ACCESS_KEY_ID,
                AWS_SECRET_ACCESS_KEY=SECRET_ACCESS_KEY,
                AWS_ENDPOINT_URL=target.endpoint,
                AWSIDECAR_AWS_LANE=lane,
                AWSIDECAR_AWS_POOL_SIZE=str(CONNECTIONS),
                AWSIDECAR_LISTEN_PORT=str(port),
                AWSIDECAR_ADMIN_PORT="0",
                AWSIDECAR_SHUTDOWN_GRACE_SECONDS="2",
                **more,
            ),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        closing.callback(self._stop)
        self._reader.start()
        if not self._serving.wait(_START_SECONDS) or not self.grpc:
            raise Failed("the sidecar did not start:\n" + "".join(self._log[-20:]))

    @property
    def process_id(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """Ends it as the kernel does when memory is short."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._log.append(line)
                del self._log[:-100]
                if '"serving"' in line:
                    self.grpc = json.loads(line)["grpc"][0]
                    self._serving.set()
        self._serving.set()

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
