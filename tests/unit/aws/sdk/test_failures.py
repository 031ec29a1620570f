from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError
from tests.unit.aws.fakes import call

from awsidecar_server.aws.sdk.failures import from_sdk
from awsidecar_server.errors import AwsRejected, AwsUnreachable

URL = {"endpoint_url": "http://secret.example"}


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (sdk.ConnectTimeoutError(**URL), "connect"),
        (sdk.EndpointConnectionError(error="x", **URL), "connect"),
        (sdk.SSLError(error="x", **URL), "connect"),
        (sdk.ProxyConnectionError(proxy_url="http://user:pw@proxy"), "connect"),
        (sdk.ReadTimeoutError(**URL), "timeout"),
        (TimeoutError(), "timeout"),
        (sdk.ConnectionClosedError(**URL), "connection_lost"),
        (sdk.ResponseStreamingError(error="x"), "connection_lost"),
        (sdk.HTTPClientError(error="x"), "connection_lost"),
        (aiohttp.ClientPayloadError("x"), "connection_lost"),
        (aiohttp.ServerDisconnectedError(), "connection_lost"),
        (sdk.ChecksumError(checksum_type="crc32", expected_checksum="1", actual_checksum="2"), "bad_response"),
        (ResponseParserError("x"), "bad_response"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Exception) else one,
)
def test_way_to_aws_that_fails_is_named_by_its_cause(failure: Exception, cause: str) -> None:
    found = from_sdk(failure, call())
    assert isinstance(found, AwsUnreachable)
    assert found.metadata == {"cause": cause}
    assert not {"secret.example", "pw"} & set(found.message.split()), "addresses stay inside"


def test_every_failure_of_the_sdks_http_is_unreachable() -> None:
    """A kind that a newer SDK adds must not look like a defect of ours."""

    def below(kind: type[Exception]) -> set[type[Exception]]:
        return {kind}.union(*(below(one) for one in kind.__subclasses__()))

    for kind in below(sdk.HTTPClientError) | below(sdk.ConnectionError):
        assert isinstance(from_sdk(kind.__new__(kind), call()), AwsUnreachable)


def test_refusal_of_aws_keeps_its_words_and_members() -> None:
    response: dict[str, Any] = {
        "Error": {"Code": "TransactionCanceledException", "Message": "cancelled"},
        "ResponseMetadata": {"RequestId": "REQ", "HTTPStatusCode": 400, "RetryAttempts": 2},
        "message": "cancelled",
        "Message": "cancelled",
        "CancellationReasons": [{"Code": "None"}],
    }
    found = from_sdk(sdk.ClientError(response, "TransactWriteItems"), call("TransactWriteItems"))
    assert isinstance(found, AwsRejected)
    assert (found.service, found.operation) == ("dynamodb", "TransactWriteItems")
    assert (found.code, found.message) == ("TransactionCanceledException", "cancelled")
    assert (found.request_id, found.http_status, found.attempts, found.tier) == ("REQ", 400, 3, "")
    assert found.members == {"CancellationReasons": [{"Code": "None"}]}


def test_refusal_without_anything_is_still_a_refusal() -> None:
    found = from_sdk(sdk.ClientError({}, "GetItem"), call())
    assert isinstance(found, AwsRejected)
    assert (found.code, found.message, found.request_id, found.http_status) == ("Unknown", "", "", 0)
    assert found.attempts == 1


def test_defect_stays_what_it_is() -> None:
    defect = KeyError("ours")
    assert from_sdk(defect, call()) is defect
