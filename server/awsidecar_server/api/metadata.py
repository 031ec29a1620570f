"""What a call's metadata says besides who is calling: region, retries of conflicts, and how much detail it takes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from awsidecar_server.api.details import DEFAULT_BUDGET_BYTES, LARGEST_BUDGET_BYTES
from awsidecar_server.config import AwsConfig
from awsidecar_server.errors import Forbidden, InvalidRequest

Metadata = tuple[tuple[str, str | bytes], ...]

REGION = "x-awsidecar-region"
MAX_DETAILS = "x-awsidecar-max-details-bytes"
RETRY_CONFLICTS = "x-awsidecar-retry-conflicts"
# How often a conflict is tried when the caller says no number; with the pauses between, for some four seconds.
_USUAL_CONFLICT_ATTEMPTS = 10
# Whoever is still in the way then is so all the time.
_MOST_CONFLICT_ATTEMPTS = 100
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")


@dataclass(frozen=True, slots=True)
class Regions:
    """The region of a call: the configured one, or an allowed one that the call names."""

    default: str
    allowed: frozenset[str]

    @classmethod
    def of(cls, config: AwsConfig) -> Regions:
        assert config.region is not None
        return cls(config.region, frozenset({config.region, *config.allowed_regions}))

    def chosen_by(self, metadata: Metadata) -> str:
        if any(key == f"{REGION}-bin" for key, _ in metadata):
            raise InvalidRequest.of(REGION, "is not text")
        named = _one(metadata, REGION)
        if named is None:
            return self.default
        if named not in self.allowed:
            # The name came from outside, so it goes back only in a bounded form.
            raise Forbidden("the region is not allowed here", reason="REGION_NOT_ALLOWED", region=named[:64])
        return named


def details_budget(metadata: Metadata) -> int:
    """How many bytes of status details the caller takes; what it says wrongly counts as not said."""
    for value in _values(metadata, MAX_DETAILS):
        if value.isdecimal() and len(value) < 12:
            return max(DEFAULT_BUDGET_BYTES, min(int(value), LARGEST_BUDGET_BYTES))
    return DEFAULT_BUDGET_BYTES


def conflict_attempts(metadata: Metadata) -> int:
    """How often in all a call is to be tried that is in another transaction's way; 0 when the caller does not ask."""
    value = _one(metadata, RETRY_CONFLICTS)
    if value is None or value == "false":
        return 0
    if value == "true":
        return _USUAL_CONFLICT_ATTEMPTS
    if value.isascii() and value.isdecimal() and len(value) < 4 and 1 <= int(value) <= _MOST_CONFLICT_ATTEMPTS:
        return int(value)
    raise InvalidRequest.of(RETRY_CONFLICTS, f"must be true, false or a number from 1 to {_MOST_CONFLICT_ATTEMPTS}")


def trace_id(metadata: Metadata) -> str | None:
    """The trace that the call belongs to, from `traceparent` (W3C Trace Context); None when it says none."""
    for value in _values(metadata, "traceparent"):
        found = _TRACEPARENT.fullmatch(value)
        if found:
            return found[1]
    return None


def _values(metadata: Metadata, name: str) -> Iterable[str]:
    return (value for key, value in metadata if key == name and isinstance(value, str))


def _one(metadata: Metadata, name: str) -> str | None:
    """What is said under a name that may be said once."""
    found = list(_values(metadata, name))
    if len(found) > 1:
        raise InvalidRequest.of(name, "is given twice")
    return found[0] if found else None
