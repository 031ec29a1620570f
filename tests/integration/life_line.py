"""Python in processes of its own that end when the tests do, however these end."""

from __future__ import annotations

import sys

# Ends the process when nobody holds the other end of its standard input any more.
_LIFE_LINE = """
import os, signal, threading

def hold():
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=hold, daemon=True).start()
"""
# `python -m awsidecar_server`, and nothing in it can tell the difference.
SERVER = "import runpy; runpy.run_module('awsidecar_server', run_name='__main__', alter_sys=True)"


def command(program: str, *arguments: str) -> list[str]:
    """What runs the text of a program. It lives while its standard input, a pipe, is held open by who started it."""
    return [sys.executable, "-c", _LIFE_LINE + program, *arguments]
