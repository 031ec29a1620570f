"""Waiting for a state, over a real connection: what comes when, and how it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from tests.integration.stub.conftest import Start
from tests.integration.stub.sidecar import CUT_AFTER_SECONDS, POD_KEY, Sidecar, read_refusal
from tests.integration.stub_aws import Answer, StubAws, refused

from awsidecar.credentials.v1 import credentials_pb2
from awsidecar.dynamodb.v1 import waiters_pb2

pytestmark = pytest.mark.asyncio(loop_scope="session")

FOR_TABLE = waiters_pb2.WaitForTableRequest(table_name="users")
FOR_EXPORT = waiters_pb2.WaitForExportRequest(
    export_arn="arn:aws:dynamodb:eu-central-1:123456789012:table/t/export/1"
)


def table(status: str) -> Answer:
    return Answer({"Table": {"TableName": "users", "TableStatus": status}})


async def until_failure(call: Any) -> tuple[list[Any], grpc.aio.AioRpcError]:
    found: list[Any] = []
    try:
        async for message in call:
            found += [message]
    except grpc.aio.AioRpcError as failure:
        return found, failure
    raise AssertionError(f"did not fail: {found}")


async def test_table_is_waited_for_until_it_is_active(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("DescribeTable", table("CREATING"), table("ACTIVE"))
    found = [message async for message in sidecar.dynamodb.WaitForTable(FOR_TABLE, timeout=20)]
    assert [(one.status, one.reached, one.table.table_name) for one in found] == [
        ("CREATING", False, "users"),
        ("ACTIVE", True, "users"),
    ]
    assert aws.key_ids("DescribeTable") == [POD_KEY] * 2


async def test_failed_export_says_why(sidecar: Sidecar, aws: StubAws) -> None:
    failed = {"ExportStatus": "FAILED", "FailureCode": "S3NoSuchBucket", "FailureMessage": "no such bucket"}
    aws.on("DescribeExport", Answer({"ExportDescription": failed}))
    found, failure = await until_failure(sidecar.dynamodb.WaitForExport(FOR_EXPORT, timeout=20))
    assert [(one.status, one.export_description.failure_code) for one in found] == [("FAILED", "S3NoSuchBucket")]
    refusal = read_refusal(failure)
    assert (refusal.code.name, refusal.reason) == ("FAILED_PRECONDITION", "STATE_UNREACHABLE")
    assert refusal.metadata == {
        "operation": "WaitForExport",
        "status": "FAILED",
        "failure_code": "S3NoSuchBucket",
        "failure_message": "no such bucket",
    }
    assert refusal.trailers["x-awsidecar-tier"] == "service_account"


async def test_wait_ends_with_the_deadline_of_its_caller(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("DescribeTable", table("CREATING"))
    found, failure = await until_failure(sidecar.dynamodb.WaitForTable(FOR_TABLE, timeout=CUT_AFTER_SECONDS))
    assert [one.status for one in found] == ["CREATING"]
    assert failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_drain_ends_a_wait_so_that_its_caller_repeats_it(aws: StubAws, start: Start) -> None:
    aws.on("DescribeTable", table("CREATING"))
    async with start() as sidecar:
        call = sidecar.dynamodb.WaitForTable(FOR_TABLE)
        assert (await anext(aiter(call))).status == "CREATING"
        draining = asyncio.ensure_future(sidecar.app.server.drain(5))
        _, failure = await until_failure(call)
        await draining
    assert read_refusal(failure).reason == "DRAINING"


async def test_session_that_is_closed_ends_its_wait(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("DescribeTable", table("CREATING"))
    session = (("x-awsidecar-session", await sidecar.open_session("AKIASESSIONSESSION1")),)
    call = sidecar.dynamodb.WaitForTable(FOR_TABLE, metadata=session, timeout=20)
    assert (await anext(aiter(call))).status == "CREATING"
    await sidecar.credentials.CloseSession(credentials_pb2.CloseSessionRequest(), metadata=session)
    _, failure = await until_failure(call)
    assert read_refusal(failure).reason == "SESSION_NOT_FOUND"
    assert set(aws.key_ids("DescribeTable")) == {"AKIASESSIONSESSION1"}


async def test_refusal_of_aws_is_that_of_the_wait(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("DescribeTable", refused("AccessDeniedException", "no"))
    found, failure = await until_failure(sidecar.dynamodb.WaitForTable(FOR_TABLE, timeout=20))
    assert found == []
    refusal = read_refusal(failure)
    assert (refusal.code.name, refusal.metadata["operation"]) == ("PERMISSION_DENIED", "WaitForTable")


async def test_wait_without_a_table_is_refused_before_aws_is_asked(sidecar: Sidecar, aws: StubAws) -> None:
    _, failure = await until_failure(sidecar.dynamodb.WaitForTable(waiters_pb2.WaitForTableRequest()))
    assert read_refusal(failure).metadata["field"] == "table_name"
    assert aws.requests == []
