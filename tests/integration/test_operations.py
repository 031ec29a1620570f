"""Every AWS operation of the contract, called once through gRPC on each backend.

What came of each is the table in `docs/operations.md`; AWSIDECAR_WRITE_DOCS=1 writes the backend's column anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.integration.backends import DYNAMODB_LOCAL, MINISTACK, Backend
from tests.integration.conftest import error_info
from tests.integration.operation_requests import LEARNT, REQUESTS

from awsidecar_server.bridge import codec_of
from awsidecar_server.contract import Rpc, aws_rpcs

_RPCS = {rpc.aws_operation: rpc for rpc in aws_rpcs()}
_TABLE = Path(__file__).parents[2] / "docs" / "operations.md"
_HEADER = """# Every operation on the emulators

What each operation of DynamoDB and DynamoDB Streams answers when it is called through AWSidecar: on MiniStack, the
embedded AWS of `make run`, and on DynamoDB Local, AWS's own emulator. The sidecar passes every one of them on; where an
emulator lacks an operation, its answer comes back as any other error of AWS does. AWS itself has them all. The table is
written by the test that makes the calls.

| operation | MiniStack | DynamoDB Local |
| --- | --- | --- |
"""
_ROW = re.compile(r"^\| (\w+) \| (.*) \| (.*) \|$", re.MULTILINE)
_COLUMNS = {MINISTACK: 0, DYNAMODB_LOCAL: 1}


def test_there_is_a_request_for_every_operation_of_the_contract() -> None:
    assert sorted(name for name, _ in REQUESTS) == sorted(_RPCS)


def test_every_operation_answers_or_returns_its_error_mapped(channel: grpc.Channel, backend: Backend) -> None:
    replies: dict[str, Mapping[str, Any]] = {}
    answers: dict[str, str] = {}
    for name, parameters in REQUESTS:
        rpc = _RPCS[name]
        try:
            replies[name] = _call(channel, rpc, _with_learnt(parameters, replies))
            answers[rpc.method] = "OK"
        except grpc.RpcError as failure:
            answers[rpc.method] = _mapped(name, failure)
    assert "INTERNAL_ERROR" not in "".join(backend.sidecar.log)
    _compare_with_document(answers, _COLUMNS[backend.name])


def _mapped(name: str, failure: grpc.RpcError) -> str:
    """What a refusal of the emulator's has become; anything else fails the test."""
    assert failure.code() not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), (name, failure)
    info = error_info(failure)
    assert info.domain.endswith("amazonaws.com"), (name, failure)
    return f"{failure.code().name}: `{info.metadata['aws_error_code']}`"


def _call(channel: grpc.Channel, rpc: Rpc, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    requests, replies = codec_of(rpc.request), codec_of(rpc.response)
    method: Any = channel.unary_unary(
        f"/{rpc.service}/{rpc.method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=replies.message_class.FromString,
    )
    return replies.decode(method(requests.encode(parameters), timeout=30))


def _with_learnt(value: Any, replies: Mapping[str, Mapping[str, Any]]) -> Any:
    """The parameters with what earlier replies told; a plausible text where there was no reply."""
    if isinstance(value, dict):
        return {key: _with_learnt(inner, replies) for key, inner in value.items()}
    if isinstance(value, str) and value in LEARNT:
        operation, path = LEARNT[value]
        found: Any = replies.get(operation)
        for step in path:
            try:
                found = found[step]
            except (KeyError, IndexError, TypeError):
                return f"arn:aws:dynamodb:us-east-1:000000000000:table/none/{value.removeprefix('$')}/01"
        return found
    return value


def _compare_with_document(answers: Mapping[str, str], column: int) -> None:
    text = _TABLE.read_text(encoding="utf-8")
    rows = {name: cells for name, *cells in re.findall(_ROW, text)}
    for name, answer in answers.items():
        rows.setdefault(name, ["", ""])[column] = answer
    table = _HEADER + "".join(f"| {name} | {' | '.join(rows[name])} |\n" for name in sorted(answers))
    if os.environ.get("AWSIDECAR_WRITE_DOCS") == "1":
        _TABLE.write_text(table, encoding="utf-8")
    elif text != table:
        pytest.fail(f"{_TABLE.name} says otherwise; write it anew with AWSIDECAR_WRITE_DOCS=1")
