"""Refuses to compare the contract with any botocore but the locked one."""

from __future__ import annotations

import re
from pathlib import Path

import botocore
import pytest

LOCK = Path(__file__).parents[2] / "requirements" / "contract.txt"


def pytest_configure() -> None:
    pinned = re.search(r"^botocore==(\S+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    if pinned is None or pinned[1] != botocore.__version__:
        raise pytest.UsageError(
            f"the contract is compared with the botocore of {LOCK.name}, not with {botocore.__version__}: `make contract`"
        )
