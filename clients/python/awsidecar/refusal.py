"""What a failed call says, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field at fault: its path in AWS's names, and what is wrong with it."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class CancellationReason:
    """What AWS says of one action of a cancelled transaction; `code` is "None" for an action not at fault."""

    code: str
    message: str = ""
    item: dict[str, Any] | None = field(default=None, repr=False)
    item_omitted: bool = False


@dataclass(frozen=True, slots=True)
class ThrottlingReason:
    """Why AWS throttled, and which table or index."""

    reason: str
    resource: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Everything that came with a failed call. Items stay out of its repr: they are the application's data."""

    code: grpc.StatusCode
    message: str
    operation: str = ""
    reason: str = ""
    domain: str = ""
    request_id: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    fields: tuple[FieldViolation, ...] = ()
    retry_after: float | None = None
    item: dict[str, Any] | None = field(default=None, repr=False)
    item_omitted: bool = False
    reasons: tuple[CancellationReason, ...] = ()
    throttling_reasons: tuple[ThrottlingReason, ...] = ()
