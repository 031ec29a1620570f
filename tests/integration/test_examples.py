"""Runs each example of the Python client against a running sidecar."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Protocol

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples" / "python").glob("*.py"))

# What each example must say at the least; an example without its line here fails.
EXPECTED = {
    "batches_and_parallel_calls": ["of three users found", "users and"],
    "configuration": ["Tier.SERVICE_ACCOUNT in us-east-1"],
    "connections_and_credential_caching": ["the same credentials until they expire: True"],
    "error_handling": ["User not found", "no such table:", "the user exists: {"],
    "getting_clients": ["the application sees", "users", "the user's tier is Tier.COGNITO"],
    "pages_as_streams": ["2 members of org-123", "as many users as there are: True"],
    "query_put_and_batch_write": ["users of org-123", "not written: {}"],
    "table_operations": ["user-123 is there", "updated: {'status': 'active'}"],
    "three_tiers": [
        "service account: Tier.SERVICE_ACCOUNT",
        "ID token: Tier.COGNITO",
        "AWS credentials: Tier.SESSION",
    ],
    "watching_a_table": ["INSERT order-1 new", "MODIFY order-1 paid", "again: ['paid', 'sent']"],
    "validating_credentials": ["credentials are good", "the other ones are not: "],
}


class Demo(Protocol):
    def id_token(self) -> str: ...


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
async def test_an_example_runs(example: Path, sidecar_target: str, demo: Demo) -> None:
    token = await asyncio.to_thread(demo.id_token)
    output = await said_by(str(example), AWSIDECAR_TARGET=sidecar_target, AWSIDECAR_ID_TOKEN=token)
    missing = [line for line in EXPECTED[example.stem] if line not in output]
    assert not missing, output


def test_every_example_is_expected_to_say_something() -> None:
    assert {path.stem for path in EXAMPLES} == set(EXPECTED)


async def test_the_first_example_of_the_readme_runs(sidecar_target: str) -> None:
    readme = (ROOT / "clients" / "python" / "README.md").read_text()
    found = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert found is not None
    output = await said_by("-c", found[1], AWSIDECAR_TARGET=sidecar_target)
    assert "The conditional request failed" in output


async def said_by(*arguments: str, **environment: str) -> str:
    """Runs Python to its end, which must be a good one; returns what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT / "clients" / "python"), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            output, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, complaints.decode()
    return output.decode()
