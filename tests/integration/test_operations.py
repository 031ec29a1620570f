"""Every AWS operation of the contract, called once through gRPC against the embedded AWS.

What came of each is the table in `docs/operations.md`; AWSIDECAR_WRITE_DOCS=1 writes it anew.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.integration.conftest import Sidecar, error_info
from tests.integration.operation_requests import LEARNT, REQUESTS

from awsidecar_server.bridge import codec_of
from awsidecar_server.contract import Rpc, aws_rpcs

_RPCS = {rpc.aws_operation: rpc for rpc in aws_rpcs()}
_TABLE = Path(__file__).parents[2] / "docs" / "operations.md"
_HEADER = """# Every operation on the embedded AWS

What each operation of DynamoDB and DynamoDB Streams answers when it is called through AWSidecar against the embedded
AWS of `make run`. The sidecar passes every one of them on; where the embedded AWS lacks an operation, its answer comes
back as any other error of AWS does. AWS itself has them all. The table is written by the test that makes the calls.

| operation | answer |
| --- | --- |
"""


def test_there_is_a_request_for_every_operation_of_the_contract() -> None:
    assert sorted(name for name, _ in REQUESTS) == sorted(_RPCS)


def test_every_operation_answers_or_returns_its_error_mapped(channel: grpc.Channel, sidecar: Sidecar) -> None:
    replies: dict[str, Mapping[str, Any]] = {}
    rows: list[str] = []
    for name, parameters in REQUESTS:
        rpc = _RPCS[name]
        try:
            replies[name] = _call(channel, rpc, _with_learnt(parameters, replies))
            answer = "OK"
        except grpc.RpcError as failure:
            answer = _mapped(name, failure)
        rows.append(f"| {rpc.method} | {answer} |")
    assert "INTERNAL_ERROR" not in "".join(sidecar.log)
    _compare_with_document(_HEADER + "\n".join(sorted(rows)) + "\n")


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


def _compare_with_document(table: str) -> None:
    if os.environ.get("AWSIDECAR_WRITE_DOCS") == "1":
        _TABLE.write_text(table, encoding="utf-8")
    if _TABLE.read_text(encoding="utf-8") != table:
        pytest.fail(f"{_TABLE.name} says otherwise; write it anew with AWSIDECAR_WRITE_DOCS=1")
