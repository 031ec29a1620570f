"""What a sidecar answers to streams of writes and of reads, and what either client makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf.message import Message

import awsidecar
from awsidecar import aio
from awsidecar.dynamodb.v1 import batch_streams_pb2 as pb
from awsidecar.dynamodb.v1.failure_pb2 import Failure

from .fake_sidecar import FakeSidecar, Refused, details_of

AWAY = Refused(grpc.StatusCode.UNAVAILABLE, "Socket closed")
THROTTLED = Failure(code=8, message="slow down")
THROTTLED.MergeFromString(details_of("PROVISIONED_THROUGHPUT_EXCEEDED_EXCEPTION", "dynamodb.amazonaws.com"))
THROTTLED.code, THROTTLED.message = 8, "slow down"

Exchange = Callable[[Iterator[Any]], Iterator[Message | Refused]]


def writes_done(failures: dict[int, Failure | None] | None = None, most: int | None = None) -> Exchange:
    """Tells of each write that it is done, but for some; after so many, that time is up.

    None in `failures` is what a drain has left.
    """

    def serve(requests: Iterator[Any]) -> Iterator[Message | Refused]:
        index = 0
        for request in requests:
            response = pb.BatchWriteStreamResponse()
            for _ in request.writes:
                response.deadline_spent = most is not None and index >= most
                outcome = response.outcomes.add(index=index)
                if response.deadline_spent:
                    outcome.not_attempted.SetInParent()
                elif index not in (failures or {}):
                    outcome.done.SetInParent()
                elif (failure := (failures or {})[index]) is not None:
                    outcome.failure.CopyFrom(failure)
                else:
                    outcome.not_attempted.SetInParent()
                index += 1
            yield response

    return serve


def items_of(requests: Iterator[Any]) -> Iterator[Message | Refused]:
    """Answers each read with an item that has its key, but not those whose key is negative."""
    index = 0
    for request in requests:
        response = pb.BatchGetStreamResponse()
        for get in request.gets:
            outcome = response.outcomes.add(index=index)
            number = int(get.key["id"].n)
            if number < -1:
                outcome.failure.CopyFrom(THROTTLED)
            elif number < 0:
                outcome.not_found.SetInParent()
            else:
                outcome.item.attributes["id"].n = str(number)
            index += 1
        yield response


def run(sidecar: FakeSidecar, way: str, script: list[tuple[str, dict[str, Any]]], **options: Any) -> int:
    """Performs the calls of a script in a batch writer of either client; returns how many writes are done."""
    if way == "threads":
        with awsidecar.connect(sidecar.target) as client, client.dynamodb.batch_writer(**options) as batch:
            for method, parameters in script:
                getattr(batch, method)(**parameters)
        return batch.done

    async def main() -> int:
        async with aio.connect(sidecar.target) as client, client.dynamodb.batch_writer(**options) as batch:
            for method, parameters in script:
                await getattr(batch, method)(**parameters)
        return batch.done

    return asyncio.run(main())


def read(sidecar: FakeSidecar, way: str, **parameters: Any) -> list[Any]:
    if way == "threads":
        with awsidecar.connect(sidecar.target) as client:
            return list(client.dynamodb.batch_get(**parameters))

    async def main() -> list[Any]:
        async with aio.connect(sidecar.target) as client:
            return [item async for item in client.dynamodb.batch_get(**parameters)]

    return asyncio.run(main())


def puts(count: int) -> list[tuple[str, dict[str, Any]]]:
    return [("put_item", {"Item": {"id": number}}) for number in range(count)]
