"""The Python client's batch writer when its sidecar goes away in the middle of a batch."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import suppress

import grpc
import pytest
import pytest_asyncio
from tests.integration.stub.process import SidecarProcess, launched
from tests.integration.stub.sidecar import settings_for
from tests.integration.stub_aws import Answer, StubAws

import awsidecar
from awsidecar import aio, errors

pytestmark = pytest.mark.asyncio(loop_scope="session")

DESCRIBED = Answer({"Table": {"KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}]}})
WRITES = 20_000
# Batches that AWS has got when the sidecar goes.
BATCHES = 20


def write_with_threads(target: str, failed: list[awsidecar.FailedWrite]) -> int:
    """Returns how many writes are done; the others are in the list."""
    with awsidecar.connect(target) as client:
        batch = client.dynamodb.batch_writer("T", on_failure=failed.append)
        with suppress(errors.BatchFailed), batch:
            for number in range(WRITES):
                batch.put_item(Item={"id": str(number)})
    return batch.done


async def write_with_asyncio(target: str, failed: list[awsidecar.FailedWrite]) -> int:
    async with aio.connect(target) as client:
        batch = client.dynamodb.batch_writer("T", on_failure=failed.append)
        with suppress(errors.BatchFailed):
            async with batch:
                for number in range(WRITES):
                    await batch.put_item(Item={"id": str(number)})
    return batch.done


@pytest_asyncio.fixture(loop_scope="session")
async def process(aws: StubAws) -> AsyncIterator[SidecarProcess]:
    aws.on("DescribeTable", DESCRIBED)
    process = await launched(settings_for(aws.url, AWSIDECAR_SHUTDOWN_GRACE_SECONDS="60"))
    yield process
    await process.killed()


@pytest.mark.parametrize("way", ["threads", "asyncio"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_each_write_is_known_to_be_done_or_not_or_to_be_open(
    aws: StubAws, process: SidecarProcess, number: signal.Signals, way: str
) -> None:
    def answer(_: object) -> Answer:
        if aws.count("BatchWriteItem") == BATCHES:
            process.signal(number)
        return Answer()

    aws.on("BatchWriteItem", answer)
    failed: list[awsidecar.FailedWrite] = []
    if way == "threads":
        done = await asyncio.to_thread(write_with_threads, process.target, failed)
    else:
        done = await write_with_asyncio(process.target, failed)
    seen = {
        int(write["PutRequest"]["Item"]["id"]["S"])
        for request in aws.requests
        if request.operation == "BatchWriteItem"
        for write in request.parameters["RequestItems"]["T"]
    }
    indexes = {one.index for one in failed}
    assert len(indexes) == len(failed)
    assert done >= BATCHES * 25 // 2
    assert set(range(done + len(failed))) - indexes <= seen
    assert not {one.index for one in failed if not one.ambiguous} & seen
    assert {one.error.code for one in failed if one.error is not None} == {grpc.StatusCode.UNAVAILABLE}
    if number is signal.SIGTERM:
        ends = {(one.error.reason, one.ambiguous) for one in failed if one.error is not None}
        assert ends == {("DRAINING", False)}
        assert await process.ended() == 0
    else:
        assert {one.ambiguous for one in failed} == {True}
