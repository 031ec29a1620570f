"""Measures a call to AWS, whichever way it goes."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType

from awsidecar_server.errors import AwsRejected, AwsUnreachable, DeadlineSpent, InvalidRequest
from awsidecar_server.ops.telemetry import AwsMetrics

_OUTCOMES: tuple[tuple[type[BaseException], str], ...] = (
    (AwsRejected, "rejected"),
    (AwsUnreachable, "unreachable"),
    (asyncio.CancelledError, "cancelled"),
    (DeadlineSpent, "cancelled"),
    (InvalidRequest, "invalid"),
)


class Measured:
    """A context in which one call is performed: it is counted as in progress, and then by its outcome."""

    __slots__ = ("_metrics", "_started")

    def __init__(self, metrics: AwsMetrics) -> None:
        self._metrics = metrics

    def __enter__(self) -> None:
        self._started = time.perf_counter()
        self._metrics.pool_in_use.inc()

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._metrics.pool_in_use.dec()
        self._metrics.finished(_outcome(failure), time.perf_counter() - self._started)


def _outcome(failure: BaseException | None) -> str:
    if failure is None:
        return "ok"
    return next((outcome for kind, outcome in _OUTCOMES if isinstance(failure, kind)), "failed")
