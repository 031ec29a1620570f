"""Sessions: who signs, what a session that fails leads to, and what the sidecar tells of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from tests.integration.stub.by_hand import opened_and_given_up
from tests.integration.stub.conftest import Start
from tests.integration.stub.sidecar import POD_KEY, POD_SECRET, REGION, Sidecar, refusal_of, running, settings_for
from tests.integration.stub_aws import (
    ACCOUNT,
    REQUEST_ID,
    Answer,
    StubAws,
    keys_of,
    refused,
    sts_identity,
    sts_refused,
)
from tests.unit.identity.fakes import START, FakeClock

from awsidecar.credentials.v1 import credentials_pb2 as pb
from awsidecar.dynamodb.v1 import items_pb2
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue

pytestmark = pytest.mark.asyncio(loop_scope="session")

GET = items_pb2.GetItemRequest(table_name="users", key={"id": AttributeValue(s="ann")})
KEY = "ASIASESSIONSESSION01"
HANDLE = "A" * 43


def stating(handle: str) -> tuple[tuple[str, str], ...]:
    return (("x-awsidecar-session", handle),)


async def test_session_signs_with_its_own_keys_until_it_is_closed(sidecar: Sidecar, aws: StubAws) -> None:
    handle = await sidecar.open_session(KEY, token="a-session-token")
    await sidecar.dynamodb.GetItem(GET, metadata=stating(handle))
    assert [(one.key_id, one.security_token) for one in aws.requests] == [(KEY, "a-session-token")]
    assert (await sidecar.credentials.CloseSession(pb.CloseSessionRequest(session=handle))).closed
    refusal = await refusal_of(sidecar.dynamodb.GetItem(GET, metadata=stating(handle)))
    assert (refusal.code.name, refusal.info.domain, refusal.reason) == (
        "UNAUTHENTICATED",
        "awsidecar",
        "SESSION_NOT_FOUND",
    )
    assert not (await sidecar.credentials.CloseSession(pb.CloseSessionRequest(session=handle))).closed
    assert keys_of(aws.requests) == {KEY}


async def test_session_whose_caller_has_left_before_its_answer_came_is_closed_again(sidecar: Sidecar) -> None:
    handle = await opened_and_given_up(sidecar.target)
    refusal = await refusal_of(sidecar.credentials.WhoAmI(pb.WhoAmIRequest(), metadata=stating(handle)))
    assert refusal.reason == "SESSION_NOT_FOUND"


async def test_session_that_was_used_before_its_opening_was_given_up_stays_open(sidecar: Sidecar) -> None:
    async def use(handle: str) -> None:
        await sidecar.credentials.WhoAmI(pb.WhoAmIRequest(), metadata=stating(handle))

    handle = await opened_and_given_up(sidecar.target, meanwhile=use)
    await use(handle)
    assert (await sidecar.credentials.CloseSession(pb.CloseSessionRequest(session=handle))).closed


async def test_session_stated_in_the_metadata_is_closed(sidecar: Sidecar) -> None:
    handle = await sidecar.open_session(KEY)
    answer = await sidecar.credentials.CloseSession(pb.CloseSessionRequest(), metadata=stating(handle))
    assert answer.closed
    refusal = await refusal_of(sidecar.credentials.CloseSession(pb.CloseSessionRequest()))
    assert (refusal.code.name, refusal.metadata["field"]) == ("INVALID_ARGUMENT", "session")


async def test_call_without_a_session_is_signed_by_the_service_account(sidecar: Sidecar, aws: StubAws) -> None:
    await sidecar.dynamodb.GetItem(GET)
    assert keys_of(aws.requests) == {POD_KEY}


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ([("x-awsidecar-session", HANDLE)], "SESSION_NOT_FOUND"),
        ([("x-awsidecar-session", "x" * 10_000)], "SESSION_NOT_FOUND"),
        ([("x-awsidecar-session", HANDLE), ("x-awsidecar-session", HANDLE)], "SESSION_MALFORMED"),
        ([("x-awsidecar-session", HANDLE), ("authorization", "Bearer a.b.c")], "SESSION_MALFORMED"),
        ([("x-awsidecar-session", "")], "SESSION_MALFORMED"),
        ([("x-awsidecar-session-bin", b"\x00")], "SESSION_MALFORMED"),
        ([("authorization", "")], "SESSION_MALFORMED"),
        ([("authorization", "Basic dXNlcjpwYXNz")], "SESSION_MALFORMED"),
        ([("authorization", "Bearer")], "SESSION_MALFORMED"),
        ([("authorization", "Bearer a.b.c"), ("authorization", "Bearer a.b.c")], "SESSION_MALFORMED"),
        ([("authorization", "Bearer a.b.c")], "COGNITO_NOT_CONFIGURED"),
    ],
)
async def test_session_that_is_stated_badly_is_never_served_by_the_service_account(
    sidecar: Sidecar, aws: StubAws, metadata: list[tuple[str, Any]], reason: str
) -> None:
    for call in (sidecar.dynamodb.GetItem(GET, metadata=metadata), _get_credentials(sidecar, metadata)):
        refusal = await refusal_of(call)
        assert (refusal.code.name, refusal.reason) == ("UNAUTHENTICATED", reason)
        assert HANDLE not in str(refusal.status)
    assert not aws.requests


def _get_credentials(sidecar: Sidecar, metadata: list[tuple[str, Any]]) -> Any:
    return sidecar.credentials.GetCredentials(pb.GetCredentialsRequest(), metadata=metadata)


@pytest.mark.parametrize(
    "code", ["UnrecognizedClientException", "InvalidSignatureException", "AccessDeniedException"]
)
async def test_session_that_aws_refuses_is_never_helped_out_by_the_service_account(
    sidecar: Sidecar, aws: StubAws, code: str
) -> None:
    aws.on("GetItem", refused(code, "no"))
    handle = await sidecar.open_session(KEY)
    for _ in range(3):
        refusal = await refusal_of(sidecar.dynamodb.GetItem(GET, metadata=stating(handle)))
        assert refusal.metadata["aws_error_code"] == code
        assert refusal.trailers["x-awsidecar-tier"] == "session"
    assert keys_of(aws.requests) == {KEY}


async def test_session_whose_credentials_aws_calls_expired_is_not_renewed(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("GetItem", refused("ExpiredTokenException", "expired"))
    handle = await sidecar.open_session(KEY)
    refusal = await refusal_of(sidecar.dynamodb.GetItem(GET, metadata=stating(handle)))
    assert (refusal.code.name, refusal.reason) == ("UNAUTHENTICATED", "EXPIRED_TOKEN_EXCEPTION")
    assert aws.key_ids("GetItem") == [KEY]


async def test_service_account_that_aws_calls_expired_is_renewed_once(aws: StubAws) -> None:
    clock, environment = FakeClock(), settings_for(aws.url)
    async with running(environment, clock=clock) as sidecar:
        await sidecar.dynamodb.GetItem(GET)
        clock.advance(timedelta(minutes=1))
        environment["AWS_ACCESS_KEY_ID"] = "AKIANEXTNEXTNEXTNEXT"
        aws.on("GetItem", refused("ExpiredTokenException", "expired"), Answer({"Item": {"id": {"S": "ann"}}}))
        assert (await sidecar.dynamodb.GetItem(GET)).item.attributes["id"].s == "ann"
        assert aws.key_ids("GetItem") == [POD_KEY, POD_KEY, "AKIANEXTNEXTNEXTNEXT"]
        clock.advance(timedelta(minutes=1))
        environment["AWS_ACCESS_KEY_ID"] = "AKIALASTLASTLASTLAST"
        aws.on("GetItem", refused("ExpiredTokenException", "expired"))
        refusal = await refusal_of(sidecar.dynamodb.GetItem(GET))
    assert (refusal.code.name, refusal.reason) == ("UNAUTHENTICATED", "EXPIRED_TOKEN_EXCEPTION")
    assert aws.key_ids("GetItem")[3:] == ["AKIANEXTNEXTNEXTNEXT", "AKIALASTLASTLASTLAST"]


async def test_service_account_can_be_switched_off(aws: StubAws, start: Start) -> None:
    async with start(AWSIDECAR_IDENTITY_SERVICE_ACCOUNT="false") as sidecar:
        refusal = await refusal_of(sidecar.dynamodb.GetItem(GET))
        assert (refusal.code.name, refusal.reason) == ("UNAUTHENTICATED", "NO_SERVICE_ACCOUNT")
        handle = await sidecar.open_session(KEY)
        await sidecar.dynamodb.GetItem(GET, metadata=stating(handle))
    assert keys_of(aws.requests) == {KEY}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (None, "identity"),
        ({}, "aws_credentials.access_key_id"),
        ({"access_key_id": KEY}, "aws_credentials.secret_access_key"),
        ({"secret_access_key": "s"}, "aws_credentials.access_key_id"),
        ({"access_key_id": "A" * 129, "secret_access_key": "s"}, "aws_credentials.access_key_id"),
        ({"access_key_id": KEY, "secret_access_key": "s" * 257}, "aws_credentials.secret_access_key"),
        (
            {"access_key_id": KEY, "secret_access_key": "s", "session_token": "t" * (32 * 1024 + 1)},
            "aws_credentials.session_token",
        ),
        ({"access_key_id": "AKIA\nX-Evil: 1", "secret_access_key": "s"}, "aws_credentials.access_key_id"),
        ({"access_key_id": KEY, "secret_access_key": "sé"}, "aws_credentials.secret_access_key"),
        (
            {"access_key_id": KEY, "secret_access_key": "s", "expiration": Timestamp(seconds=10**12)},
            "aws_credentials.expiration",
        ),
    ],
)
async def test_identity_at_fault_is_refused_by_field(
    sidecar: Sidecar, given: dict[str, Any] | None, field: str
) -> None:
    request = pb.OpenSessionRequest()
    if given is not None:
        request.aws_credentials.CopyFrom(pb.AwsCredentials(**given))
    refusal = await refusal_of(sidecar.credentials.OpenSession(request))
    assert (refusal.code.name, refusal.reason, refusal.metadata["field"]) == (
        "INVALID_ARGUMENT",
        "INVALID_REQUEST",
        field,
    )
    (violation,) = refusal.detail(error_details_pb2.BadRequest).field_violations
    assert violation.field == field


async def test_session_ends_with_its_credentials(start: Start, aws: StubAws) -> None:
    clock = FakeClock()
    end = Timestamp()
    end.FromDatetime(START + timedelta(hours=1))
    given = pb.AwsCredentials(access_key_id=KEY, secret_access_key="s", expiration=end)
    async with start(clock=clock) as sidecar:
        opened = await sidecar.credentials.OpenSession(pb.OpenSessionRequest(aws_credentials=given))
        assert (opened.tier, opened.expiration) == (pb.TIER_SESSION, end)
        await sidecar.dynamodb.GetItem(GET, metadata=stating(opened.session))
        clock.advance(timedelta(hours=1))
        refusal = await refusal_of(sidecar.dynamodb.GetItem(GET, metadata=stating(opened.session)))
        assert (refusal.code.name, refusal.reason) == ("UNAUTHENTICATED", "SESSION_EXPIRED")
        refusal = await refusal_of(sidecar.credentials.OpenSession(pb.OpenSessionRequest(aws_credentials=given)))
        assert (refusal.code.name, refusal.reason) == ("UNAUTHENTICATED", "SESSION_EXPIRED")
    assert keys_of(aws.requests) == {KEY}


async def test_session_more_than_the_limit_is_refused_until_one_is_closed(start: Start) -> None:
    async with start(AWSIDECAR_IDENTITY_MAX_SESSIONS="2") as sidecar:
        first, second = [await sidecar.open_session(KEY) for _ in range(2)]
        for handle in (first, second):
            await sidecar.dynamodb.GetItem(GET, metadata=stating(handle))
        request = pb.OpenSessionRequest(
            aws_credentials=pb.AwsCredentials(access_key_id=KEY, secret_access_key="a-secret")
        )
        refusal = await refusal_of(sidecar.credentials.OpenSession(request))
        assert (refusal.code.name, refusal.reason, refusal.metadata["limit"]) == (
            "RESOURCE_EXHAUSTED",
            "TOO_MANY_SESSIONS",
            "2",
        )
        await sidecar.credentials.CloseSession(pb.CloseSessionRequest(session=first))
        await sidecar.open_session(KEY)


async def test_invented_credentials_leave_room_for_those_of_others(aws: StubAws, start: Start) -> None:
    """Anybody may open as many sessions with them as there can be."""
    aws.on("GetItem", Answer(), refused("UnrecognizedClientException"))
    async with start(AWSIDECAR_IDENTITY_MAX_SESSIONS="3") as sidecar:
        mine = await sidecar.open_session(KEY)
        await sidecar.dynamodb.GetItem(GET, metadata=stating(mine))
        invented = [await sidecar.open_session(f"AKIAINVENTED{number}") for number in range(2)]
        for handle in invented:  # of no use
            await refusal_of(sidecar.dynamodb.GetItem(GET, metadata=stating(handle)))
        await sidecar.open_session("AKIANEWCOMER")
        refusal = await refusal_of(sidecar.credentials.WhoAmI(pb.WhoAmIRequest(), metadata=stating(invented[0])))
        assert refusal.reason == "SESSION_NOT_FOUND"
        for handle in (mine, invented[1]):
            await sidecar.credentials.WhoAmI(pb.WhoAmIRequest(), metadata=stating(handle))


@pytest.mark.parametrize(
    ("vending", "session_may", "service_account_may"),
    [("off", False, False), ("sessions", True, False), ("all", True, True)],
)
async def test_credentials_are_given_to_whom_the_configuration_allows(
    start: Start, vending: str, session_may: bool, service_account_may: bool
) -> None:
    async with start(AWSIDECAR_IDENTITY_VENDING=vending) as sidecar:
        handle = await sidecar.open_session(KEY, "its-secret", "its-token")
        for metadata, may, key, secret, tier in (
            (stating(handle), session_may, KEY, "its-secret", "session"),
            ((), service_account_may, POD_KEY, POD_SECRET, "service_account"),
        ):
            call = sidecar.credentials.GetCredentials(pb.GetCredentialsRequest(), metadata=metadata)
            if may:
                given = (await call).credentials
                assert (given.access_key_id, given.secret_access_key) == (key, secret)
                continue
            refusal = await refusal_of(call)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "VENDING_DISABLED")
            assert refusal.metadata["tier"] == tier


async def test_who_am_i_tells_tier_end_and_region_without_asking_aws(start: Start, aws: StubAws) -> None:
    async with start(AWSIDECAR_AWS_ALLOWED_REGIONS="us-east-1") as sidecar:
        handle = await sidecar.open_session(KEY)
        elsewhere = (*stating(handle), ("x-awsidecar-region", "us-east-1"))
        mine = await sidecar.credentials.WhoAmI(pb.WhoAmIRequest(), metadata=elsewhere)
        assert (mine.tier, mine.region, mine.HasField("expiration")) == (pb.TIER_SESSION, "us-east-1", True)
        pod = await sidecar.credentials.WhoAmI(pb.WhoAmIRequest())
        assert (pod.tier, pod.region, pod.HasField("expiration")) == (pb.TIER_SERVICE_ACCOUNT, REGION, False)
    assert not aws.requests


async def test_credentials_that_aws_accepts_are_valid(sidecar: Sidecar, aws: StubAws) -> None:
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/app/ann"
    aws.on("GetCallerIdentity", sts_identity(arn))
    handle = await sidecar.open_session(KEY)
    answer = await sidecar.credentials.ValidateCredentials(
        pb.ValidateCredentialsRequest(), metadata=stating(handle)
    )
    assert (answer.valid, answer.reason, answer.account, answer.arn) == (True, "", ACCOUNT, arn)
    assert answer.tier == pb.TIER_SESSION
    assert aws.key_ids("GetCallerIdentity") == [KEY]


@pytest.mark.parametrize("code", ["InvalidClientTokenId", "ExpiredToken", "SignatureDoesNotMatch", "AccessDenied"])
async def test_credentials_that_aws_refuses_are_an_answer(sidecar: Sidecar, aws: StubAws, code: str) -> None:
    aws.on("GetCallerIdentity", sts_refused(code))
    handle = await sidecar.open_session(KEY)
    answer = await sidecar.credentials.ValidateCredentials(
        pb.ValidateCredentialsRequest(), metadata=stating(handle)
    )
    assert (answer.valid, answer.reason, answer.account) == (False, code, "")
    assert aws.key_ids("GetCallerIdentity") == [KEY]


async def test_session_that_is_not_open_is_invalid(sidecar: Sidecar, aws: StubAws) -> None:
    request = pb.ValidateCredentialsRequest()
    answer = await sidecar.credentials.ValidateCredentials(request, metadata=stating(HANDLE))
    assert (answer.valid, answer.reason, answer.tier) == (False, "SESSION_NOT_FOUND", pb.TIER_UNSPECIFIED)
    assert not aws.requests


@pytest.mark.parametrize(
    ("answer", "code", "reason"),
    [
        (Answer("", cut_after=0), "UNAVAILABLE", "AWS_UNREACHABLE"),
        (Answer("this is no XML"), "UNAVAILABLE", "AWS_UNREACHABLE"),
        (Answer("<GetCallerIdentityResponse/>"), "UNAVAILABLE", "AWS_UNREACHABLE"),
        (sts_refused("Throttling"), "RESOURCE_EXHAUSTED", "THROTTLING"),
        (sts_refused("InternalFailure", status=500), "UNAVAILABLE", "INTERNAL_FAILURE"),
    ],
    ids=["cut", "rubbish", "empty", "throttled", "failing"],
)
async def test_not_being_able_to_ask_is_an_error(
    sidecar: Sidecar, aws: StubAws, answer: Answer, code: str, reason: str
) -> None:
    aws.on("GetCallerIdentity", answer)
    handle = await sidecar.open_session(KEY)
    call = sidecar.credentials.ValidateCredentials(pb.ValidateCredentialsRequest(), metadata=stating(handle))
    refusal = await refusal_of(call)
    assert (refusal.code.name, refusal.reason) == (code, reason)


async def test_trailers_tell_tier_request_and_attempts(sidecar: Sidecar, aws: StubAws) -> None:
    handle = await sidecar.open_session(KEY)
    expected = {"x-amzn-requestid": REQUEST_ID, "x-awsidecar-attempts": "1"}
    for metadata, tier in ((stating(handle), "session"), ((), "service_account")):
        aws.on("GetItem", Answer(), refused("ResourceNotFoundException", "no"))
        call = sidecar.dynamodb.GetItem(GET, metadata=metadata)
        await call
        trailers = dict(await call.trailing_metadata())
        assert trailers == {**expected, "x-awsidecar-tier": tier}
        refusal = await refusal_of(sidecar.dynamodb.GetItem(GET, metadata=metadata))
        told = {name: refusal.trailers[name] for name in trailers}
        assert told == trailers
