"""The `google.rpc.Status` of an error: one ErrorInfo, and whatever AWS returned with its refusal that fits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any
from urllib.parse import quote

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
from awsidecar_server.aws.progress import Progress
from awsidecar_server.aws.retries import THROTTLING
from awsidecar_server.bridge import codec_of

# What fits a caller's metadata beside everything else, when it says nothing: gRPC's soft limit is 8 KiB, and the
# details are sent as base64.
DEFAULT_BUDGET_BYTES = 4096
LARGEST_BUDGET_BYTES = 1024 * 1024
# In bytes. A status holds the message once more, percent-encoded, and may name several fields.
_LONGEST_MESSAGE = 896
_LONGEST_ENCODED_MESSAGE = 1344
_LONGEST_FIELD_MESSAGE = 512
_LONGEST_NAME = 256
_MOST_FIELDS = 8
_MOST_THROTTLING_REASONS = 16
# What it takes at most to wrap a detail into a status, or a message into a detail: type URL, tags and lengths.
_ENVELOPE_BYTES = 96
_WRAPPING_BYTES = 16
# AWS's base delay after throttling ("standard" retry mode, 2026).
_THROTTLED_RETRY_SECONDS = 1

# "Percent-Byte-Unencoded" of gRPC over HTTP/2.
_UNENCODED = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")

_ITEM = codec_of(attribute_value_pb2.Item.DESCRIPTOR)
_NOTHING_SENT = Progress()


def status_of(
    failure: errors.SidecarError | errors.AwsRejected,
    verdict: Verdict,
    operation: str,
    budget: int,
    progress: Progress = _NOTHING_SENT,
) -> status_pb2.Status:
    """The status, no larger than `budget` bytes as far as leaving out items and texts can bring it there."""
    message = _header_text(redact(failure.message) or verdict.reason)
    status = status_pb2.Status(code=verdict.code.value[0], message=message)
    info = error_details_pb2.ErrorInfo(reason=verdict.reason, domain=verdict.domain)
    info.metadata.update(
        (name, _shorten(redact(text), _LONGEST_NAME)) for name, text in _metadata(failure, operation, progress)
    )
    _append(status, info)
    for detail in _hints(failure):
        _append(status, detail)
    room = budget - status.ByteSize() - _ENVELOPE_BYTES
    largest = _field_details(failure, verdict, room) or _readable_typed_detail(failure, room)
    if largest is not None:
        _append(status, largest)
    if status.ByteSize() > budget:
        # The codes of a hundred cancelled actions, none of which is left out; the message repeats them.
        status.message = _header_text(message[:_LONGEST_NAME])
    return status


def _metadata(
    failure: errors.SidecarError | errors.AwsRejected, operation: str, progress: Progress
) -> Iterator[tuple[str, str]]:
    yield "operation", operation
    if isinstance(failure, errors.AwsRejected):
        yield "aws_error_code", failure.code
        if failure.request_id:
            yield "request_id", failure.request_id
        yield "http_status", str(failure.http_status)
        yield "attempts", str(failure.attempts)
        if failure.ambiguous:
            yield "ambiguous", "true"
    else:
        yield from failure.metadata.items()
    # Whatever the call failed of: a request may have been sent before, and have had its effect.
    if progress.attempts:
        yield "attempts", str(progress.attempts)
    if progress.is_ambiguous:
        yield "ambiguous", "true"


def _hints(failure: errors.SidecarError | errors.AwsRejected) -> Iterator[Message]:
    """What to quote to AWS's support, and when to try again."""
    if isinstance(failure, errors.AwsRejected):
        if failure.request_id:
            yield error_details_pb2.RequestInfo(request_id=_shorten(failure.request_id, _LONGEST_NAME))
        throttled = failure.code in THROTTLING
    else:
        throttled = failure.reason == "OVERLOADED"
    if throttled:
        yield error_details_pb2.RetryInfo(retry_delay=Duration(seconds=_THROTTLED_RETRY_SECONDS))


def _field_details(
    failure: errors.SidecarError | errors.AwsRejected, verdict: Verdict, room: int
) -> error_details_pb2.BadRequest | None:
    """The fields at fault, as many of the first as fit; None when there are none."""
    found: Iterable[errors.FieldViolation] = ()
    if isinstance(failure, errors.InvalidRequest):
        found = failure.violations
    elif isinstance(failure, errors.AwsRejected) and verdict.code is StatusCode.INVALID_ARGUMENT:
        naming = failure.naming
        found = (errors.FieldViolation(naming(one.field), one.description) for one in violations(failure.message))
    request = error_details_pb2.BadRequest()
    for one in islice(found, _MOST_FIELDS):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_shorten(redact(one.field), _LONGEST_NAME),
            description=_shorten(redact(one.description), _LONGEST_FIELD_MESSAGE),
        )
        if request.ByteSize() + violation.ByteSize() + _WRAPPING_BYTES > room:
            break
        request.field_violations.append(violation)
    return request if request.field_violations else None


def _readable_typed_detail(failure: errors.SidecarError | errors.AwsRejected, room: int) -> Message | None:
    try:
        return _typed_detail(failure, room)
    except (AttributeError, TypeError, ValueError):
        # Not as the service model has it. What the refusal says besides still holds.
        return None


def _typed_detail(failure: errors.SidecarError | errors.AwsRejected, room: int) -> Message | None:
    if not isinstance(failure, errors.AwsRejected):
        return None
    members = failure.members
    if failure.code == "ConditionalCheckFailedException":
        failed = errors_pb2.ConditionalCheckFailed()
        _put_item(failed, members.get("Item"), room)
        return failed
    reasons = members.get("CancellationReasons")
    if reasons:
        return _transaction_canceled(reasons, room)
    throttling = members.get("ThrottlingReasons") or members.get("throttlingReasons")
    if throttling:
        return _throttled(throttling, room)
    return None


def _transaction_canceled(reasons: Sequence[Mapping[str, Any]], room: int) -> errors_pb2.TransactionCanceled:
    """Every code; then the messages, and then the items, that fit beside them."""
    canceled = errors_pb2.TransactionCanceled(
        reasons=[
            errors_pb2.CancellationReason(code=_shorten(one.get("Code") or "", _LONGEST_NAME)) for one in reasons
        ]
    )
    # That an item was left out is said in any case.
    room -= _WRAPPING_BYTES // 4 * sum(1 for one in reasons if one.get("Item"))
    for reason, one in zip(canceled.reasons, reasons, strict=True):
        message = _shorten(redact(one.get("Message") or ""), _LONGEST_MESSAGE)
        if len(message.encode()) + _WRAPPING_BYTES <= room - canceled.ByteSize():
            reason.message = message
    for reason, one in zip(canceled.reasons, reasons, strict=True):
        _put_item(reason, one.get("Item"), room - canceled.ByteSize())
    return canceled


def _put_item(target: Any, item: Mapping[str, Any] | None, room: int) -> None:
    """Adds the item, or the word that it was left out."""
    if not item:
        return
    message = _ITEM.encode({"attributes": item})
    if message.ByteSize() + _WRAPPING_BYTES <= room:
        target.item.CopyFrom(message)
    else:
        target.item_omitted = True


def _throttled(reasons: Sequence[Mapping[str, Any]], room: int) -> errors_pb2.Throttled:
    throttled = errors_pb2.Throttled()
    for one in reasons[:_MOST_THROTTLING_REASONS]:
        reason = errors_pb2.ThrottlingReason(
            reason=_shorten(one.get("reason") or "", _LONGEST_NAME),
            resource=_shorten(redact(one.get("resource") or ""), _LONGEST_NAME),
        )
        if throttled.ByteSize() + reason.ByteSize() + _WRAPPING_BYTES > room:
            break
        throttled.reasons.append(reason)
    return throttled


def _append(status: status_pb2.Status, detail: Message) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


def _header_text(text: str) -> str:
    """The text as a status takes it, whose header has three bytes for each that is not printable ASCII."""
    message = _shorten(text, _LONGEST_MESSAGE)
    if len(quote(message, safe=_UNENCODED)) <= _LONGEST_ENCODED_MESSAGE:
        return message
    return _shorten(text, _LONGEST_ENCODED_MESSAGE // 3)


def _shorten(text: str, most_bytes: int) -> str:
    """The text, cut to so many bytes of UTF-8, and such that it has a UTF-8 at all."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= most_bytes:
        return encoded.decode()
    return encoded[: most_bytes - len("…".encode())].decode(errors="ignore") + "…"
