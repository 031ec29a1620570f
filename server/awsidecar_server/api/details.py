"""The `google.rpc.Status` of an error: one ErrorInfo, and whatever AWS returned with its refusal that fits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from awsidecar.dynamodb.v1 import attribute_value_pb2
from awsidecar.errors.v1 import errors_pb2
from awsidecar_server import errors
from awsidecar_server.api.fields import violations
from awsidecar_server.api.redaction import redact
from awsidecar_server.api.status import Verdict
from awsidecar_server.aws.failures import THROTTLING
from awsidecar_server.bridge import codec_of

# What fits a caller's metadata beside everything else, when it says nothing: gRPC's soft limit is 8 KiB, and the
# details are sent as base64.
DEFAULT_BUDGET_BYTES = 4096
LARGEST_BUDGET_BYTES = 1024 * 1024
_LONGEST_MESSAGE = 1024
# AWS's base delay after throttling ("standard" retry mode, 2026).
_THROTTLED_RETRY_SECONDS = 1

_ITEM = codec_of(attribute_value_pb2.Item.DESCRIPTOR)


def status_of(
    failure: errors.SidecarError | errors.AwsRejected, verdict: Verdict, operation: str, budget: int
) -> status_pb2.Status:
    """The status, no larger than `budget` bytes as far as leaving out items and texts can bring it there."""
    message = _shorten(redact(failure.message) or verdict.reason)
    status = status_pb2.Status(code=verdict.code.value[0], message=message)
    info = error_details_pb2.ErrorInfo(reason=verdict.reason, domain=verdict.domain)
    info.metadata.update(_metadata(failure, operation))
    details = [info, *_common_details(failure, verdict)]
    for detail in details:
        _append(status, detail)
    if isinstance(failure, errors.AwsRejected):
        typed = _typed_detail(failure, budget - status.ByteSize())
        if typed is not None:
            _append(status, typed)
    return status


def _metadata(failure: errors.SidecarError | errors.AwsRejected, operation: str) -> Iterator[tuple[str, str]]:
    yield "operation", operation
    if isinstance(failure, errors.AwsRejected):
        yield "aws_error_code", failure.code
        yield "request_id", failure.request_id
        yield "http_status", str(failure.http_status)
        yield "attempts", str(failure.attempts)
    else:
        yield from failure.metadata.items()


def _common_details(failure: errors.SidecarError | errors.AwsRejected, verdict: Verdict) -> Iterator[Message]:
    found: Iterable[errors.FieldViolation] = ()
    if isinstance(failure, errors.AwsRejected):
        if failure.request_id:
            yield error_details_pb2.RequestInfo(request_id=failure.request_id)
        if verdict.code is StatusCode.INVALID_ARGUMENT:
            found = violations(failure.message)
        if failure.code in THROTTLING:
            yield error_details_pb2.RetryInfo(retry_delay=Duration(seconds=_THROTTLED_RETRY_SECONDS))
    elif isinstance(failure, errors.InvalidRequest):
        found = failure.violations
    fields = [
        error_details_pb2.BadRequest.FieldViolation(field=one.field[:256], description=_shorten(redact(one.description)))
        for one in found
    ]
    if fields:
        yield error_details_pb2.BadRequest(field_violations=fields[:8])


def _typed_detail(failure: errors.AwsRejected, room: int) -> Message | None:
    members = failure.members
    if failure.code == "ConditionalCheckFailedException":
        failed = errors_pb2.ConditionalCheckFailed()
        _put_item(failed, members.get("Item"), room)
        return failed
    if "CancellationReasons" in members:
        return _transaction_canceled(members["CancellationReasons"], room)
    throttling = members.get("ThrottlingReasons") or members.get("throttlingReasons")
    if throttling:
        return errors_pb2.Throttled(
            reasons=[
                errors_pb2.ThrottlingReason(reason=one.get("reason", ""), resource=redact(one.get("resource", "")))
                for one in throttling[:16]
            ]
        )
    return None


def _transaction_canceled(reasons: list[Mapping[str, Any]], room: int) -> Message:
    canceled = errors_pb2.TransactionCanceled(
        reasons=[errors_pb2.CancellationReason(code=one.get("Code", "")) for one in reasons]
    )
    for reason, one in zip(canceled.reasons, reasons, strict=True):
        message = redact(one.get("Message") or "")
        if len(message) < room - canceled.ByteSize():
            reason.message = message
    for reason, one in zip(canceled.reasons, reasons, strict=True):
        _put_item(reason, one.get("Item"), room - canceled.ByteSize())
    return canceled


def _put_item(target: Any, item: Mapping[str, Any] | None, room: int) -> None:
    """Adds the item, or the word that it was left out."""
    if not item:
        return
    message = _ITEM.encode({"attributes": item})
    if message.ByteSize() + 16 <= room:
        target.item.CopyFrom(message)
    else:
        target.item_omitted = True


def _append(status: status_pb2.Status, detail: Message) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


def _shorten(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else message[: _LONGEST_MESSAGE - 1] + "…"
