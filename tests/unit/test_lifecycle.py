from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import pytest

from awsidecar_server.lifecycle import Shutdown

# Two signals, as from somebody in a hurry: the second one must not wait for what the first one started.
HURRIED = """
import asyncio, signal, sys
from awsidecar_server.lifecycle import Shutdown

async def main():
    shutdown = Shutdown()
    shutdown.listen()
    signal.raise_signal(signal.{name})
    await shutdown.asked()
    print("draining", flush=True)
    signal.raise_signal(signal.{name})
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_first_signal_asks_for_an_orderly_end(number: signal.Signals) -> None:
    shutdown = Shutdown()
    shutdown.listen()
    loop = asyncio.get_running_loop()
    try:
        signal.raise_signal(number)
        await asyncio.wait_for(shutdown.asked(), 10)
    finally:
        for taken_over in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(taken_over)
    assert shutdown.failure is None


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_second_signal_ends_the_process_at_once(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HURRIED.format(name=name)],
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "draining\n"
    assert done.returncode == 128 + getattr(signal, name), done.stderr


async def test_failure_asks_for_the_end_and_the_first_one_is_the_reason() -> None:
    shutdown = Shutdown()
    shutdown.fail("the embedded AWS is gone")
    shutdown.fail("and so is the rest")
    await asyncio.wait_for(shutdown.asked(), 10)
    assert shutdown.failure == "the embedded AWS is gone"


async def test_nobody_asked_nothing_ends() -> None:
    asked = asyncio.create_task(Shutdown().asked())
    await asyncio.sleep(0)
    assert not asked.done()
    asked.cancel()
