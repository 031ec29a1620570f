from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from tests.unit.identity.fakes import settle
from tests.unit.workers.fakes import FakeChannel, FakeProcess

from awsidecar_server.api.listeners import BindError
from awsidecar_server.config import AdminConfig, Config, ListenConfig
from awsidecar_server.workers.post import WorkersFailed
from awsidecar_server.workers.supervisor import Supervisor

CONFIG = Config(listen=ListenConfig(port=0, workers=2), admin=AdminConfig(port=0))


class Crew:
    """Starts fake processes. A pause lasts until the test ends it."""

    def __init__(self, *refusals: str | None) -> None:
        self.processes: dict[int, FakeProcess] = {}
        self.pauses: list[tuple[float, asyncio.Future[None]]] = []
        self.failures: list[str] = []
        self.now = 0.0
        self.silent: set[int] = set()
        self.exhausted = False
        self._refusals = dict(enumerate(refusals))
        self.supervisor = Supervisor(
            CONFIG,
            {"AWS_REGION": "eu-central-1"},
            self.failures.append,
            launch=self.launch,
            clock=lambda: self.now,
            pause=self.pause,
        )

    async def launch(self, number: int, answer: Any, unix_socket: Any) -> FakeProcess:
        if self.exhausted:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        process = FakeProcess(self._refusals.get(number), silent=number in self.silent)
        self.processes[number] = process
        return process

    async def pause(self, seconds: float) -> None:
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pauses.append((seconds, ended))
        await ended

    async def go_on(self, seconds: float) -> None:
        """Ends the pauses of this length."""
        for length, ended in self.pauses:
            if length == seconds and not ended.done():
                ended.set_result(None)
        await settle()


@pytest.fixture
async def crew() -> AsyncIterator[Crew]:
    crew = Crew()
    async with crew.supervisor:
        yield crew


async def page(crew: Crew) -> str:
    text, _ = await crew.supervisor.page()
    return text.decode()


async def test_workers_are_told_the_same_port_and_environment(crew: Crew) -> None:
    for process in crew.processes.values():
        (start, orders), (serve, _) = process.channel.asked
        assert (start, serve) == ("start", "serve")
        assert orders["environment"] == {"AWS_REGION": "eu-central-1"}
        assert f"127.0.0.1:{orders['config']['listen']['port']}" == crew.supervisor.addresses[0]
    assert "awsidecar_workers_serving 2.0" in await page(crew)


async def test_worker_that_died_is_started_again_after_a_pause(crew: Crew) -> None:
    dead = crew.processes[1]
    dead.end("signal SIGSEGV")
    await settle()
    assert crew.processes[1] is dead
    assert "awsidecar_workers_serving 1.0" in await page(crew)
    await crew.go_on(0.25)
    assert crew.processes[1] is not dead
    assert crew.failures == []
    shown = await page(crew)
    assert "awsidecar_workers_serving 2.0" in shown
    assert 'awsidecar_worker_deaths_total{worker="1"} 1.0' in shown


async def test_worker_that_dies_too_often_is_given_up_with_the_reason(crew: Crew) -> None:
    for pause in (0.25, 0.5, 1.0, 2.0):
        crew.processes[1].end("exit code 3")
        await settle()
        await crew.go_on(pause)
    assert crew.failures == []
    crew.processes[1].end("exit code 3")
    await settle()
    assert crew.failures == ["worker 1 dies again and again (the last time: exit code 3)"]


async def test_worker_that_cannot_be_started_now_is_started_later(crew: Crew) -> None:
    crew.exhausted = True
    crew.processes.pop(1).end("signal SIGKILL")
    await settle()
    await crew.go_on(0.25)
    assert 1 not in crew.processes
    crew.exhausted = False
    await crew.go_on(0.5)
    assert crew.failures == []
    assert "awsidecar_workers_serving 2.0" in await page(crew)


async def test_worker_that_is_stuck_is_killed(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("awsidecar_server.workers.post._SILENCE_SECONDS", 0.0)
    stuck = crew.processes[0]
    stuck.channel = FakeChannel()
    await crew.go_on(5.0)
    await settle()
    assert stuck.signals == ["SIGKILL"]
    assert crew.processes[1].signals == []


async def test_scrape_does_not_fail_with_a_worker_that_gives_no_answer(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("awsidecar_server.workers.supervisor._PROBE_SECONDS", 0.0)
    crew.processes[0].channel = FakeChannel()
    assert "awsidecar_workers_serving 1.0" in await page(crew)


async def test_sidecar_is_ready_when_every_worker_says_in_time_that_it_is_there(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await probed(crew) == 200
    monkeypatch.setattr("awsidecar_server.workers.supervisor._PROBE_SECONDS", 0.0)
    answering, crew.processes[0].channel = crew.processes[0].channel, FakeChannel()
    assert await probed(crew) == 503
    crew.processes[0].channel = answering
    assert await probed(crew) == 200
    crew.processes[1].end("signal SIGKILL")
    await settle()
    assert await probed(crew) == 503


async def probed(crew: Crew) -> int:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://{crew.supervisor.admin.address}/readyz") as answer,
    ):
        return answer.status


async def test_end_is_passed_on_and_a_worker_that_takes_too_long_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("awsidecar_server.workers.supervisor._CLOSING_SECONDS", -CONFIG.shutdown.grace_seconds)
    crew = Crew()
    async with crew.supervisor:
        slow = crew.processes[0]
        slow.terminate = lambda: slow.signals.append("SIGTERM")  # type: ignore[method-assign]
    assert slow.signals == ["SIGTERM", "SIGKILL"]
    assert crew.processes[1].signals == ["SIGTERM"]
    assert crew.failures == []


async def test_port_that_a_worker_cannot_serve_on_is_told_as_it_is() -> None:
    crew = Crew(None, "AWSIDECAR_LISTEN_PORT: 127.0.0.1:1 cannot be served on")
    starting = asyncio.ensure_future(crew.supervisor.__aenter__())
    with pytest.raises(BindError, match=r"^AWSIDECAR_LISTEN_PORT: 127\.0\.0\.1:1 cannot be served on$"):
        await starting
    assert crew.processes[0].signals == ["SIGTERM"]


async def test_worker_that_never_served_is_not_tried_again() -> None:
    crew = Crew()
    crew.silent = {1}
    starting = asyncio.ensure_future(crew.supervisor.__aenter__())
    await settle()
    crew.processes[1].end("exit code 1")
    with pytest.raises(WorkersFailed, match=r"^worker 1 did not start \(exit code 1\)$"):
        await starting
    assert crew.processes[0].signals == ["SIGTERM"]


async def test_start_that_is_given_up_leaves_no_worker() -> None:
    crew = Crew()
    crew.silent = {0, 1}
    starting = asyncio.ensure_future(crew.supervisor.__aenter__())
    await settle()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert [process.signals for process in crew.processes.values()] == [["SIGTERM"]] * 2


def test_supervisor_loads_neither_grpc_nor_the_way_to_aws() -> None:
    program = (
        "import sys, awsidecar_server.run, awsidecar_server.workers.supervisor\n"
        "print(*(name for name in ('grpc', 'google.protobuf', 'awsidecar_server.aws', 'awsidecar_server.app') if name in sys.modules))"
    )
    search_path = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=search_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n"
