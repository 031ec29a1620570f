"""The start of a worker process: `python -m awsidecar_server.workers NUMBER DESCRIPTOR`, as its supervisor runs it."""

from __future__ import annotations

import os
import socket
import sys
import threading
from typing import NoReturn

from awsidecar_server.lifecycle import run


def main(number: str, descriptor: str) -> int:
    """Runs the worker of this number, whose channel is the socket of this descriptor; returns the exit code."""
    threading.Thread(target=_end_with_the_supervisor, daemon=True).start()
    from awsidecar_server.workers.worker import work

    end = socket.socket(fileno=int(descriptor))
    end.set_inheritable(False)  # not for the programs that the SDK may run
    return run(work(int(number), end))


def _end_with_the_supervisor() -> NoReturn:
    """Standard input is the life line: its end means that the supervisor is gone, however it went."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
