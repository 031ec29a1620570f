"""The handlers of BatchWriteStream and BatchGetStream: identify the caller, carry out, tell of each element."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

from google.protobuf.message import Message

from awsidecar.dynamodb.v1.batch_streams_pb2 import (
    BatchGetStreamResponse,
    BatchWriteStreamResponse,
    GetOutcome,
    WriteOutcome,
)
from awsidecar.dynamodb.v1.failure_pb2 import Failure
from awsidecar_server import errors
from awsidecar_server.api.calls import Streamed, Streaming, Upload
from awsidecar_server.api.details import LARGEST_BUDGET_BYTES, status_of
from awsidecar_server.api.status import verdict
from awsidecar_server.contract import DYNAMODB_SERVICE
from awsidecar_server.dynamodb.batches.entries import Report, Result
from awsidecar_server.dynamodb.batches.reads import Reads
from awsidecar_server.dynamodb.batches.stream import BatchStream
from awsidecar_server.dynamodb.batches.work import Means, Work
from awsidecar_server.dynamodb.batches.writes import Writes
from awsidecar_server.identity.credentials import Caller
from awsidecar_server.identity.gate import Gate
from awsidecar_server.operations import Scope

_FIRST_REQUEST_SECONDS = 1.0

_MakeWork = Callable[[Means, Scope], Work]


def batch_handlers(means: Means, gate: Gate) -> Mapping[str, Streaming]:
    """The handlers by the path of their RPC."""
    found = {
        "BatchGetStream": _handler("BatchGetStream", Reads, BatchGetStreamResponse, GetOutcome, means, gate),
        "BatchWriteStream": _handler(
            "BatchWriteStream", Writes, BatchWriteStreamResponse, WriteOutcome, means, gate
        ),
    }
    return {f"{DYNAMODB_SERVICE.full_name}/{name}": handler for name, handler in found.items()}


def _handler(
    rpc: str,
    make_work: _MakeWork,
    response_class: type[BatchGetStreamResponse | BatchWriteStreamResponse],
    outcome_class: type[GetOutcome | WriteOutcome],
    means: Means,
    gate: Gate,
) -> Streaming:
    def response_of(report: Report) -> bytes:
        response: Any = response_class(consumed_capacity=report.capacity, deadline_spent=report.is_deadline_spent)
        failures: dict[int, Failure] = {}
        for outcome in report.outcomes:
            told: Any = outcome_class(index=outcome.index)
            fill(told, outcome.result, rpc, failures)
            response.outcomes.append(told)
        written: bytes = response.SerializeToString()
        return written

    async def handle(upload: Upload) -> Streamed:
        caller = await identified(gate, upload)
        scope = Scope(caller, upload.region, upload.deadline, upload.progress)
        check = partial(gate.identify, upload.metadata)
        stream = BatchStream(make_work(means, scope), scope, check=check, drain=upload.drain)
        return Streamed(_responses(stream, upload.messages, response_of), caller.tier.value)

    return Streaming(handle)


async def identified(gate: Gate, upload: Upload) -> Caller:
    """The caller. Who is refused is told so after the first request has come, or might have.

    A client of `grpc.aio` does not learn how a call ended that ends while it writes.
    """
    try:
        return await gate.identify(upload.metadata)
    except errors.SidecarError:
        with suppress(errors.SidecarError, StopAsyncIteration, TimeoutError):
            async with asyncio.timeout(_FIRST_REQUEST_SECONDS):
                await anext(upload.messages)
        raise


async def _responses(
    stream: BatchStream, requests: AsyncIterator[Message], response_of: Callable[[Report], bytes]
) -> AsyncGenerator[Message | bytes, None]:
    async with aclosing(stream.reports(requests)) as reports:
        async for report in reports:
            yield response_of(report)


def fill(told: Any, result: Result, rpc: str, failures: dict[int, Failure]) -> None:
    """Puts what became of an element into its outcome. `failures` has those of the same response, made once each."""
    if result.kind == "failure":
        assert result.failure is not None
        failure = failures.get(id(result.failure))
        if failure is None:  # many elements of a batch fail in the same way
            failure = failures[id(result.failure)] = failure_of(result.failure, rpc)
        told.failure.CopyFrom(failure)
        told.failure.ambiguous = result.is_ambiguous
    elif result.kind == "item":
        told.item.CopyFrom(result.item)
    else:
        getattr(told, result.kind).SetInParent()


def failure_of(failure: errors.AwsRejected | errors.SidecarError, rpc: str) -> Failure:
    """What would be the status of a call that failed so."""
    status = status_of(failure, verdict(failure), rpc, LARGEST_BUDGET_BYTES)
    return Failure(code=status.code, message=status.message, details=status.details)
