"""Counts what the SDK sends and what is throttled, retries included: the SDK tells only how a call ended."""

from __future__ import annotations

from functools import cache
from typing import Any

from awsidecar_server.aws.retries import THROTTLING
from awsidecar_server.ops.telemetry import Telemetry


def count_attempts(events: Any, telemetry: Telemetry, service: str) -> None:
    """Prepares a client so that each of its requests is counted, by operation."""
    attempts = cache(lambda operation: telemetry.aws_attempts.labels(service, operation))
    throttles = cache(lambda operation: telemetry.aws_throttles.labels(service, operation))

    def count_request(event_name: str, **_: Any) -> None:
        attempts(event_name.rsplit(".", 1)[1]).inc()

    def count_throttle(response: tuple[Any, dict[str, Any]] | None, operation: Any, **_: Any) -> None:
        if response is not None and response[1].get("Error", {}).get("Code") in THROTTLING:
            throttles(operation.name).inc()

    events.register_first("before-send.*.*", count_request)
    events.register_first("needs-retry.*.*", count_throttle)
