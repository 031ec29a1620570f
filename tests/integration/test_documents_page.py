"""The lines of `docs/documents.md`, with the real grpcurl on each backend, in their order."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from tests.integration.backends import Backend
from tests.integration.test_grpcurl import run

_PAGE = Path(__file__).parents[2] / "docs" / "documents.md"
_SERVICE = "awsidecar.documents.v1.DocumentService"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ADDRESS = "127.0.0.1:50051"


def _script(grpcurl: str, script: str, target: str) -> subprocess.CompletedProcess[str]:
    assert _ADDRESS in script
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace(_ADDRESS, target)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PATH": f"{Path(grpcurl).parent}{os.pathsep}{os.environ['PATH']}"},
    )


def _without_order_in_sets(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_order_in_sets(one) for one in value]
    if isinstance(value, dict):
        return {
            name: sorted(held) if name in {"$SS", "$NS", "$BS"} else _without_order_in_sets(held)
            for name, held in value.items()
        }
    return value


def test_lines_of_the_page_work_as_they_stand_and_print_what_it_shows(grpcurl: str, sidecar_target: str) -> None:
    blocks = _BLOCK.findall(_PAGE.read_text(encoding="utf-8"))
    compared = 0
    for (language, script), (next_language, shown) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if language != "sh":
            continue
        done = _script(grpcurl, script, sidecar_target)
        if shown.startswith("ERROR:"):
            assert done.returncode != 0, script
            assert all(line in done.stderr for line in shown.splitlines()), done.stderr
        else:
            assert done.returncode == 0, done.stderr
        if next_language == "json":
            assert _without_order_in_sets(json.loads(done.stdout)) == _without_order_in_sets(json.loads(shown))
            compared += 1
    assert compared >= 2


def test_item_that_was_read_is_the_same_item_when_it_is_written_back(
    grpcurl: str, sidecar_target: str, backend: Backend
) -> None:
    """As AWS's own operation sees it, sets and all. The user reads it; only the service account may write it."""
    has_users = not backend.differs_in("identities")
    session = ["-H", f"authorization: Bearer {backend.sidecar.token()}"] if has_users else []
    key = {"TableName": "users", "Key": {"id": "user-alice"}}
    typed = json.dumps({"TableName": "users", "Key": {"id": {"S": "user-alice"}}})
    before = json.loads(run(grpcurl, "-d", typed, sidecar_target, "awsidecar.dynamodb.v1.DynamoDbService/GetItem"))
    read = json.loads(run(grpcurl, *session, "-d", json.dumps(key), sidecar_target, f"{_SERVICE}/Get"))
    run(grpcurl, "-d", json.dumps({"TableName": "users", **read}), sidecar_target, f"{_SERVICE}/Put")
    after = json.loads(run(grpcurl, "-d", typed, sidecar_target, "awsidecar.dynamodb.v1.DynamoDbService/GetItem"))
    assert before["Item"]["attributes"]["teams"]["SS"]
    for item in (before, after):
        item["Item"]["attributes"]["teams"]["SS"]["values"].sort()
    assert after == before


def test_query_gives_every_page_and_goes_on_after_any(grpcurl: str, sidecar_target: str) -> None:
    def pages(**more: Any) -> list[dict[str, Any]]:
        query = {
            "TableName": "users",
            "IndexName": "orgId-index",
            "KeyConditionExpression": "orgId = :org",
            "ExpressionAttributeValues": {":org": "org-123"},
            "Limit": 12,
            **more,
        }
        text = run(grpcurl, "-d", json.dumps(query), sidecar_target, f"{_SERVICE}/Query")
        return [json.loads(f"{{{page}}}") for page in re.findall(r"^\{$(.*?)^\}$", text, re.MULTILINE | re.DOTALL)]

    found = pages()
    ids = [item["id"] for page in found for item in page["Items"]]
    assert len(ids) == len(set(ids)) == 30
    assert [len(page["Items"]) for page in found] == [12, 12, 6]
    rest = pages(ExclusiveStartKey=found[0]["LastEvaluatedKey"])
    assert [item["id"] for page in rest for item in page["Items"]] == ids[12:]
