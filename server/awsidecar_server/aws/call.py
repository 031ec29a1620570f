"""The values that travel to AWS and back, and what carries them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from awsidecar_server.aws.progress import Progress
from awsidecar_server.identity.credentials import Credentials


@dataclass(frozen=True, slots=True)
class AwsCall:
    """One AWS operation to perform."""

    service: str
    operation: str
    parameters: Mapping[str, Any] = field(repr=False)
    region: str
    progress: Progress = field(default_factory=Progress, compare=False)


@dataclass(frozen=True, slots=True)
class AwsReply:
    """What AWS answered."""

    members: Mapping[str, Any] = field(repr=False)
    request_id: str
    attempts: int


class Carrier(Protocol):
    """Whoever brings calls to AWS. Every failure leaves as an error of `awsidecar_server.errors`."""

    async def send(self, call: AwsCall, credentials: Credentials | None) -> AwsReply:
        """Performs the call; without credentials unsigned, which only some operations of AWS allow."""
