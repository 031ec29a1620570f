"""The Python client's batch writer when its sidecar goes away in the middle of a batch."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

import grpc
import pytest
import pytest_asyncio
from tests.integration.stub.process import SidecarProcess, launched
from tests.integration.stub.sidecar import settings_for
from tests.integration.stub_aws import Answer, StubAws

import awsidecar
from awsidecar import aio, errors
from awsidecar.batch_writers import AioBatchWriter, BatchWriter

pytestmark = pytest.mark.asyncio(loop_scope="session")

DESCRIBED = Answer({"Table": {"KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}]}})
WRITES = 20_000
# Batches that AWS has got when the sidecar goes, at least; and writes that the caller knows to be done by then.
BATCHES = 20
TOLD = BATCHES * 25 // 2


@dataclass
class Course:
    """What the caller has been told so far."""

    failed: list[awsidecar.FailedWrite] = field(default_factory=list)
    # Writes that the batch has got, the one that raised included.
    given: int = 0
    batch: BatchWriter | AioBatchWriter | None = None

    @property
    def done(self) -> int:
        return 0 if self.batch is None else self.batch.done


def write_with_threads(target: str, course: Course) -> None:
    with awsidecar.connect(target) as client:
        batch = course.batch = client.dynamodb.batch_writer("T", on_failure=course.failed.append)
        with suppress(errors.BatchFailed), batch:
            for number in range(WRITES):
                course.given += 1
                batch.put_item(Item={"id": str(number)})


async def write_with_asyncio(target: str, course: Course) -> None:
    async with aio.connect(target) as client:
        batch = course.batch = client.dynamodb.batch_writer("T", on_failure=course.failed.append)
        with suppress(errors.BatchFailed):
            async with batch:
                for number in range(WRITES):
                    course.given += 1
                    await batch.put_item(Item={"id": str(number)})


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
    course, gone = Course(), asyncio.Event()

    def answer(_: object) -> Answer:
        if aws.count("BatchWriteItem") >= BATCHES and course.done >= TOLD and not gone.is_set():
            gone.set()
            process.signal(number)
        return Answer()

    aws.on("BatchWriteItem", answer)
    if way == "threads":
        await asyncio.to_thread(write_with_threads, process.target, course)
    else:
        await write_with_asyncio(process.target, course)
    done, failed = course.done, course.failed
    seen = {
        int(write["PutRequest"]["Item"]["id"]["S"])
        for request in aws.requests
        if request.operation == "BatchWriteItem"
        for write in request.parameters["RequestItems"]["T"]
    }
    indexes = {one.index for one in failed}
    assert len(indexes) == len(failed)
    assert done + len(failed) == course.given
    assert done >= TOLD
    assert set(range(course.given)) - indexes <= seen
    assert not {one.index for one in failed if not one.ambiguous} & seen
    assert {one.error.code for one in failed if one.error is not None} == {grpc.StatusCode.UNAVAILABLE}
    if number is signal.SIGTERM:
        ends = {(one.error.reason, one.ambiguous) for one in failed if one.error is not None}
        assert ends == {("DRAINING", False)}
        assert await process.ended() == 0
    else:
        assert {one.ambiguous for one in failed} == {True}
