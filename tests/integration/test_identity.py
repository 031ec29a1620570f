"""The three tiers for real: tokens of the embedded user pool, roles that the embedded IAM enforces, and no way down."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.integration.conftest import Demo, Sidecar, error_info, trailers_of

from awsidecar.credentials.v1 import credentials_pb2, credentials_pb2_grpc
from awsidecar.dynamodb.v1 import (
    attribute_value_pb2,
    dynamodb_service_pb2_grpc,
    items_pb2,
    query_pb2,
    tables_pb2,
)

_USER = {"id": attribute_value_pb2.AttributeValue(s="user-123")}
_GET_USER = items_pb2.GetItemRequest(table_name="users", key=_USER)

Metadata = tuple[tuple[str, str], ...]


def bearer(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)


def handle(session: str) -> Metadata:
    return (("x-awsidecar-session", session),)


@pytest.fixture(scope="module")
def sidecar_target(sidecar: Sidecar) -> str:
    """Of the embedded AWS: the other backend has neither users nor roles."""
    return sidecar.target


@pytest.fixture
def dynamodb(channel: grpc.Channel) -> dynamodb_service_pb2_grpc.DynamoDbServiceStub:
    return dynamodb_service_pb2_grpc.DynamoDbServiceStub(channel)


@pytest.fixture
def credentials(channel: grpc.Channel) -> credentials_pb2_grpc.CredentialsServiceStub:
    return credentials_pb2_grpc.CredentialsServiceStub(channel)


def tier_of(call: Any) -> str:
    return str(trailers_of(call)["x-awsidecar-tier"])


class TestServiceAccount:
    def test_signs_calls_without_a_session(self, dynamodb: Any, credentials: Any) -> None:
        reply, call = dynamodb.GetItem.with_call(_GET_USER)
        assert reply.item.attributes["email"].s == "user@example.com"
        assert tier_of(call) == "service_account"
        found = credentials.ValidateCredentials(credentials_pb2.ValidateCredentialsRequest())
        assert found.valid
        assert found.arn.endswith(":user/awsidecar-service-account")

    def test_does_not_give_its_credentials_away(self, credentials: Any) -> None:
        with pytest.raises(grpc.RpcError) as refused:
            credentials.GetCredentials(credentials_pb2.GetCredentialsRequest())
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert error_info(refused.value).reason == "VENDING_DISABLED"


class TestCognito:
    def test_a_token_reaches_dynamodb_under_the_role_of_its_identity(
        self, dynamodb: Any, credentials: Any, demo: Demo
    ) -> None:
        token = demo.id_token()
        reply, call = dynamodb.GetItem.with_call(_GET_USER, metadata=bearer(token))
        assert reply.item.attributes["orgId"].s == "org-123"
        assert tier_of(call) == "cognito"
        found = credentials.ValidateCredentials(
            credentials_pb2.ValidateCredentialsRequest(), metadata=bearer(token)
        )
        assert found.valid
        assert ":assumed-role/awsidecar-member/" in found.arn  # STS GetCallerIdentity says so
        assert found.tier == credentials_pb2.TIER_COGNITO

    def test_the_role_is_enforced_where_the_service_account_may(self, dynamodb: Any, demo: Demo) -> None:
        scan = query_pb2.ScanRequest(table_name="users", limit=1)
        assert dynamodb.Scan(scan).count == 1
        with pytest.raises(grpc.RpcError) as denied:
            dynamodb.Scan(scan, metadata=bearer(demo.id_token()))
        assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED
        info = error_info(denied.value)
        assert (info.reason, info.domain) == ("ACCESS_DENIED_EXCEPTION", "dynamodb.amazonaws.com")
        assert "000000000000" not in str(denied.value.details())  # account numbers stay inside
        with pytest.raises(grpc.RpcError) as kept:
            dynamodb.DeleteTable(
                tables_pb2.DeleteTableRequest(table_name="users"), metadata=bearer(demo.id_token())
            )
        assert kept.value.code() is grpc.StatusCode.PERMISSION_DENIED

    def test_a_session_stands_for_the_token_it_was_opened_with(
        self, dynamodb: Any, credentials: Any, demo: Demo
    ) -> None:
        opened = credentials.OpenSession(credentials_pb2.OpenSessionRequest(id_token=demo.id_token(1)))
        assert opened.tier == credentials_pb2.TIER_COGNITO
        _, call = dynamodb.GetItem.with_call(_GET_USER, metadata=handle(opened.session))
        assert tier_of(call) == "cognito"
        me = credentials.WhoAmI(credentials_pb2.WhoAmIRequest(), metadata=handle(opened.session))
        assert me.identity_id.startswith("us-east-1:")
        assert me.issuer.startswith("https://cognito-idp.us-east-1.amazonaws.com/")
        assert me.expiration.seconds <= time.time() + 3600
        assert credentials.CloseSession(credentials_pb2.CloseSessionRequest(session=opened.session)).closed
        with pytest.raises(grpc.RpcError) as gone:
            dynamodb.GetItem(_GET_USER, metadata=handle(opened.session))
        assert error_info(gone.value).reason == "SESSION_NOT_FOUND"

    def test_vended_credentials_work_at_aws_and_end_with_the_token(
        self, credentials: Any, demo: Demo, sidecar: Sidecar
    ) -> None:
        token = demo.id_token()
        given = credentials.GetCredentials(credentials_pb2.GetCredentialsRequest(), metadata=bearer(token))
        end = jwt.decode(token, options={"verify_signature": False})["exp"]
        assert given.credentials.expiration.seconds <= end
        opened = credentials.OpenSession(credentials_pb2.OpenSessionRequest(aws_credentials=given.credentials))
        secrets = given.credentials
        sidecar.canaries |= {secrets.secret_access_key, secrets.session_token, opened.session}
        found = credentials.ValidateCredentials(
            credentials_pb2.ValidateCredentialsRequest(), metadata=handle(opened.session)
        )
        assert found.valid
        assert found.tier == credentials_pb2.TIER_SESSION
        assert ":assumed-role/awsidecar-member/" in found.arn


def _changed(token: str, **claims: Any) -> str:
    """The token with other claims, and the signature of the old ones."""
    header, payload, signature = token.split(".")
    body = json.loads(base64.urlsafe_b64decode(payload + "=="))
    body.update(claims)
    changed = base64.urlsafe_b64encode(json.dumps(body).encode()).rstrip(b"=").decode()
    return f"{header}.{changed}.{signature}"


def _signed_by_another(token: str) -> str:
    header = jwt.get_unverified_header(token)
    claims = jwt.decode(token, options={"verify_signature": False})
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": header["kid"]})


async def _access_token(sidecar: Sidecar) -> str:
    request = {
        "AuthFlow": "USER_PASSWORD_AUTH",
        "ClientId": sidecar.client_id,
        "AuthParameters": {"USERNAME": "alice@example.com", "PASSWORD": "Wonderland-123"},
    }
    target = "AWSCognitoIdentityProviderService.InitiateAuth"
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
    async with (
        aiohttp.ClientSession() as http,
        http.post(sidecar.endpoint, data=json.dumps(request), headers=headers) as answer,
    ):
        token: str = (await answer.json(content_type=None))["AuthenticationResult"]["AccessToken"]
        return token


_BAD_TOKENS: dict[str, tuple[Callable[[str], str], str]] = {
    "forged": (_signed_by_another, "bad_signature"),
    "expired": (lambda token: _changed(token, exp=int(time.time()) - 10), "expired"),
    "for another audience": (lambda token: _changed(token, aud="another-client"), "wrong_audience"),
    "of another issuer": (
        lambda token: _changed(token, iss="https://cognito-idp.us-east-1.amazonaws.com/us-east-1_other"),
        "wrong_issuer",
    ),
    "of another person": (lambda token: _changed(token, sub="somebody-else"), "bad_signature"),
    "garbage": (lambda _: "garbage", "malformed"),
}


class TestBadSessions:
    """Each is refused as UNAUTHENTICATED. None is signed as the service account, which would have been let in."""

    @pytest.mark.parametrize("kind", _BAD_TOKENS)
    def test_a_bad_token_is_refused(self, kind: str, dynamodb: Any, demo: Demo) -> None:
        make, cause = _BAD_TOKENS[kind]
        with pytest.raises(grpc.RpcError) as refused:
            dynamodb.GetItem(_GET_USER, metadata=bearer(make(demo.id_token())))
        self._assert_refused(refused.value, "TOKEN_REJECTED", cause)

    def test_an_access_token_is_refused(self, dynamodb: Any, sidecar: Sidecar) -> None:
        token = asyncio.run(_access_token(sidecar))
        with pytest.raises(grpc.RpcError) as refused:
            dynamodb.GetItem(_GET_USER, metadata=bearer(token))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert error_info(refused.value).metadata["cause"] in ("wrong_audience", "wrong_token_use")

    @pytest.mark.parametrize("kind", _BAD_TOKENS)
    def test_no_session_opens_for_a_bad_token(self, kind: str, credentials: Any, demo: Demo) -> None:
        make, cause = _BAD_TOKENS[kind]
        with pytest.raises(grpc.RpcError) as refused:
            credentials.OpenSession(credentials_pb2.OpenSessionRequest(id_token=make(demo.id_token())))
        self._assert_refused(refused.value, "TOKEN_REJECTED", cause)

    def test_wrong_session_credentials_are_refused_by_aws_and_by_validation(
        self, dynamodb: Any, credentials: Any
    ) -> None:
        wrong = credentials_pb2.AwsCredentials(access_key_id="AKIAQQQQQQQQQQQQQQQQ", secret_access_key="wrong")
        opened = credentials.OpenSession(credentials_pb2.OpenSessionRequest(aws_credentials=wrong))
        with pytest.raises(grpc.RpcError) as refused:
            dynamodb.GetItem(_GET_USER, metadata=handle(opened.session))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert trailers_of(refused.value)["x-awsidecar-tier"] == "session"
        found = credentials.ValidateCredentials(
            credentials_pb2.ValidateCredentialsRequest(), metadata=handle(opened.session)
        )
        assert not found.valid
        assert found.reason in ("InvalidClientTokenId", "UnrecognizedClientException")

    def test_an_unknown_handle_is_refused(self, dynamodb: Any) -> None:
        with pytest.raises(grpc.RpcError) as refused:
            dynamodb.GetItem(_GET_USER, metadata=handle("no-such-session"))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert error_info(refused.value).reason == "SESSION_NOT_FOUND"

    def _assert_refused(self, failure: Any, reason: str, cause: str) -> None:
        assert failure.code() is grpc.StatusCode.UNAUTHENTICATED
        info = error_info(failure)
        assert (info.domain, info.reason, info.metadata["cause"]) == ("awsidecar", reason, cause)


def _attempts(scraped: dict[str, float], operation: str) -> float:
    name = f'awsidecar_aws_attempts_total{{aws_service="cognito-identity",operation="{operation}"}}'
    return scraped.get(name, 0.0)


class TestFirstCallsTogether:
    """A session's first calls, a thousand at once, exchange its token once."""

    async def test_a_thousand_cause_one_exchange_though_the_first_is_cancelled(
        self, sidecar: Sidecar, new_person: str, scrape: Callable[[], dict[str, float]]
    ) -> None:
        before = scrape()
        async with grpc.aio.insecure_channel(sidecar.target) as channel:
            stub = dynamodb_service_pb2_grpc.DynamoDbServiceStub(channel)
            first = stub.GetItem(_GET_USER, metadata=bearer(new_person))
            others = [stub.GetItem(_GET_USER, metadata=bearer(new_person)) for _ in range(999)]
            await asyncio.sleep(0)  # the first is on its way
            first.cancel()
            replies = await asyncio.gather(*others)
            with pytest.raises(asyncio.CancelledError):
                await first
        assert len(replies) == 999
        assert all(reply.item.attributes["id"].s == "user-123" for reply in replies)
        after = scrape()
        for operation in ("GetId", "GetCredentialsForIdentity"):
            assert _attempts(after, operation) - _attempts(before, operation) == 1, operation


@pytest.fixture
async def new_person(sidecar: Sidecar) -> str:
    """The ID token of somebody whom the sidecar has never seen."""
    from aiobotocore.session import AioSession

    from awsidecar_server.embedded.tokens import id_token

    name, password = f"{time.time_ns()}@example.com", "Newcomer-789"
    async with AioSession().create_client(
        "cognito-idp",
        region_name="us-east-1",
        endpoint_url=sidecar.endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    ) as admin:
        (pool,) = (await admin.list_user_pools(MaxResults=10))["UserPools"]
        await admin.admin_create_user(UserPoolId=pool["Id"], Username=name, MessageAction="SUPPRESS")
        await admin.admin_set_user_password(UserPoolId=pool["Id"], Username=name, Password=password, Permanent=True)
    return await id_token(sidecar.endpoint, sidecar.client_id, name, password)
