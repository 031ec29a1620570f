"""Counts what the SDK sends and what is throttled, retries included: the SDK tells only how a call ended."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import aiohttp
from botocore import exceptions as sdk

from awsidecar_server.aws.call import AwsCall
from awsidecar_server.aws.idempotency import nature_of
from awsidecar_server.aws.retries import THROTTLING, Failure, Stage
from awsidecar_server.ops.telemetry import Telemetry

# Carries the call to botocore's request context; taken out before parameters are read.
_CARRIER = "awsidecar.call"
# Before a request is sent.
_UNSENT = (sdk.ConnectTimeoutError, sdk.ProxyConnectionError, sdk.SSLError)


def with_call(parameters: Mapping[str, Any], call: AwsCall) -> dict[str, Any]:
    """Parameters that take their call with them, through a client that `count_attempts` prepared."""
    return {**parameters, _CARRIER: call}


def count_attempts(events: Any, telemetry: Telemetry, service: str) -> None:
    """Prepares a client so that each of its requests is counted, by operation, and noted in the call's progress."""
    attempts = cache(lambda operation: telemetry.aws_attempts.labels(service, operation))
    throttles = cache(lambda operation: telemetry.aws_throttles.labels(service, operation))

    def count_request(event_name: str, **_: Any) -> None:
        attempts(event_name.rsplit(".", 1)[1]).inc()

    def count_throttle(response: tuple[Any, dict[str, Any]] | None, operation: Any, **_: Any) -> None:
        if response is not None and response[1].get("Error", {}).get("Code") in THROTTLING:
            throttles(operation.name).inc()

    events.register_first("before-parameter-build.*.*", _take_from_parameters)
    events.register_first("request-created.*.*", _note_attempt)
    events.register_first("before-send.*.*", count_request)
    events.register_first("needs-retry.*.*", count_throttle)
    events.register_first("needs-retry.*.*", _note_outcome)


def _take_from_parameters(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    context[_CARRIER] = params.pop(_CARRIER, None)


def _note_attempt(request: Any, **_: Any) -> None:
    call: AwsCall | None = request.context.get(_CARRIER)
    if call is not None:
        call.progress.begin(lambda: nature_of(call.operation, lambda: call.parameters))
        # When it leaves, the SDK does not say; so it may have from now on.
        call.progress.sent()


def _note_outcome(
    request_dict: dict[str, Any],
    response: tuple[Any, dict[str, Any]] | None = None,
    caught_exception: Exception | None = None,
    **_: Any,
) -> None:
    call: AwsCall | None = request_dict["context"].get(_CARRIER)
    if call is None:
        return
    if response is None:
        stage = Stage.UNSENT if _is_unsent(caught_exception) else Stage.UNANSWERED
        call.progress.failed(Failure(stage))
    elif response[0].status_code >= 300:
        code = str(response[1].get("Error", {}).get("Code", ""))
        call.progress.failed(Failure(Stage.REFUSED, code, response[0].status_code))


def _is_unsent(failure: Exception | None) -> bool:
    if isinstance(failure, sdk.EndpointConnectionError):  # which a connection that is lost later is called, too
        return isinstance(failure.kwargs.get("error"), aiohttp.ClientConnectorError)
    return isinstance(failure, _UNSENT)
