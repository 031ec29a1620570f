from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.aws.fakes import call, credentials
from tests.unit.aws.stub import Answer, Recorded, StubAws

from awsidecar_server.aws.call import AwsCall
from awsidecar_server.aws.directory import CognitoIdentity
from awsidecar_server.aws.sdk.clients import ClientPool
from awsidecar_server.aws.sdk.sender import Sender
from awsidecar_server.aws.sdk.signing import NoAmbientCredentials, UnsignedCall, with_identity
from awsidecar_server.identity.credentials import Credentials
from awsidecar_server.ops.telemetry import Telemetry

REGION = "eu-central-1"


@pytest.fixture
async def stub() -> AsyncIterator[StubAws]:
    async with StubAws() as stub:
        yield stub


@pytest.fixture
async def pool(stub: StubAws) -> AsyncIterator[ClientPool]:
    pool = ClientPool(stub.config(max_attempts=2), Telemetry())
    yield pool
    await pool.aclose()


@pytest.mark.parametrize("service", ["dynamodb", "dynamodbstreams"])
async def test_no_operation_is_sent_without_an_identity(pool: ClientPool, stub: StubAws, service: str) -> None:
    """The SDK would sign such a request with the client's own credentials, and say nothing."""
    client = await pool.client(service, REGION)
    model = client.meta.service_model
    assert len(model.operation_names) >= 4
    for operation in model.operation_names:
        members = model.operation_model(operation).input_shape.members
        parameters: dict[str, Any] = (
            {"RequestItems": {}} if "RequestItems" in members else {}
        )  # which choose the endpoint
        with pytest.raises(UnsignedCall):
            await client._make_api_call(operation, parameters)
        with pytest.raises(UnsignedCall):
            await client._make_api_call(operation, with_identity(parameters, None))
    assert stub.requests == []


async def test_operation_of_sts_that_needs_a_signature_is_not_sent_without(pool: ClientPool, stub: StubAws) -> None:
    with pytest.raises(UnsignedCall):
        await Sender(pool, Telemetry()).send(AwsCall("sts", "GetCallerIdentity", {}, REGION), None)
    assert stub.requests == []


async def test_credentials_of_the_client_itself_refuse_to_be_used() -> None:
    with pytest.raises(UnsignedCall):
        await NoAmbientCredentials().get_frozen_credentials()


async def test_environment_of_the_process_signs_nothing(
    pool: ClientPool, stub: StubAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAAMBIENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ambient")
    client = await pool.client("dynamodb", REGION)
    with pytest.raises(UnsignedCall):
        await client._make_api_call("ListTables", {})
    assert stub.requests == []


async def test_request_is_signed_with_exactly_the_callers_key(pool: ClientPool, stub: StubAws) -> None:
    await Sender(pool, Telemetry()).send(call("PutItem", TableName="films", Item={}), credentials("ANN"))
    (request,) = stub.requests
    assert request.operation == "PutItem"
    assert (request.key_id, request.session_token) == ("AKIAANN", "token-ANN")
    assert request.body == {"TableName": "films", "Item": {}}
    assert "secret-ANN" not in str(request)


async def test_credentials_without_a_session_token_send_none(pool: ClientPool, stub: StubAws) -> None:
    sender = Sender(pool, Telemetry())
    await sender.send(call("ListTables"), credentials("ANN"))
    await sender.send(call("ListTables"), Credentials("AKIASTATIC", "secret"))
    assert [request.session_token for request in stub.requests] == ["token-ANN", None]


@settings(max_examples=8)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=80))
def test_identities_on_one_client_never_mix(turns: list[int]) -> None:
    async def concurrently() -> list[Recorded]:
        async with StubAws() as stub:
            pool = ClientPool(stub.config(pool_size=7), Telemetry())
            sender = Sender(pool, Telemetry())
            await asyncio.gather(
                *(sender.send(call("DeleteTable", TableName=f"of-{one}"), credentials(str(one))) for one in turns)
            )
            await pool.aclose()
            return stub.requests

    requests = asyncio.run(concurrently())
    assert len(requests) == len(turns)
    for request in requests:
        owner = request.body["TableName"].removeprefix("of-")
        assert (request.key_id, request.session_token) == (f"AKIA{owner}", f"token-{owner}")


async def test_retry_is_signed_by_the_same_identity(pool: ClientPool, stub: StubAws) -> None:
    failed: set[str] = set()

    def fail_once(request: Recorded) -> Answer:
        table = request.body["TableName"]
        if table in failed:
            return Answer()
        failed.add(table)
        return Answer({"__type": "InternalServerError"}, 500)

    stub.answer = fail_once
    sender = Sender(pool, Telemetry())
    replies = await asyncio.gather(
        *(sender.send(call("DeleteTable", TableName=name), credentials(name)) for name in ("ANN", "BEN", "EVA"))
    )
    assert [reply.attempts for reply in replies] == [2, 2, 2]
    assert len(stub.requests) == 6
    for request in stub.requests:
        assert request.key_id == f"AKIA{request.body['TableName']}"
        assert request.session_token == f"token-{request.body['TableName']}"


async def test_exchange_of_cognito_is_sent_unsigned(pool: ClientPool, stub: StubAws) -> None:
    answers: dict[str, dict[str, Any]] = {
        "GetId": {"IdentityId": "eu-central-1:1"},
        "GetCredentialsForIdentity": {
            "IdentityId": "eu-central-1:1",
            "Credentials": {
                "AccessKeyId": "ASIA1",
                "SecretKey": "s",
                "SessionToken": "t",
                "Expiration": 4_000_000_000,
            },
        },
    }
    stub.answer = lambda request: Answer(answers[request.operation])
    cognito = CognitoIdentity(Sender(pool, Telemetry()), REGION)
    assert await cognito.get_id("eu-central-1:pool", {"login": "raw"}) == "eu-central-1:1"
    identity, given_ = await cognito.get_credentials_for_identity("eu-central-1:1", {"login": "raw"})
    assert identity == "eu-central-1:1"
    assert (given_.access_key_id, given_.secret_access_key, given_.session_token) == ("ASIA1", "s", "t")
    assert given_.expires_at is not None
    assert given_.expires_at.timestamp() == 4_000_000_000
    assert [request.operation for request in stub.requests] == ["GetId", "GetCredentialsForIdentity"]
    for request in stub.requests:
        assert "authorization" not in request.headers
        assert request.session_token is None
        assert request.body["Logins"] == {"login": "raw"}
