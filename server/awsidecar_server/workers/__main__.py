"""The start of a worker process, as its supervisor runs it: `python -m awsidecar_server.workers NUMBER FD [FD]`."""

from __future__ import annotations

import os
import socket
import sys
import threading
from typing import NoReturn

from awsidecar_server.lifecycle import run


def main(number: str, *descriptors: str) -> int:
    """Runs the worker of this number; returns the exit code.

    The descriptors are those of its end of the channel, and of the Unix socket to serve on, if there is one.
    """
    threading.Thread(target=_end_with_the_supervisor, daemon=True).start()
    from awsidecar_server.workers.worker import work

    handed_over = [socket.socket(fileno=int(descriptor)) for descriptor in descriptors]
    for one in handed_over:
        one.set_inheritable(False)  # not for the programs that the SDK may run
    return run(work(int(number), *handed_over))


def _end_with_the_supervisor() -> NoReturn:
    """Standard input is the life line: its end means that the supervisor is gone, however it went."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
