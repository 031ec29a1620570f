from __future__ import annotations

import asyncio

import pytest
from tests.unit.identity.fakes import COGNITO, FakeClock, FakeCognitoApi, cognito_caller, settle

from awsidecar_server.config import CognitoConfig, IdentityConfig
from awsidecar_server.errors import AwsRejected, AwsUnreachable, CredentialsUnavailable, Unauthenticated
from awsidecar_server.identity.cache import CredentialCache
from awsidecar_server.identity.cognito import CognitoExchange
from awsidecar_server.identity.service_account import ServiceAccountSource
from awsidecar_server.identity.sources import Sources


def make_exchange() -> tuple[CognitoExchange, FakeCognitoApi]:
    api = FakeCognitoApi(FakeClock())
    return CognitoExchange(COGNITO, api), api


def rejected(code: str, operation: str = "GetCredentialsForIdentity") -> AwsRejected:
    return AwsRejected("cognito-identity", operation, code, "pool eu-central-1:123 of account 123456789012")


async def test_a_token_is_exchanged_under_its_issuers_login_key() -> None:
    exchange, api = make_exchange()
    caller = cognito_caller()
    credentials = await exchange.fetch(caller)
    logins = {"cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Pool": caller.token.raw}
    identity_id = f"id-of-{caller.token.raw}"
    assert api.get_id_calls == [logins]
    assert api.get_credentials_calls == [(identity_id, logins)]
    assert identity_id in credentials.secret_access_key
    assert exchange.identity_id(caller) == identity_id
    assert repr(exchange) == "<CognitoExchange [Identity ids: 1]>"


async def test_an_identity_id_is_asked_for_once_per_user_whatever_the_token() -> None:
    exchange, api = make_exchange()
    await exchange.fetch(cognito_caller(raw="first"))
    await exchange.fetch(cognito_caller(raw="second"))
    assert len(api.get_id_calls) == 1
    assert api.get_credentials_calls[1] == ("id-of-first", {COGNITO.login_key: "second"})
    await exchange.fetch(cognito_caller("bob", raw="bobs"))
    assert len(api.get_id_calls) == 2


async def test_users_have_no_identity_id_before_they_were_asked_for() -> None:
    exchange, _ = make_exchange()
    assert exchange.identity_id(cognito_caller()) is None


async def test_the_identity_id_that_aws_answers_with_is_the_one_that_is_kept() -> None:
    exchange, api = make_exchange()
    caller = cognito_caller(raw="first")
    api.renamed["id-of-first"] = "merged"
    await exchange.fetch(caller)
    assert exchange.identity_id(caller) == "merged"
    await exchange.fetch(caller)
    assert api.get_credentials_calls[1][0] == "merged"


async def test_an_identity_that_is_gone_is_asked_for_again_once() -> None:
    exchange, api = make_exchange()
    caller = cognito_caller(raw="first")
    await exchange.fetch(caller)
    api.identity_ids["first"] = "new"
    api.get_credentials_refusals = [rejected("ResourceNotFoundException")]
    await exchange.fetch(caller)
    assert exchange.identity_id(caller) == "new"
    api.get_credentials_refusals = [rejected("ResourceNotFoundException"), rejected("ResourceNotFoundException")]
    with pytest.raises(Unauthenticated) as caught:
        await exchange.fetch(caller)
    assert caught.value.metadata == {"cause": "refused_by_cognito"}
    assert len(api.get_id_calls) == 3


@pytest.mark.parametrize("operation", ["GetId", "GetCredentialsForIdentity"])
@pytest.mark.parametrize(
    "code", ["NotAuthorizedException", "InvalidParameterException", "ResourceConflictException"]
)
async def test_a_token_that_cognito_refuses_is_rejected(operation: str, code: str) -> None:
    exchange, api = make_exchange()
    refusals = api.get_id_refusals if operation == "GetId" else api.get_credentials_refusals
    refusals.append(rejected(code, operation))
    with pytest.raises(Unauthenticated) as caught:
        await exchange.fetch(cognito_caller())
    assert (caught.value.reason, caught.value.metadata) == ("TOKEN_REJECTED", {"cause": "refused_by_cognito"})
    assert "123" not in str(caught.value)


@pytest.mark.parametrize("operation", ["GetId", "GetCredentialsForIdentity"])
@pytest.mark.parametrize(
    "code",
    [
        "InvalidIdentityPoolConfigurationException",
        "TooManyRequestsException",
        "LimitExceededException",
        "InternalErrorException",
        "ExternalServiceException",
        "SomethingNew",
    ],
)
async def test_what_is_not_the_tokens_fault_is_unavailable_and_names_awss_code(operation: str, code: str) -> None:
    exchange, api = make_exchange()
    refusals = api.get_id_refusals if operation == "GetId" else api.get_credentials_refusals
    refusals.append(rejected(code, operation))
    with pytest.raises(CredentialsUnavailable) as caught:
        await exchange.fetch(cognito_caller())
    assert str(caught.value) == f"Cognito answered {operation} with {code}"
    assert caught.value.metadata == {"tier": "cognito"}


async def test_an_identity_pool_that_is_not_there_is_not_the_tokens_fault() -> None:
    exchange, api = make_exchange()
    api.get_id_refusals.append(rejected("ResourceNotFoundException", "GetId"))
    with pytest.raises(CredentialsUnavailable, match="GetId with ResourceNotFoundException"):
        await exchange.fetch(cognito_caller())


async def test_an_odd_error_code_is_not_passed_on() -> None:
    exchange, api = make_exchange()
    api.get_id_refusals.append(rejected("arn:aws:iam::123456789012:role/x", "GetId"))
    with pytest.raises(CredentialsUnavailable, match="with an unknown error"):
        await exchange.fetch(cognito_caller())


@pytest.mark.parametrize("operation", ["GetId", "GetCredentialsForIdentity"])
async def test_cognito_that_cannot_be_reached_is_unavailable(operation: str) -> None:
    exchange, api = make_exchange()
    refusals = api.get_id_refusals if operation == "GetId" else api.get_credentials_refusals
    refusals.append(AwsUnreachable("10.0.0.1 refused", cause="connect"))
    with pytest.raises(CredentialsUnavailable, match="Cognito cannot be reached"):
        await exchange.fetch(cognito_caller())


async def test_one_tokens_refusal_is_not_that_of_another_of_the_same_user() -> None:
    exchange, api = make_exchange()
    api.gate.clear()
    api.get_id_refusals = [rejected("NotAuthorizedException", "GetId")]
    first = asyncio.create_task(exchange.fetch(cognito_caller(raw="revoked")))
    await settle()
    second = asyncio.create_task(exchange.fetch(cognito_caller(raw="good")))
    await settle()
    api.gate.set()
    with pytest.raises(Unauthenticated):
        await first
    assert "good" in (await second).secret_access_key
    await exchange.aclose()


async def test_identity_ids_in_memory_are_bounded() -> None:
    exchange = CognitoExchange(COGNITO, FakeCognitoApi(FakeClock()), max_identity_ids=3)
    for number in range(10):
        await exchange.fetch(cognito_caller(f"user-{number}"))
    assert repr(exchange) == "<CognitoExchange [Identity ids: 3]>"


async def test_a_thousand_first_calls_of_one_caller_cost_one_exchange() -> None:
    exchange, api = make_exchange()
    sources = Sources(cognito=exchange, service_account=ServiceAccountSource({}, allowed=False))
    cache = CredentialCache(sources, IdentityConfig(), api.clock)
    caller = cognito_caller()
    found = await asyncio.gather(*(cache.credentials(caller) for _ in range(1000)))
    assert len(api.get_id_calls) == 1
    assert len(api.get_credentials_calls) == 1
    assert len(set(map(id, found))) == 1


async def test_a_thousand_first_calls_of_one_users_tokens_cost_one_identity_id() -> None:
    exchange, api = make_exchange()
    api.gate.clear()
    calls = [asyncio.create_task(exchange.fetch(cognito_caller(raw=f"t{number}"))) for number in range(1000)]
    await settle()
    api.gate.set()
    await asyncio.gather(*calls)
    assert len(api.get_id_calls) == 1


def test_an_exchange_needs_an_identity_pool() -> None:
    with pytest.raises(ValueError, match="no identity pool"):
        CognitoExchange(CognitoConfig(user_pool_id="eu-central-1_Pool"), FakeCognitoApi(FakeClock()))
