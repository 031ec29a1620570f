"""The handlers of DocumentService's batches: identify the caller, carry out, tell of each write or read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from google.protobuf.message import Message

from awsidecar.documents.v1.batches_pb2 import BatchGetResponse, BatchWriteResponse
from awsidecar.dynamodb.v1.failure_pb2 import Failure
from awsidecar_server.api.batches import failure_of, fill, identified
from awsidecar_server.api.calls import Streamed, Streaming, Upload
from awsidecar_server.contract import DOCUMENT_SERVICE
from awsidecar_server.documents.batches import DocumentReads, DocumentWrites, fill_item, reports
from awsidecar_server.dynamodb.batches.entries import Report
from awsidecar_server.dynamodb.batches.stream import BatchStream
from awsidecar_server.dynamodb.batches.work import Means
from awsidecar_server.errors import SidecarError
from awsidecar_server.identity.gate import Gate
from awsidecar_server.operations import Scope, converted


def document_batch_handlers(means: Means, gate: Gate) -> Mapping[str, Streaming]:
    """The handlers by the name of service and method."""
    found = {"BatchGet": _handler(DocumentReads, _reads, means, gate)}
    found["BatchWrite"] = _handler(DocumentWrites, _writes, means, gate)
    return {f"{DOCUMENT_SERVICE.full_name}/{name}": handler for name, handler in found.items()}


def _handler(
    make_work: Callable[[Means, Scope], Any],
    response_of: Callable[[Any, Report], Message],
    means: Means,
    gate: Gate,
) -> Streaming:
    async def handle(upload: Upload) -> Streamed:
        caller = await identified(gate, upload)
        scope = Scope(caller, upload.region, upload.deadline, upload.progress)
        work = make_work(means, scope)
        check = partial(gate.identify, upload.metadata)
        found = reports(work, upload.messages, BatchStream(work, scope, check=check, drain=upload.drain))
        return Streamed(_responses(found, partial(response_of, work)), caller.tier.value)

    return Streaming(handle)


async def _responses(
    reported: AsyncGenerator[Report, None], response_of: Callable[[Report], Message]
) -> AsyncGenerator[Message | bytes, None]:
    async with aclosing(reported) as found:
        async for report in found:
            size = sum(outcome.result.size for outcome in report.outcomes)
            yield await converted(partial(response_of, report), size)


def _writes(_: DocumentWrites, report: Report) -> Message:
    response = BatchWriteResponse(consumed_capacity=report.capacity, deadline_spent=report.is_deadline_spent)
    failures: dict[int, Failure] = {}
    for outcome in report.outcomes:
        fill(response.outcomes.add(index=outcome.index), outcome.result, "BatchWrite", failures)
    return response


def _reads(work: DocumentReads, report: Report) -> Message:
    response = BatchGetResponse(consumed_capacity=report.capacity, deadline_spent=report.is_deadline_spent)
    failures: dict[int, Failure] = {}
    for outcome in report.outcomes:
        told, item = response.outcomes.add(index=outcome.index), outcome.result.item
        if item is None:
            fill(told, outcome.result, "BatchGet", failures)
            continue
        try:
            fill_item(told, item, large_as_text=work.large_as_text)
        except SidecarError as failure:
            told.failure.CopyFrom(failure_of(failure, "BatchGet"))
    return response
