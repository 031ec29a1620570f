"""Waiting for a state, with a sidecar that may go away meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

import awsidecar
from awsidecar import aio, errors
from awsidecar.dynamodb.v1 import exports_pb2, table_description_pb2, waiters_pb2
from awsidecar.waiters import Wait, aio_waited, waited

from .fake_sidecar import FakeSidecar, Refused, details_of

GONE = Refused(grpc.StatusCode.UNAVAILABLE, "Socket closed")
DRAINING = Refused(grpc.StatusCode.UNAVAILABLE, "going", details_of("DRAINING", "awsidecar"))
IN_VAIN = Refused(
    grpc.StatusCode.FAILED_PRECONDITION,
    "the state is FAILED",
    details_of("STATE_UNREACHABLE", "awsidecar", status="FAILED", failure_code="S3NoSuchBucket"),
)


def state(status: str, *, reached: bool = False) -> Message:
    table = table_description_pb2.TableDescription(table_name="users", table_status=status, item_count=7)
    described = None if status == "GONE" else table
    return waiters_pb2.WaitForTableResponse(status=status, reached=reached, table=described)


ACTIVE = state("ACTIVE", reached=True)


def table_wait(seconds: float = 30.0) -> Wait:
    return Wait("WaitForTable", "table", {"table_name": "users"}, seconds)


def test_the_last_description_is_returned(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    sidecar.answer("WaitForTable", [state("CREATING"), ACTIVE])
    found = client.dynamodb.wait_for_table("users", indexes=True, timeout=60)
    assert found == {"TableName": "users", "TableStatus": "ACTIVE", "ItemCount": 7}
    (received,) = sidecar.received
    assert received.message == waiters_pb2.WaitForTableRequest(table_name="users", until="ACTIVE", indexes=True)
    assert received.seconds_left is not None
    assert 50 < received.seconds_left <= 61


def test_a_table_that_is_gone_is_described_as_it_was(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    sidecar.answer("WaitForTable", [state("DELETING"), state("GONE", reached=True)], [state("GONE", reached=True)])
    assert client.dynamodb.wait_for_table("users", until="GONE")["TableStatus"] == "DELETING"
    assert client.dynamodb.wait_for_table("users", until="GONE") == {}


async def test_the_same_holds_for_asyncio(sidecar: FakeSidecar) -> None:
    sidecar.answer("WaitForTable", [state("CREATING"), ACTIVE])
    async with aio.connect(sidecar.target) as client:
        assert (await client.dynamodb.wait_for_table("users"))["TableStatus"] == "ACTIVE"


def test_a_wait_in_vain_says_why(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    description = exports_pb2.ExportDescription(export_status="FAILED")
    failed = waiters_pb2.WaitForExportResponse(status="FAILED", export_description=description)
    sidecar.answer("WaitForExport", [failed, IN_VAIN])
    with pytest.raises(errors.FailedPrecondition) as refused:
        client.dynamodb.wait_for_export("arn:export")
    assert refused.value.reason == "STATE_UNREACHABLE"
    assert refused.value.metadata["failure_code"] == "S3NoSuchBucket"


@pytest.mark.parametrize("gone", [GONE, DRAINING])
def test_a_wait_goes_on_with_the_next_sidecar(
    sidecar: FakeSidecar, client: awsidecar.Client, gone: Refused
) -> None:
    pauses: list[float] = []
    sidecar.answer("WaitForTable", [state("CREATING"), gone], [state("CREATING"), gone], [ACTIVE])
    assert waited(client._calls, table_wait(), pauses.append)["TableStatus"] == "ACTIVE"
    assert len(sidecar.received) == 3
    # Each came through for a while, so that neither pause is longer than the first.
    assert [0.05 <= pause <= 0.1 for pause in pauses] == [True, True]


async def test_a_wait_goes_on_with_the_next_sidecar_for_asyncio(sidecar: FakeSidecar) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    sidecar.answer("WaitForTable", [state("CREATING"), DRAINING], [ACTIVE])
    async with aio.connect(sidecar.target) as client:
        assert (await aio_waited(client._calls, table_wait(), pause))["TableStatus"] == "ACTIVE"
    assert len(pauses) == 1


def test_a_wait_without_a_sidecar_ends(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    pauses: list[float] = []
    sidecar.answer("WaitForTable", [DRAINING])
    with pytest.raises(errors.Unavailable):
        waited(client._calls, table_wait(), pauses.append)
    # As long as it takes to start another one, and not for as long as the wait may take.
    assert 8 <= sum(pauses) <= 16.3
    assert max(pauses) <= 5


def test_a_refusal_of_aws_ends_the_wait(sidecar: FakeSidecar, client: awsidecar.Client) -> None:
    unreachable = details_of("AWS_UNREACHABLE", "awsidecar")
    sidecar.answer("WaitForTable", [Refused(grpc.StatusCode.UNAVAILABLE, "AWS", unreachable)])
    with pytest.raises(errors.Unavailable):
        client.dynamodb.wait_for_table("users")
    assert len(sidecar.received) <= 3  # gRPC's own attempts at a read


@pytest.mark.parametrize("timeout", [0, -1, float("inf")])
def test_a_wait_without_end_is_refused(client: awsidecar.Client, timeout: float) -> None:
    with pytest.raises(ValueError, match="positive number of seconds"):
        client.dynamodb.wait_for_table("users", timeout=timeout)


WAITS: list[tuple[str, dict[str, Any], Message]] = [
    ("wait_for_backup", {"until": "GONE"}, waiters_pb2.WaitForBackupRequest(backup_arn="x", until="GONE")),
    ("wait_for_export", {}, waiters_pb2.WaitForExportRequest(export_arn="x")),
    ("wait_for_import", {}, waiters_pb2.WaitForImportRequest(import_arn="x")),
    (
        "wait_for_kinesis_streaming_destination",
        {"stream_arn": "arn"},
        waiters_pb2.WaitForKinesisStreamingDestinationRequest(table_name="x", stream_arn="arn", until="ACTIVE"),
    ),
    (
        "wait_for_contributor_insights",
        {"index_name": "by-mail"},
        waiters_pb2.WaitForContributorInsightsRequest(table_name="x", index_name="by-mail", until="ENABLED"),
    ),
    (
        "wait_for_time_to_live",
        {"until": "DISABLED"},
        waiters_pb2.WaitForTimeToLiveRequest(table_name="x", until="DISABLED"),
    ),
]


@pytest.mark.parametrize(("method", "keywords", "request_"), WAITS)
async def test_every_waiter_sends_its_request(
    sidecar: FakeSidecar, client: awsidecar.Client, method: str, keywords: dict[str, Any], request_: Message
) -> None:
    getattr(client.dynamodb, method)("x", **keywords)
    async with aio.connect(sidecar.target) as other:
        await getattr(other.dynamodb, method)("x", **keywords)
    requests: Sequence[Any] = [received.message for received in sidecar.received]
    assert requests == [request_, request_]
