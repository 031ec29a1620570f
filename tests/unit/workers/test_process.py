from __future__ import annotations

import os
import subprocess
import sys

_PROGRAM = """
import errno, os, resource, uvloop
from awsidecar_server.workers.process import WorkerProcess

async def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    taken = []
    for free in range(8):
        try:
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            for _ in range(free):
                os.close(taken.pop())
        try:
            await WorkerProcess.start(0, None)
        except OSError as refused:
            assert refused.errno == errno.EMFILE, (free, refused)
        else:
            raise AssertionError(free)

uvloop.run(main())
"""


def test_worker_for_which_no_descriptors_are_left_is_refused_with_that_reason() -> None:
    search_path = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], env=search_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
