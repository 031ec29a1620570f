"""The values that travel to AWS and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class AwsCall:
    """One AWS operation to perform."""

    service: str
    operation: str
    parameters: Mapping[str, Any] = field(repr=False)
    region: str


@dataclass(frozen=True, slots=True)
class AwsReply:
    """What AWS answered."""

    members: Mapping[str, Any] = field(repr=False)
    request_id: str
    attempts: int
