"""The end of a call that failed: the status that gRPC sends, its details and its trailers."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import grpc
import structlog

from awsidecar_server.api.details import status_of
from awsidecar_server.api.metadata import Metadata, details_budget, trace_id
from awsidecar_server.api.status import OWN_DOMAIN, Verdict, verdict
from awsidecar_server.aws.progress import Progress
from awsidecar_server.contract import Rpc
from awsidecar_server.errors import AwsRejected, AwsUnreachable, SidecarError
from awsidecar_server.ops.telemetry import Telemetry

_log = structlog.get_logger()

Trailers = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Abort:
    """How a call ends that failed."""

    code: grpc.StatusCode
    message: str
    trailers: Trailers


class Aborts:
    """Makes the end of a call from its failure; what nothing foresaw is logged and counted."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def of(self, rpc: Rpc, failure: Exception, metadata: Metadata, progress: Progress) -> Abort:
        """The end of a call of `rpc` with this metadata, that had come so far with AWS."""
        if isinstance(failure, SidecarError | AwsRejected):
            known, found = failure, verdict(failure)
        else:
            known = self._defect(rpc, failure)
            found = Verdict(grpc.StatusCode.INTERNAL, OWN_DOMAIN, known.reason)
        status = status_of(known, found, rpc.method, details_budget(metadata), progress)
        request_id = known.request_id if isinstance(known, AwsRejected) else ""
        attempts = progress.attempts or _attempts_of(known)
        ends: Trailers = trailers(known.tier, request_id, attempts)
        if attempts or isinstance(known, AwsRejected | AwsUnreachable):
            # The sidecar has tried again already: a client's own policy shall not (gRFC A6).
            ends = (*ends, ("grpc-retry-pushback-ms", "-1"))
        _log.debug(
            "rpc refused",
            method=rpc.method,
            code=found.code.name,
            reason=found.reason,
            trace_id=trace_id(metadata),
        )
        return Abort(found.code, status.message, (*ends, ("grpc-status-details-bin", status.SerializeToString())))

    def _defect(self, rpc: Rpc, failure: Exception) -> SidecarError:
        """Logs a failure that nothing foresaw. The caller gets a fixed message, and the log's id for it."""
        error_id = secrets.token_hex(8)
        self._telemetry.errors_internal.inc()
        _log.error("internal error", method=rpc.method, error_id=error_id, exc_info=failure)
        return SidecarError(
            "an internal error; the sidecar's log has it", reason="INTERNAL_ERROR", error_id=error_id
        )


def _attempts_of(failure: SidecarError | AwsRejected) -> int:
    return failure.attempts if isinstance(failure, AwsRejected | AwsUnreachable) else 0


def trailers(tier: str, request_id: str, attempts: int) -> tuple[tuple[str, str], ...]:
    """What the trailers say of a call, as far as it is known."""
    found = []
    if tier:
        found.append(("x-awsidecar-tier", tier))
    if request_id:
        found.append(("x-amzn-requestid", request_id))
    if attempts:
        found.append(("x-awsidecar-attempts", str(attempts)))
    return tuple(found)
