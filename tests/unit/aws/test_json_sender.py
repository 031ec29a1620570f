"""Calls of AWS's JSON protocol: what is sent, and what comes of an answer."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as SdkCredentials
from tests.unit.aws.sending import ANN, BUSY, OK, REGION, Harness
from tests.unit.aws.stub import Answer, StubAws
from tests.unit.aws.transport import (
    GARBLED,
    LOST,
    SILENT,
    UNSENT,
    Posted,
    answer,
    refusal,
)

from awsidecar_server.aws.call import AwsCall
from awsidecar_server.aws.http import HttpAnswer, HttpTransport
from awsidecar_server.aws.json_calls import JsonReply
from awsidecar_server.aws.json_sender import JsonSender
from awsidecar_server.errors import AwsUnreachable
from awsidecar_server.identity.credentials import Credentials
from awsidecar_server.ops.telemetry import Telemetry
from awsidecar_server.version import VERSION


class TestRequest:
    async def test_body_goes_to_the_endpoint_as_it_is(self) -> None:
        harness = Harness(OK)
        reply = await harness.post(deadline=7.0)
        (posted,) = harness.posted
        assert (posted.url, posted.body) == (
            "https://dynamodb.eu-central-1.amazonaws.com/",
            b'{"TableName": "films"}',
        )
        assert posted.deadline == 7.0
        assert reply == JsonReply(OK.body, "REQ", 1)

    async def test_signature_is_that_of_the_sdk_for_the_headers_that_are_sent(self) -> None:
        harness = Harness(OK)
        await harness.post()
        (posted,) = harness.posted
        names = re.findall(r"SignedHeaders=([^,]+)", posted.headers["Authorization"])[0].split(";")
        headers = {name: value for name, value in posted.headers.items() if name.lower() in names}
        request = AWSRequest("POST", posted.url, headers=headers, data=posted.body)
        request.context["timestamp"] = posted.headers["X-Amz-Date"]
        signer = SigV4Auth(
            SdkCredentials(ANN.access_key_id, ANN.secret_access_key, ANN.session_token), "dynamodb", REGION
        )
        text = signer.string_to_sign(request, signer.canonical_request(request))
        assert posted.headers["Authorization"].endswith(f"Signature={signer.signature(text, request)}")
        assert {"host", "x-amz-date", "x-amz-target", "x-amz-security-token"} <= set(names)
        assert posted.headers["X-Amz-Date"] == "20300102T030405Z"

    @pytest.mark.parametrize(
        ("service", "operation", "target", "content_type"),
        [
            ("dynamodb", "GetItem", "DynamoDB_20120810.GetItem", "application/x-amz-json-1.0"),
            ("dynamodbstreams", "GetRecords", "DynamoDBStreams_20120810.GetRecords", "application/x-amz-json-1.0"),
            ("cognito-identity", "GetId", "AWSCognitoIdentityService.GetId", "application/x-amz-json-1.1"),
        ],
    )
    async def test_operation_is_named_as_its_service_wants_it(
        self, service: str, operation: str, target: str, content_type: str
    ) -> None:
        harness = Harness(OK)
        await harness.post(operation, {}, service=service)
        headers = harness.posted[0].headers
        assert (headers["X-Amz-Target"], headers["Content-Type"]) == (target, content_type)

    async def test_unsigned_request_has_neither_signature_nor_date_nor_token(self) -> None:
        harness = Harness(OK)
        await harness.post("GetId", {"IdentityPoolId": "pool"}, service="cognito-identity", signed_by=None)
        assert set(harness.posted[0].headers) == {
            "Host",
            "Content-Type",
            "X-Amz-Target",
            "User-Agent",
            "amz-sdk-invocation-id",
            "amz-sdk-request",
        }

    async def test_attempts_share_an_invocation_and_count_up(self) -> None:
        harness = Harness(BUSY, BUSY, OK, max_attempts=4)
        assert (await harness.post()).attempts == 3
        await harness.post()
        first, second, third, other = (one.headers for one in harness.posted)
        assert first["amz-sdk-invocation-id"] == second["amz-sdk-invocation-id"] == third["amz-sdk-invocation-id"]
        assert first["amz-sdk-invocation-id"] != other["amz-sdk-invocation-id"]
        counted = [one.headers["amz-sdk-request"] for one in harness.posted]
        assert counted == ["attempt=1; max=4", "attempt=2; max=4", "attempt=3; max=4", "attempt=1; max=4"]
        assert first["User-Agent"] == f"awsidecar/{VERSION}"

    async def test_search_has_an_endpoint_of_its_own(self) -> None:
        harness = Harness(OK)
        await harness.post("SearchVectors")
        assert harness.posted[0].url == "https://search-dynamodb.eu-central-1.amazonaws.com/"

    async def test_account_of_the_credentials_has_an_endpoint_of_its_own(self) -> None:
        harness = Harness(OK)
        owner = Credentials("AKIAOWNER", "secret", account_id="123456789012")
        await harness.post(signed_by=owner)
        await harness.post(signed_by=ANN)
        owned, regional = harness.posted
        assert owned.url == "https://123456789012.ddb.eu-central-1.amazonaws.com/"
        assert owned.headers["Host"] == "123456789012.ddb.eu-central-1.amazonaws.com"
        assert "/eu-central-1/dynamodb/aws4_request" in owned.headers["Authorization"]
        assert regional.url == "https://dynamodb.eu-central-1.amazonaws.com/"

    async def test_account_of_a_named_table_outweighs_that_of_the_credentials(self) -> None:
        harness = Harness(OK)
        owner = Credentials("AKIAOWNER", "secret", account_id="123456789012")
        arn = f"arn:aws:dynamodb:{REGION}:999999999999:table/films"
        await harness.post(members={"TableName": arn}, signed_by=owner)
        assert harness.posted[0].url == "https://999999999999.ddb.eu-central-1.amazonaws.com/"

    async def test_account_endpoints_can_be_switched_off(self) -> None:
        harness = Harness(OK, account_id_endpoint_mode="disabled")
        await harness.post(signed_by=Credentials("AKIAOWNER", "secret", account_id="123456789012"))
        assert harness.posted[0].url == "https://dynamodb.eu-central-1.amazonaws.com/"

    async def test_headers_come_to_aws_as_they_are_and_ask_for_a_plain_body(self) -> None:
        async with StubAws(lambda _: Answer({"TableNames": []})) as stub:
            transport = HttpTransport(stub.config(), {})
            sender = JsonSender(stub.config(), transport, Telemetry())
            reply = await sender.send(AwsCall("dynamodb", "ListTables", {"Limit": 1}, REGION), ANN)
            await transport.aclose()
        (request,) = stub.requests
        assert (reply.members, reply.request_id, reply.attempts) == ({"TableNames": []}, "REQ1", 1)
        assert (request.operation, request.body, request.key_id) == ("ListTables", {"Limit": 1}, "AKIAANN")
        assert request.session_token == "token-ANN"
        assert request.headers["accept-encoding"] == "identity"
        assert request.headers["amz-sdk-request"] == "attempt=1; max=4"


class TestAnswers:
    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    async def test_redirect_is_not_followed(self, status: int) -> None:
        harness = Harness(answer(status=status, location="http://elsewhere/"))
        failed = await harness.unreachable()
        assert failed.metadata == {"cause": "bad_response", "attempts": "1"}
        assert len(harness.posted) == 1

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"__type": 5}', b"\xff"])
    async def test_refusal_of_whoever_stands_between_is_no_answer_of_aws(self, body: bytes) -> None:
        failed = await Harness(answer(body, 403)).unreachable()
        assert failed.metadata["cause"] == "bad_response"

    async def test_failure_of_whoever_stands_between_is_known_by_its_status(self) -> None:
        rejected = await Harness(answer(b"<html>", 502)).rejection()
        assert (rejected.code, rejected.http_status, rejected.attempts) == ("502", 502, 4)

    @pytest.mark.parametrize("status", [201, 204, 206, 304])
    async def test_other_success_is_no_answer_either(self, status: int) -> None:
        assert (await Harness(answer(status=status)).unreachable()).metadata["cause"] == "bad_response"

    @pytest.mark.parametrize("body", [b"", b"<html>", b'{"a": '])
    async def test_body_that_is_no_json_is_no_answer_for_a_carrier(self, body: bytes) -> None:
        call = AwsCall("cognito-identity", "GetId", {}, REGION)
        with pytest.raises(AwsUnreachable) as failed:
            await Harness(answer(body)).sender.send(call, None)
        assert failed.value.metadata["cause"] == "bad_response"

    @pytest.mark.parametrize(("given", "passed"), [("ü", ""), ("x" * 500, ""), ("a\x07b", ""), ("ABC", "ABC")])
    async def test_request_id_is_passed_on_when_it_can_be(self, given: str, passed: str) -> None:
        assert (await Harness(answer(x_amzn_requestid=given)).post()).request_id == passed
        rejected = await Harness(refusal("ValidationException", x_amzn_requestid=given)).rejection()
        assert rejected.request_id == passed

    async def test_secrets_in_the_words_of_aws_are_masked(self) -> None:
        long = Credentials("AKIALONG", "secret-as-long-as-those-of-aws", "token-as-long-as-those-of-aws")
        message = f"expected x-amz-security-token:{long.session_token} by {long.secret_access_key}"
        rejected = await Harness(refusal("InvalidSignatureException", message)).rejection(signed_by=long)
        assert rejected.message == "expected x-amz-security-token:… by …"

    async def test_words_of_aws_about_an_unsigned_call_are_passed_on(self) -> None:
        harness = Harness(refusal("NotAuthorizedException", "Token is not from a supported provider"))
        rejected = await harness.rejection("GetId", {}, service="cognito-identity", signed_by=None)
        assert (rejected.service, rejected.operation) == ("cognito-identity", "GetId")
        assert rejected.message == "Token is not from a supported provider"

    async def test_members_of_a_refusal_are_decoded(self) -> None:
        body = {"__type": "x#ConditionalCheckFailedException", "message": "no", "Item": {"raw": {"B": "AAE="}}}
        rejected = await Harness(answer(body, 400)).rejection("PutItem", {"TableName": "films"})
        assert rejected.members == {"Item": {"raw": {"B": b"\0\1"}}}

    @pytest.mark.parametrize(
        ("failure", "cause"),
        [(UNSENT, "connect"), (LOST, "connection_lost"), (SILENT, "timeout"), (GARBLED, "bad_response")],
    )
    async def test_silence_is_named_by_its_cause(self, failure: Any, cause: str) -> None:
        failed = await Harness(failure).unreachable()
        assert failed.metadata["cause"] == cause
        assert str(failed.__cause__) == str(failure)

    async def test_caller_is_told_what_is_in_the_way_of_a_connection(self) -> None:
        failed = await Harness(UNSENT).unreachable()
        assert str(failed) == str(UNSENT)


def test_sender_shows_how_it_sends() -> None:
    assert repr(Harness(OK).sender) == "<JsonSender by <FakeTransport>>"


async def test_calls_at_once_are_kept_apart() -> None:
    def echo(posted: Posted) -> HttpAnswer:
        return answer(json.loads(posted.body))

    harness = Harness(echo)
    calls: list[Awaitable[JsonReply]] = [harness.post(members={"TableName": str(number)}) for number in range(50)]
    replies = await asyncio.gather(*calls)
    assert [json.loads(reply.body)["TableName"] for reply in replies] == [str(number) for number in range(50)]
