"""Where the Python is that has MiniStack: an environment of its own, for MiniStack pins another botocore than ours."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from awsidecar_server.config import BadConfig, EmbeddedConfig

_VARIABLE = "AWSIDECAR_EMBEDDED_PYTHON"
_VENV_PYTHON = Path(".venv-embedded", "bin", "python")
# server/awsidecar_server/embedded/location.py, when the package is installed in editable mode.
_REPOSITORY = Path(__file__).parents[3]
_HOW_TO_GET_IT = "python3 -m venv .venv-embedded && .venv-embedded/bin/pip install ministack==1.5.33 cryptography"


def find_python(config: EmbeddedConfig) -> str:
    """The absolute path of the Python to run MiniStack with; `BadConfig` says how to get one."""
    if config.python is not None:
        found = shutil.which(config.python)
        if found is None:
            raise BadConfig(f"{_VARIABLE}: {config.python!r} cannot be run; for example {_VARIABLE}={_VENV_PYTHON}")
        # Not resolved: a venv's python is a link, and known by its own place.
        return os.path.abspath(found)
    for root in (Path.cwd(), _REPOSITORY):
        if os.access(root / _VENV_PYTHON, os.X_OK):
            return str(root / _VENV_PYTHON)
    if importlib.util.find_spec("ministack") is not None:
        return sys.executable
    raise BadConfig(f"{_VARIABLE}: no Python with ministack is found; get one by `{_HOW_TO_GET_IT}`, or name yours")
