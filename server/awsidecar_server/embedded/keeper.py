"""Runs MiniStack in the Python that has it, and ends it with the sidecar.

It is run by its file path and imports nothing of ours. Its standard input is the life line: the sidecar holds the
other end and writes nothing, so end of file means that the sidecar is gone, however it went.
"""

from __future__ import annotations

import fcntl
import importlib
import importlib.util
import os
import runpy
import shutil
import signal
import sys
import threading
import time
from typing import NoReturn

# MiniStack saves its state on the way out; after this it is not waited for.
_GRACE_SECONDS = 5.0
# An emulator whose sidecar has just died may still be saving to the same data directory.
_LOCK_SECONDS = 10.0
_LOCK_POLL_SECONDS = 0.05


def main() -> None:
    scratch = os.environ["TMPDIR"]
    # MiniStack replaces this handler once it serves; until then, leaving runs the `finally` below.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.umask(0o077)  # MiniStack's files hold keys and passwords
    try:
        os.mkdir(scratch, 0o700)
        os.chdir(scratch)
        threading.Thread(target=_end_with_the_sidecar, args=(scratch,), daemon=True).start()
        _require("ministack", "cryptography")
        if data_dir := os.environ.get("AWSIDECAR_DATA_DIR"):
            _lock(data_dir)
        # MiniStack runs whatever scripts lie in /docker-entrypoint-initaws.d and /etc/localstack/init. Not here.
        vars(importlib.import_module("ministack.app"))["_collect_scripts"] = lambda *_: []
        sys.argv = ["ministack"]
        runpy.run_module("ministack", run_name="__main__")
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        shutil.rmtree(scratch, ignore_errors=True)
        if _leads_its_group():  # what it started (Lambda workers) goes, too
            os.killpg(0, signal.SIGTERM)


def _end_with_the_sidecar(scratch: str) -> NoReturn:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    shutil.rmtree(scratch, ignore_errors=True)
    if _leads_its_group():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _leads_its_group() -> bool:
    return os.getpgrp() == os.getpid()


def _require(*modules: str) -> None:
    for module in modules:
        if importlib.util.find_spec(module) is None:
            sys.exit(f"{module} is not installed in {sys.executable}")


def _lock(data_dir: str) -> None:
    """Keeps the data directory for this process, until it ends: two would overwrite each other's state."""
    lock = os.open(os.path.join(data_dir, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                sys.exit(f"another process keeps its data in {data_dir}")
            time.sleep(_LOCK_POLL_SECONDS)


if __name__ == "__main__":
    main()
