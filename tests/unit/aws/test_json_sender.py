"""Calls of AWS's JSON protocol: what is sent, when it is sent again, and what comes of it."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import Awaitable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as SdkCredentials
from tests.unit.aws.fakes import credentials
from tests.unit.aws.stub import Answer, StubAws
from tests.unit.aws.transport import (
    GARBLED,
    LATE,
    LOST,
    SILENT,
    TOO_LATE,
    UNSENT,
    FakeTransport,
    Posted,
    Step,
    answer,
    refusal,
)

from awsidecar_server.aws.call import AwsCall
from awsidecar_server.aws.http import HttpAnswer, HttpTransport
from awsidecar_server.aws.json_calls import JsonCall, JsonReply
from awsidecar_server.aws.json_sender import JsonSender
from awsidecar_server.aws.progress import Progress
from awsidecar_server.aws.retries import RetryPolicy, RetryQuota
from awsidecar_server.config import AwsConfig
from awsidecar_server.errors import AwsRejected, AwsUnreachable, DeadlineSpent, InvalidRequest
from awsidecar_server.identity.credentials import Credentials
from awsidecar_server.ops.telemetry import Telemetry
from awsidecar_server.version import VERSION

ANN = credentials("ANN")
REGION = "eu-central-1"
NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
HOUR = 3600.0
OK = answer({"Item": {"id": {"S": "ann"}}})
BUSY = refusal("InternalServerError", status=500)
THROTTLED = refusal("ProvisionedThroughputExceededException")
# Writes that a second execution leaves as the first did, and some that it does not.
REPEATABLE: dict[str, dict[str, Any]] = {
    "PutItem": {"TableName": "films", "Item": {"id": {"S": "1"}}},
    "DeleteItem": {"TableName": "films", "Key": {"id": {"S": "1"}}},
    "UpdateItem": {"TableName": "films", "UpdateExpression": "SET a = :a"},
    "BatchWriteItem": {"RequestItems": {"films": []}},
    "TransactWriteItems": {"TransactItems": [], "ClientRequestToken": "token"},
}
ONCE: dict[str, dict[str, Any]] = {
    "PutItem": {"TableName": "films", "ConditionExpression": "attribute_not_exists(id)"},
    "DeleteItem": {"TableName": "films", "ReturnValues": "ALL_OLD"},
    "UpdateItem": {"TableName": "films", "UpdateExpression": "ADD n :one"},
    "TransactWriteItems": {"TransactItems": []},
    "CreateTable": {"TableName": "films"},
}


class Harness:
    """A sender whose time stands still, unless it pauses."""

    def __init__(
        self, *script: Step, quota: RetryQuota | None = None, connects: bool = True, **config: Any
    ) -> None:
        self.transport = FakeTransport(*script, connects=connects)
        self.telemetry = Telemetry()
        self.pauses: list[float] = []
        self.time = 0.0
        settings = AwsConfig(region=REGION, **config)
        policy = RetryPolicy(settings.max_attempts, quota=quota, jitter=lambda: 1.0, clock=lambda: self.time)
        self.sender = JsonSender(
            settings, self.transport, self.telemetry, policy=policy, now=lambda: NOW, pause=self._pause
        )

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time += seconds

    @property
    def posted(self) -> list[Posted]:
        return self.transport.posted

    async def post(
        self,
        operation: str = "GetItem",
        members: dict[str, Any] | None = None,
        *,
        signed_by: Credentials | None = ANN,
        service: str = "dynamodb",
        deadline: float | None = None,
        progress: Progress | None = None,
    ) -> JsonReply:
        given = {"TableName": "films"} if members is None else members
        body = json.dumps(given).encode()
        call = JsonCall(service, operation, body, given, REGION, deadline, progress or Progress())
        return await self.sender.post(call, signed_by)

    async def rejection(self, operation: str = "GetItem", members: Any = None, **call: Any) -> AwsRejected:
        with pytest.raises(AwsRejected) as rejected:
            await self.post(operation, members, **call)
        return rejected.value

    async def unreachable(self, operation: str = "GetItem", members: Any = None, **call: Any) -> AwsUnreachable:
        with pytest.raises(AwsUnreachable) as unreachable:
            await self.post(operation, members, **call)
        return unreachable.value

    def metric(self, name: str, **labels: str) -> float | None:
        if "region" not in labels:
            labels = {"operation": "GetItem", **labels}
        return self.telemetry.registry.get_sample_value(
            f"awsidecar_aws_{name}", {"aws_service": "dynamodb", **labels}
        )

    def outcomes(self, outcome: str) -> float | None:
        return self.metric("call_duration_seconds_count", outcome=outcome)


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


class TestRetries:
    @pytest.mark.parametrize("failure", [UNSENT, LOST, SILENT, GARBLED, BUSY, answer(b"<html>", 503)])
    async def test_read_is_tried_again_after_whatever_may_pass(self, failure: Step) -> None:
        harness = Harness(failure, OK)
        assert (await harness.post()).attempts == 2
        assert harness.pauses == [0.025]

    @pytest.mark.parametrize(
        "code",
        [
            "ValidationException",
            "ResourceNotFoundException",
            "ConditionalCheckFailedException",
            "AccessDeniedException",
            "TransactionCanceledException",
        ],
    )
    async def test_refusal_that_stays_is_not_tried_again(self, code: str) -> None:
        harness = Harness(refusal(code))
        rejected = await harness.rejection()
        assert (rejected.code, rejected.attempts, rejected.http_status) == (code, 1, 400)
        assert rejected.request_id == "REQ"
        assert not rejected.ambiguous
        assert harness.pauses == []

    async def test_pauses_double_and_are_longer_after_throttling(self) -> None:
        transient, throttled = Harness(BUSY), Harness(THROTTLED)
        assert (await transient.rejection()).attempts == 4
        assert transient.pauses == [0.025, 0.05, 0.1]
        assert (await throttled.rejection()).attempts == 4
        assert throttled.pauses == [1.0, 2.0, 4.0]

    @pytest.mark.parametrize(("asked", "paused"), [("1500", 1.5), ("0", 0.025), ("999999", 5.025), ("soon", 0.025)])
    async def test_pause_that_aws_asks_for_is_kept_within_bounds(self, asked: str, paused: float) -> None:
        harness = Harness(refusal("InternalServerError", status=500, x_amz_retry_after=asked), OK)
        await harness.post()
        assert harness.pauses == [pytest.approx(paused)]

    async def test_one_attempt_is_one_request(self) -> None:
        harness = Harness(BUSY, max_attempts=1)
        assert (await harness.rejection()).attempts == 1
        assert len(harness.posted) == 1

    async def test_call_gives_up_when_the_pause_would_outlast_the_deadline(self) -> None:
        harness = Harness(THROTTLED, max_attempts=10)
        rejected = await harness.rejection(deadline=3.5)
        assert rejected.attempts == 3, "after 1 + 2 seconds, the next pause takes 4"
        assert harness.time == 3.0

    async def test_hot_table_leaves_the_other_tables_their_retries(self) -> None:
        harness = Harness(THROTTLED, quota=RetryQuota(capacity=7), max_attempts=3)
        assert (await harness.rejection(members={"TableName": "hot"})).attempts == 2, (
            "a second retry is not paid for"
        )
        assert (await harness.rejection(members={"TableName": "hot"})).attempts == 1
        assert (await harness.rejection(members={"TableName": "cold"})).attempts == 2

    async def test_throttling_leaves_the_retries_after_failures(self) -> None:
        harness = Harness(THROTTLED, THROTTLED, THROTTLED, BUSY, OK, quota=RetryQuota(capacity=14), max_attempts=3)
        assert (await harness.rejection()).attempts == 3
        assert (await harness.post()).attempts == 2

    async def test_iterators_of_one_stream_share_their_retries(self) -> None:
        arn = f"arn:aws:dynamodb:{REGION}:999999999999:table/films/stream/2030"
        harness = Harness(THROTTLED, quota=RetryQuota(capacity=5), max_attempts=2)
        attempts = [
            (await harness.rejection("GetRecords", {"ShardIterator": f"{arn}|1|{number}"})).attempts
            for number in range(2)
        ]
        assert attempts == [2, 1]

    async def test_success_gives_back_what_its_retry_cost(self) -> None:
        harness = Harness(THROTTLED, OK, THROTTLED, OK, quota=RetryQuota(capacity=5))
        assert [(await harness.post()).attempts for _ in range(2)] == [2, 2]

    async def test_damaged_answer_is_fetched_again(self) -> None:
        body = b'{"Item": {}}'
        damaged = answer(body, x_amz_crc32=str(zlib.crc32(body) + 1))
        harness = Harness(damaged, answer(body, x_amz_crc32=str(zlib.crc32(body))))
        assert await harness.post() == JsonReply(body, "REQ", 2)

    async def test_answer_that_stays_damaged_is_none(self) -> None:
        failed = await Harness(answer(x_amz_crc32="1")).unreachable()
        assert failed.metadata == {"cause": "bad_response", "attempts": "4"}


class TestAmbiguousWrites:
    @pytest.mark.parametrize("operation", REPEATABLE)
    @pytest.mark.parametrize("failure", [LOST, SILENT, GARBLED, BUSY, answer(x_amz_crc32="1")])
    async def test_write_that_may_be_repeated_is(self, operation: str, failure: Step) -> None:
        harness = Harness(failure, OK)
        assert (await harness.post(operation, REPEATABLE[operation])).attempts == 2

    @pytest.mark.parametrize("operation", ONCE)
    @pytest.mark.parametrize("failure", [LOST, SILENT, GARBLED, answer(x_amz_crc32="1")])
    async def test_write_that_may_have_happened_is_not_repeated(self, operation: str, failure: Step) -> None:
        harness = Harness(failure, OK)
        failed = await harness.unreachable(operation, ONCE[operation])
        assert failed.ambiguous
        assert (failed.metadata["attempts"], failed.metadata["ambiguous"]) == ("1", "true")
        assert len(harness.posted) == 1

    @pytest.mark.parametrize("operation", ONCE)
    async def test_write_that_failed_within_aws_is_not_repeated(self, operation: str) -> None:
        harness = Harness(BUSY, OK)
        rejected = await harness.rejection(operation, ONCE[operation])
        assert (rejected.ambiguous, rejected.attempts) == (True, 1)

    @pytest.mark.parametrize("operation", ONCE)
    @pytest.mark.parametrize("failure", [UNSENT, THROTTLED])
    async def test_write_that_never_happened_is_always_tried_again(self, operation: str, failure: Step) -> None:
        harness = Harness(failure, failure, OK)
        assert (await harness.post(operation, ONCE[operation])).attempts == 3

    async def test_write_that_may_have_happened_once_stays_so(self) -> None:
        """The second attempt was refused for sure; the first one may have written all the same."""
        put = REPEATABLE["PutItem"]
        rejected = await Harness(LOST, refusal("AccessDeniedException")).rejection("PutItem", put)
        assert (rejected.code, rejected.ambiguous, rejected.attempts) == ("AccessDeniedException", True, 2)
        failed = await Harness(UNSENT).unreachable("PutItem", put)
        assert not failed.ambiguous
        assert "ambiguous" not in failed.metadata

    async def test_read_is_never_ambiguous(self) -> None:
        failed = await Harness(LOST).unreachable()
        assert failed.metadata == {"cause": "connection_lost", "attempts": "4"}


class TestProgress:
    """What the caller of a write is told when the call is cut."""

    PUT = REPEATABLE["PutItem"]

    async def cut(self, harness: Harness, operation: str = "PutItem") -> Progress:
        """Ends the call as a deadline does, when its last request is on its way."""
        progress = Progress()
        calling = asyncio.create_task(harness.post(operation, self.PUT, progress=progress))
        await harness.transport.asked.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        return progress

    async def test_write_that_is_cut_on_its_way_may_have_happened(self) -> None:
        progress = await self.cut(Harness())
        assert (progress.attempts, progress.is_ambiguous) == (1, True)

    async def test_write_that_is_cut_before_it_is_sent_has_not_happened(self) -> None:
        progress = await self.cut(Harness(connects=False))
        assert (progress.attempts, progress.is_ambiguous) == (1, False)

    async def test_read_that_is_cut_is_nothing_to_wonder_about(self) -> None:
        progress = await self.cut(Harness(), "GetItem")
        assert (progress.attempts, progress.is_ambiguous) == (1, False)

    @pytest.mark.parametrize(("before", "ambiguous"), [(BUSY, True), (LOST, True), (THROTTLED, False)])
    async def test_write_that_is_cut_in_a_pause_may_have_happened_before(
        self, before: Step, ambiguous: bool
    ) -> None:
        harness, pausing, progress = Harness(before), asyncio.Event(), Progress()

        async def never(_: float) -> None:
            pausing.set()
            await asyncio.Event().wait()

        harness.sender._pause = never
        calling = asyncio.create_task(harness.post("PutItem", self.PUT, progress=progress))
        await pausing.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert (progress.attempts, progress.is_ambiguous) == (1, ambiguous)

    async def test_write_that_was_carried_out_has_happened_whatever_becomes_of_the_answer(self) -> None:
        progress = Progress()
        await Harness(OK).post("PutItem", self.PUT, progress=progress)
        assert (progress.attempts, progress.is_ambiguous) == (1, True)

    @pytest.mark.parametrize(("failure", "ambiguous"), [(LATE, True), (TOO_LATE, False)])
    async def test_deadline_that_the_transport_meets_is_the_callers(self, failure: Step, ambiguous: bool) -> None:
        harness, progress = Harness(failure), Progress()
        with pytest.raises(DeadlineSpent):
            await harness.post("PutItem", self.PUT, deadline=0.0, progress=progress)
        assert (progress.attempts, progress.is_ambiguous) == (1, ambiguous)
        assert harness.metric("call_duration_seconds_count", outcome="cancelled", operation="PutItem") == 1


class TestClock:
    """Our clock is at `NOW`; AWS's is an hour ahead."""

    DATE = format_datetime(datetime.fromtimestamp(NOW + HOUR, UTC), usegmt=True)

    def skewed(self, code: str = "InvalidSignatureException") -> HttpAnswer:
        return refusal(code, date=self.DATE)

    async def test_request_is_signed_anew_with_the_time_of_aws(self) -> None:
        harness = Harness(self.skewed(), OK)
        assert (await harness.post()).attempts == 2
        first, second = (one.headers for one in harness.posted)
        assert (first["X-Amz-Date"], second["X-Amz-Date"]) == ("20300102T030405Z", "20300102T040405Z")
        assert first["Authorization"] != second["Authorization"]
        assert harness.pauses == []
        await harness.post()
        assert harness.posted[2].headers["X-Amz-Date"] == "20300102T040405Z"

    async def test_refusal_that_is_not_borne_out_corrects_no_other_call(self) -> None:
        """Somebody between us and AWS may have written it."""
        harness = Harness(self.skewed(), refusal("SignatureDoesNotMatch"), OK)
        await harness.rejection()
        await harness.post()
        dates = [one.headers["X-Amz-Date"] for one in harness.posted]
        assert dates == ["20300102T030405Z", "20300102T040405Z", "20300102T030405Z"]

    async def test_attempts_after_the_correction_are_signed_with_it(self) -> None:
        harness = Harness(self.skewed(), BUSY, OK)
        await harness.post()
        assert [one.headers["X-Amz-Date"][-7:] for one in harness.posted] == ["030405Z", "040405Z", "040405Z"]

    async def test_calls_that_are_refused_at_once_are_all_signed_anew(self) -> None:
        """Twenty are under way before the first to come back knows better."""

        def by_its_date(posted: Posted) -> HttpAnswer:
            return OK if posted.headers["X-Amz-Date"] == "20300102T040405Z" else self.skewed()

        harness = Harness(by_its_date)
        assert {reply.attempts for reply in await asyncio.gather(*[harness.post() for _ in range(20)])} <= {1, 2}

    async def test_date_that_came_in_plaintext_is_not_believed(self) -> None:
        harness = Harness(self.skewed(), endpoint_url="http://aws.test")
        assert (await harness.rejection()).attempts == 1

    async def test_correction_may_take_one_attempt_more_and_says_so(self) -> None:
        harness = Harness(self.skewed(), OK, max_attempts=1)
        await harness.post()
        counted = [one.headers["amz-sdk-request"] for one in harness.posted]
        assert counted == ["attempt=1; max=1", "attempt=2; max=2"]

    async def test_it_is_corrected_once_in_a_call(self) -> None:
        later = format_datetime(datetime.fromtimestamp(NOW + 2 * HOUR, UTC), usegmt=True)
        harness = Harness(self.skewed(), refusal("InvalidSignatureException", date=later))
        assert (await harness.rejection()).attempts == 2
        assert len(harness.posted) == 2

    async def test_it_is_corrected_after_a_failure_of_another_kind(self) -> None:
        harness = Harness(BUSY, self.skewed(), OK)
        assert (await harness.post()).attempts == 3

    async def test_write_that_must_happen_once_is_signed_anew_too(self) -> None:
        harness = Harness(self.skewed("RequestExpired"), OK)
        assert (await harness.post("UpdateItem", ONCE["UpdateItem"])).attempts == 2

    @pytest.mark.parametrize("code", ["ValidationException", "InvalidSignatureException"])
    async def test_refusal_that_has_nothing_to_do_with_it_corrects_nothing(self, code: str) -> None:
        date = self.DATE if code == "ValidationException" else format_datetime(datetime.fromtimestamp(NOW, UTC))
        harness = Harness(refusal(code, date=date))
        assert (await harness.rejection()).attempts == 1

    async def test_correction_can_be_switched_off(self) -> None:
        harness = Harness(self.skewed(), disable_clock_skew_correction=True)
        assert (await harness.rejection()).attempts == 1


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
        assert str(failed.__cause__) == str(failure), "the log shows why"


class TestMetrics:
    async def test_attempts_and_throttles_are_counted_and_the_call_once(self) -> None:
        harness = Harness(THROTTLED, BUSY, OK)
        await harness.post()
        assert harness.metric("attempts_total") == 3
        assert harness.metric("throttles_total") == 1
        assert harness.outcomes("ok") == 1

    @pytest.mark.parametrize(
        ("step", "outcome"), [(refusal("ValidationException"), "rejected"), (LOST, "unreachable")]
    )
    async def test_call_that_failed_is_counted_by_how(self, step: Step, outcome: str) -> None:
        harness = Harness(step)
        with pytest.raises((AwsRejected, AwsUnreachable)):
            await harness.post()
        assert harness.outcomes(outcome) == 1
        assert harness.outcomes("ok") is None

    async def test_call_for_which_there_is_no_endpoint_is_counted_as_invalid(self) -> None:
        harness = Harness(OK, account_id_endpoint_mode="required")
        with pytest.raises(InvalidRequest):
            await harness.post(signed_by=ANN)
        assert (harness.outcomes("invalid"), harness.outcomes("cancelled")) == (1, None)

    async def test_call_that_failed_by_a_defect_is_counted_as_failed(self) -> None:
        def defect(_: Posted) -> HttpAnswer:
            raise KeyError("ours")

        harness = Harness(defect)
        with pytest.raises(KeyError):
            await harness.post()
        assert (harness.outcomes("failed"), harness.outcomes("cancelled")) == (1, None)

    async def test_cancelled_call_ends_its_request(self) -> None:
        harness = Harness()
        calling = asyncio.create_task(harness.post())
        await harness.transport.asked.wait()
        assert harness.metric("pool_in_use", region=REGION) == 1
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert harness.transport.cancelled == 1
        assert harness.outcomes("cancelled") == 1
        assert harness.metric("pool_in_use", region=REGION) == 0

    async def test_cancelled_pause_sends_nothing_more(self) -> None:
        pausing = asyncio.Event()

        async def never(_: float) -> None:
            pausing.set()
            await asyncio.Event().wait()

        harness = Harness(BUSY, OK)
        harness.sender._pause = never
        calling = asyncio.create_task(harness.post())
        await pausing.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert len(harness.posted) == 1


def test_sender_shows_how_it_sends() -> None:
    assert repr(Harness(OK).sender) == "<JsonSender by <FakeTransport>>"


async def test_calls_at_once_are_kept_apart() -> None:
    def echo(posted: Posted) -> HttpAnswer:
        return answer(json.loads(posted.body))

    harness = Harness(echo)
    calls: list[Awaitable[JsonReply]] = [harness.post(members={"TableName": str(number)}) for number in range(50)]
    replies = await asyncio.gather(*calls)
    assert [json.loads(reply.body)["TableName"] for reply in replies] == [str(number) for number in range(50)]
