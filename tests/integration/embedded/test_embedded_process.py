"""The emulator's process: what it sees, what it opens, and that nothing of it outlives the sidecar."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import leave_out

from awsidecar_server.config import EmbeddedConfig
from awsidecar_server.embedded import EmbeddedAws, EmulatorFailed
from awsidecar_server.embedded.process import EmulatorProcess, free_port

# A sidecar in small: starts the embedded AWS, tells where it is, and waits to be killed.
_SIDECAR = """
import asyncio, sys
from awsidecar_server.config import EmbeddedConfig
from awsidecar_server.embedded import EmbeddedAws

async def main():
    embedded = await EmbeddedAws.start(EmbeddedConfig(python=sys.argv[1], data_dir=sys.argv[2] or None))
    print(embedded._process.pid, embedded.endpoint_url, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """All temporary files go to a folder of the test's own, which must be empty again in the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def proc() -> None:
    """What the kernel tells of processes; a skip with one line where it does not."""
    if not Path("/proc/self/environ").exists():
        leave_out("there is no /proc here")


def _script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    # A dead process stays in the table until its new parent looks, which in a container may be never.
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != errno.ECONNREFUSED


@pytest.mark.usefixtures("proc")
async def test_no_secret_of_the_environment_reaches_it(
    embedded_python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "DOCKER_AUTH", "LOCALSTACK_API_KEY", "MY_PASSWORD"):
        monkeypatch.setenv(name, "do-not-tell")
    emulator = await EmulatorProcess.start(embedded_python)
    try:
        environment = _environment(emulator.pid)
    finally:
        await emulator.stop()
    assert b"do-not-tell" not in environment
    assert not re.search(rb"(^|\0)(AWS_|LOCALSTACK)", environment)
    assert environment.count(b"DOCKER_") == 1  # DOCKER_HOST, which switches Docker off


def _environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.usefixtures("proc")
async def test_it_listens_on_one_loopback_port_and_nowhere_else(embedded_python: str) -> None:
    embedded = await EmbeddedAws.start(EmbeddedConfig(python=embedded_python))
    try:
        listening = _listening(embedded._process.pid)
    finally:
        await embedded.stop()
    port = int(embedded.endpoint_url.rpartition(":")[2])
    assert listening == {f"0100007F:{port:04X}"}


def _listening(pid: int) -> set[str]:
    """The addresses, as the kernel writes them, that a process listens on."""
    links = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [
        row.split()
        for table in ("tcp", "tcp6")
        if Path(f"/proc/{pid}/net/{table}").exists()
        for row in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    return {row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in links}


async def test_profiles_proxies_and_endpoints_around_it_do_not_matter(
    embedded_python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "missing")
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_IAM", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    embedded = await EmbeddedAws.start(EmbeddedConfig(python=embedded_python))
    await embedded.stop()


async def test_ctrl_c_in_the_terminal_does_not_reach_it(embedded_python: str) -> None:
    emulator = await EmulatorProcess.start(embedded_python)
    try:
        assert os.getsid(emulator.pid) == os.getpgid(emulator.pid) == emulator.pid
    finally:
        await emulator.stop()


async def test_a_crash_is_noticed_and_cleaned_up(embedded_python: str) -> None:
    embedded = await EmbeddedAws.start(EmbeddedConfig(python=embedded_python))
    failed = asyncio.create_task(embedded.wait_failed())
    os.kill(embedded._process.pid, signal.SIGKILL)
    failure = await failed
    await embedded.stop()
    assert isinstance(failure, EmulatorFailed)
    assert "ended unexpectedly (signal SIGKILL)" in str(failure)


async def test_an_asked_for_end_is_no_failure(embedded_python: str) -> None:
    embedded = await EmbeddedAws.start(EmbeddedConfig(python=embedded_python))
    failed = asyncio.create_task(embedded.wait_failed())
    await asyncio.gather(embedded.stop(), embedded.stop())
    assert await failed is None
    assert not _is_open(int(embedded.endpoint_url.rpartition(":")[2]))


@pytest.mark.parametrize("keeps_data", [False, True], ids=["in memory", "with a data directory"])
async def test_a_killed_sidecar_leaves_no_process_no_port_and_no_folder(
    embedded_python: str, tmp_path: Path, temporary_folder: Path, until: Any, keeps_data: bool
) -> None:
    pid, port = await _start_and_kill_sidecar(
        embedded_python, temporary_folder, tmp_path / "data" if keeps_data else None
    )
    await until(lambda: not _is_running(pid))
    assert not _is_open(port)


async def _start_and_kill_sidecar(python: str, temporary_folder: Path, data_dir: Path | None) -> tuple[int, int]:
    sidecar = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _SIDECAR,
        python,
        str(data_dir or ""),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(temporary_folder), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert sidecar.stdout is not None
    pid, endpoint_url = (await sidecar.stdout.readline()).decode().split()
    port = int(endpoint_url.rpartition(":")[2])
    assert _is_open(port)
    sidecar.kill()
    await sidecar.wait()
    return int(pid), port


async def test_a_taken_port_is_given_up_for_another(embedded_python: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports = [taken, free_port()]
        emulator = await EmulatorProcess.start(embedded_python, pick_port=lambda: ports.pop(0))
        await emulator.stop()
    assert emulator.endpoint_url != f"http://127.0.0.1:{taken}"


async def test_three_taken_ports_are_enough(embedded_python: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        asked: list[int] = []

        def pick_port() -> int:
            asked.append(other.getsockname()[1])
            return asked[-1]

        with pytest.raises(EmulatorFailed, match="already in use"):
            await EmulatorProcess.start(embedded_python, pick_port=pick_port)
    assert len(asked) == 3


async def test_another_emulator_on_the_port_is_not_taken_for_ours(embedded_python: str) -> None:
    first = await EmulatorProcess.start(embedded_python)
    try:
        port = int(first.endpoint_url.rpartition(":")[2])
        with pytest.raises(EmulatorFailed, match="already in use"):
            await EmulatorProcess.start(embedded_python, pick_port=lambda: port)
    finally:
        await first.stop()


async def test_one_that_does_not_start_tells_the_last_it_printed_and_no_more(tmp_path: Path) -> None:
    python = _script(tmp_path / "python", "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo line $i; done; exit 3")
    with pytest.raises(EmulatorFailed) as raised:
        await EmulatorProcess.start(python)
    lines = str(raised.value).splitlines()
    assert lines[0] == "the embedded AWS did not start (exit code 3)"
    assert lines[-1].strip() == "line 2000"
    assert len(lines) < 20


async def test_a_python_without_ministack_says_so(tmp_path: Path) -> None:
    with pytest.raises(EmulatorFailed, match="ministack is not installed in "):
        await EmulatorProcess.start(sys.executable)


async def test_a_python_that_is_none_says_so(tmp_path: Path) -> None:
    with pytest.raises(EmulatorFailed, match="cannot be run"):
        await EmulatorProcess.start(str(tmp_path))


async def test_one_that_never_answers_is_ended(tmp_path: Path, until: Any) -> None:
    python = _script(tmp_path / "python", f"echo $$ > {tmp_path}/pid; exec cat >/dev/null")
    with pytest.raises(EmulatorFailed, match="gave no answer within"):
        await EmulatorProcess.start(python, patience_seconds=0.3)
    assert not _is_running(int((tmp_path / "pid").read_text()))


async def test_one_that_heeds_nothing_is_killed(tmp_path: Path) -> None:
    python = _script(tmp_path / "python", f"echo $$ > {tmp_path}/pid; trap '' TERM; while :; do sleep 1; done")
    with pytest.raises(EmulatorFailed, match="gave no answer within"):
        await EmulatorProcess.start(python, patience_seconds=0.3, stop_seconds=0.1)
    assert not _is_running(int((tmp_path / "pid").read_text()))


async def test_a_cancelled_start_leaves_nothing(tmp_path: Path, until: Any) -> None:
    python = _script(tmp_path / "python", f"echo $$ > {tmp_path}/pid; exec cat >/dev/null")
    start = asyncio.create_task(EmulatorProcess.start(python))
    await until(lambda: (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text()))
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert not _is_running(int((tmp_path / "pid").read_text()))


async def test_a_start_cancelled_while_the_account_is_filled_leaves_nothing(
    embedded_python: str, temporary_folder: Path, until: Any
) -> None:
    start = asyncio.create_task(EmbeddedAws.start(EmbeddedConfig(python=embedded_python)))
    # Cognito's key is written when the first request for it comes, and that is the account's.
    await until(lambda: any(temporary_folder.glob("*/state/*.pem")))
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
