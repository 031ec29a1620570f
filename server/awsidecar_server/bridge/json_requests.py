"""Protobuf requests as the bodies of AWS's JSON protocol."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from math import isfinite, isnan
from types import MappingProxyType
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from awsidecar_server.bridge.parameters import Leaves, parameters_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class JsonRequest:
    """One request as AWS takes it: its body, and the members in it for whoever must know what it is about."""

    body: bytes = field(repr=False)
    members: Mapping[str, Any] = field(repr=False)


class JsonRequests:
    """Writes the requests of one message type."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._parameters = parameters_of(descriptor, JSON)

    def write(self, message: Message, absent: Mapping[str, Any] = _NOTHING) -> JsonRequest:
        """Returns the request; raises `InvalidRequest` naming the field at fault.

        `absent` says what stands in for members that the caller left out, such as an idempotency token.
        """
        members = self._parameters.of(message)
        for name, value in absent.items():
            members.setdefault(name, value)
        return JsonRequest(orjson.dumps(members), members)


@cache
def json_requests_of(descriptor: Descriptor) -> JsonRequests:
    """The writer of a message type, compiled at its first use."""
    return JsonRequests(descriptor)


def _base64(value: bytes) -> str:
    return b2a_base64(value, newline=False).decode("ascii")


def _number(value: float) -> float | str:
    """JSON has no word for these three; AWS's protocol has: https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html"""
    if isfinite(value):
        return value
    return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _epoch_seconds(value: datetime) -> int | orjson.Fragment:
    """Seconds to the microsecond. Written digit by digit, because a float is too coarse for distant years."""
    total = (value - _EPOCH) // _MICROSECOND
    seconds, microseconds = divmod(abs(total), 1_000_000)
    if not microseconds:
        return total // 1_000_000
    sign = "-" if total < 0 else ""
    return orjson.Fragment(f"{sign}{seconds}.{microseconds:06d}".rstrip("0"))


JSON = Leaves(binary=_base64, double=_number, moment=_epoch_seconds)
