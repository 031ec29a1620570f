"""The one place where errors of AWS and of the way to it come in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp
from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError

from awsidecar_server.aws.call import AwsCall
from awsidecar_server.aws.wording import request_id_of
from awsidecar_server.errors import AwsRejected, AwsUnreachable

# Parts of a parsed error that are no members of the error itself.
_ENVELOPE = frozenset({"Error", "ResponseMetadata", "message", "Message"})

# The most specific first.
_UNREACHABLE: tuple[tuple[type[BaseException], str, str], ...] = (
    (sdk.ConnectTimeoutError, "connect", "AWS could not be connected to in time"),
    (sdk.ReadTimeoutError, "timeout", "AWS did not answer in time"),
    (sdk.ConnectionClosedError, "connection_lost", "the connection was lost before AWS answered"),
    (sdk.EndpointConnectionError, "connect", "AWS could not be connected to"),
    (sdk.SSLError, "connect", "no secure connection to AWS could be made"),
    (sdk.ProxyConnectionError, "connect", "the proxy to AWS could not be connected to"),
    (sdk.ConnectionError, "connect", "AWS could not be connected to"),
    (sdk.ResponseStreamingError, "connection_lost", "the connection was lost during AWS's answer"),
    (sdk.HTTPClientError, "connection_lost", "the connection was lost before AWS answered"),
    (sdk.ChecksumError, "bad_response", "AWS's answer was damaged on its way"),
    (ResponseParserError, "bad_response", "AWS's answer could not be read"),
    (aiohttp.ClientError, "connection_lost", "the connection was lost before AWS answered"),
    (TimeoutError, "timeout", "AWS did not answer in time"),
)


def from_sdk(failure: Exception, call: AwsCall) -> Exception:
    """What a failure of the SDK means; the failure itself when it is nothing but a defect of ours."""
    if isinstance(failure, sdk.ClientError):
        return rejection(failure.response, call)
    for kind, cause, message in _UNREACHABLE:
        if isinstance(failure, kind):
            return AwsUnreachable(message, cause=cause)
    return failure


def rejection(response: Mapping[str, Any], call: AwsCall) -> AwsRejected | AwsUnreachable:
    """AWS's error, from the SDK's parsed response."""
    error = response.get("Error", {})
    metadata = response.get("ResponseMetadata", {})
    if 300 <= int(metadata.get("HTTPStatusCode", 0)) < 400:
        return AwsUnreachable("the endpoint answered with a redirect, which is not followed", cause="bad_response")
    return AwsRejected(
        service=call.service,
        operation=call.operation,
        code=str(error.get("Code") or "Unknown"),
        message=str(error.get("Message") or ""),
        request_id=request_id_of(metadata),
        http_status=int(metadata.get("HTTPStatusCode", 0)),
        attempts=int(metadata.get("RetryAttempts", 0)) + 1,
        members={name: value for name, value in response.items() if name not in _ENVELOPE},
    )
