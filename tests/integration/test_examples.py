"""Runs each example of the Python client, and those of the documents, against a running sidecar on each backend."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest
from tests.integration.backends import Backend

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
# How those end that are of identities, and what they say, where there are none: without an ID token.
WITHOUT_IDENTITIES = {
    "connections_and_credential_caching": (0, ["not handed out: "]),
    "getting_clients": (0, ["the application sees", "users"]),
    "three_tiers": (0, ["service account: Tier.SERVICE_ACCOUNT"]),
    "validating_credentials": (1, ["[AWS_UNREACHABLE, ValidateCredentials]"]),
}
# What the programs in the documents say, in the order of each page. Blocks that import nothing are parts of programs.
DOCUMENTS = {
    "README.md": ["users in org-123"],
    "clients/python/README.md": ["The conditional request failed"],
    "docs/errors.md": ["taken by user@example.com", "StatusCode.INVALID_ARGUMENT awsidecar INVALID_REQUEST"],
    "docs/page-streams.md": ["SegmentPosition(segment=3"],
    "docs/waiters.md": ["ACTIVE"],
}
# Programs of the documents that are not run: one needs functions of the reader's own, one a user.
NOT_RUN = {"docs/change-feed.md", "docs/sessions.md"}
_PYTHON = re.compile(r"^```python\n((?:import|from) .*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
async def test_an_example_runs(example: Path, backend: Backend) -> None:
    environment, expected = {"AWSIDECAR_TARGET": backend.sidecar.target}, (0, EXPECTED[example.stem])
    if backend.differs_in("identities"):
        expected = WITHOUT_IDENTITIES.get(example.stem, expected)
    else:
        environment["AWSIDECAR_ID_TOKEN"] = await asyncio.to_thread(backend.sidecar.token)
    code, said, complaints = await said_by(str(example), **environment)
    assert code == expected[0], said + complaints
    # Of a failure that it does not expect, a program says nothing itself: Python does.
    heard = said if code == 0 else complaints
    missing = [line for line in expected[1] if line not in heard]
    assert not missing, said + complaints


def test_every_example_is_expected_to_say_something() -> None:
    assert {path.stem for path in EXAMPLES} == set(EXPECTED)


@pytest.mark.parametrize("page", DOCUMENTS)
async def test_the_programs_of_a_document_run(page: str, backend: Backend) -> None:
    programs = _PYTHON.findall((ROOT / page).read_text(encoding="utf-8"))
    for program, expected in zip(programs, DOCUMENTS[page], strict=True):
        target = backend.sidecar.target
        code, said, complaints = await said_by(
            "-c", program.replace("127.0.0.1:50051", target), AWSIDECAR_TARGET=target
        )
        assert code == 0, said + complaints
        assert expected in said, said + complaints


def test_every_document_with_a_program_is_run_or_said_not_to_be() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("clients/*/README.md"), *ROOT.glob("docs/**/*.md")]
    programs = {path.relative_to(ROOT).as_posix() for path in pages if _PYTHON.search(path.read_text("utf-8"))}
    assert programs == DOCUMENTS.keys() | NOT_RUN


async def said_by(*arguments: str, **environment: str) -> tuple[int | None, str, str]:
    """Runs Python to its end; returns its exit code, what it printed, and what it complained of."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT / "clients" / "python"), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            printed, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, printed.decode(), complaints.decode()
