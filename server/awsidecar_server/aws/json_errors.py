"""The errors of AWS's JSON protocol as they come over the wire, and the checksum that DynamoDB sends along.

https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html#operation-error-serialization
"""

from __future__ import annotations

import binascii
import json
import zlib
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, NamedTuple

# Parts of the body that are no members of the error itself.
_ENVELOPE = frozenset({"__type", "code", "message", "Message"})
# What a body that is not as the service model has it runs into.
_MISREAD = (AttributeError, KeyError, RecursionError, TypeError, ValueError)


class JsonError(NamedTuple):
    """AWS's error: its code and message, and what else it carries, with binary values decoded."""

    code: str
    message: str
    members: Mapping[str, Any]
    # False: the body is not an error of AWS's; whoever wrote it stands between us.
    is_of_aws: bool


def read_error(body: bytes, *, http_status: int, error_type: str | None = None) -> JsonError:
    """The error in an answer. `error_type` is the header `x-amzn-errortype`.

    The body of whoever stands between us and AWS has no code, and is known by its HTTP status.
    """
    content = _object(body)
    is_named = "__type" in content or "code" in content or bool(error_type)
    is_of_aws = is_named and all(isinstance(content.get(name, ""), str | None) for name in _ENVELOPE)
    code = next(filter(None, map(_short_code, (content.get("__type"), content.get("code"), error_type))), "")
    message = next((text for text in map(content.get, ("message", "Message")) if isinstance(text, str)), "")
    members = {name: value for name, value in content.items() if name not in _ENVELOPE and value is not None}
    if not code:
        unnamed = message or f"AWS answered with HTTP status {http_status}"
        return JsonError(str(http_status), unnamed, members, is_of_aws)
    return JsonError(code, message, _with_items(members), is_of_aws)


def cancellation_codes(error: JsonError) -> frozenset[str]:
    """The codes of the reasons for which a transaction was cancelled; of any other error none."""
    if error.code != "TransactionCanceledException":
        return frozenset()
    return frozenset(str(reason.get("Code")) for reason in error.members.get("CancellationReasons") or ())


def is_intact(body: bytes, crc32: str | None) -> bool:
    """True when the body, as it was received, has the checksum of `x-amz-crc32`; also when there is none."""
    return crc32 is None or (crc32.isascii() and crc32.strip() == str(zlib.crc32(body)))


def _object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _short_code(code: Any) -> str:
    """`com.amazonaws.dynamodb.v20120810#Code:http://...` -> `Code`."""
    if not isinstance(code, str):
        return ""
    return code.partition(":")[0].rpartition("#")[2].strip()


def _with_items(members: dict[str, Any]) -> dict[str, Any]:
    """The members with their items decoded; without the member that is not as the service model has it."""
    for name, decoded in (("Item", _item), ("CancellationReasons", _reasons), ("ThrottlingReasons", _structures)):
        spelled = name if name in members else name[0].lower() + name[1:]
        if spelled in members:
            try:
                members[spelled] = decoded(members[spelled])
            except _MISREAD:
                del members[spelled]
    return members


def _structures(elements: list[Any]) -> list[dict[str, Any]]:
    """A list of structures; members that are null are not there."""
    return [{name: value for name, value in one.items() if value is not None} for one in elements]


def _reasons(elements: list[Any]) -> list[dict[str, Any]]:
    reasons = _structures(elements)
    for reason in reasons:
        if "Item" in reason:
            reason["Item"] = _item(reason["Item"])
    return reasons


def _item(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: _attribute(value) for name, value in attributes.items()}


def _attribute(value: dict[str, Any]) -> dict[str, Any]:
    (kind, content), *_ = value.items()
    if kind == "B":
        return {kind: _bytes(content)}
    if kind == "BS":
        return {kind: [_bytes(one) for one in content]}
    if kind == "L":
        return {kind: [_attribute(one) for one in content]}
    if kind == "M":
        return {kind: _item(content)}
    return value


def _bytes(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except binascii.Error as damaged:
        raise ValueError("not base64") from damaged
