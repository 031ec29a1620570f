"""What is in the demo account, and who may do what in it."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import jwt
import pytest
import pytest_asyncio
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.integration.conftest import leave_out

from awsidecar_server.config import Config, EmbeddedConfig
from awsidecar_server.embedded import EmbeddedAws, Person, TokenRefused, curl_command, id_token
from awsidecar_server.embedded.seed.items import all_items
from awsidecar_server.identity.credentials import Credentials

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedded(embedded_python: str) -> AsyncIterator[EmbeddedAws]:
    aws = await EmbeddedAws.start(EmbeddedConfig(enabled=True, python=embedded_python))
    yield aws
    await aws.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def dynamodb(embedded: EmbeddedAws, client_of: Any) -> AsyncIterator[Any]:
    async with client_of(embedded.environment, "dynamodb") as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def member(embedded: EmbeddedAws, client_of: Any) -> Credentials:
    """Alice's credentials, by way of her ID token and the identity pool."""
    token = await _token(embedded, embedded.people[0])
    return await _exchange(embedded, client_of, token)


async def _token(embedded: EmbeddedAws, person: Person) -> str:
    return await id_token(embedded.endpoint_url, embedded.client_id, person.username, person.password)


async def _exchange(embedded: EmbeddedAws, client_of: Any, token: str) -> Credentials:
    environment = embedded.environment
    logins = {f"cognito-idp.us-east-1.amazonaws.com/{environment['COGNITO_USER_POOL_ID']}": token}
    async with client_of(environment, "cognito-identity") as client:
        pool = environment["COGNITO_IDENTITY_POOL_ID"]
        identity = (await client.get_id(IdentityPoolId=pool, Logins=logins))["IdentityId"]
        answer = await client.get_credentials_for_identity(IdentityId=identity, Logins=logins)
    given = answer["Credentials"]
    return Credentials(given["AccessKeyId"], given["SecretKey"], given["SessionToken"])


async def _refusal(call: Any) -> str:
    with pytest.raises(ClientError) as raised:
        await call
    return str(raised.value.response["Error"]["Code"])


async def test_its_environment_is_a_configuration_that_the_sidecar_takes(embedded: EmbeddedAws) -> None:
    config = Config.load({**embedded.environment, "AWSIDECAR_EMBEDDED_ENABLED": "true"})
    assert config.aws.region == "us-east-1"
    assert config.aws.endpoint_url == embedded.endpoint_url
    assert config.cognito.client_ids == (embedded.client_id,)


async def test_its_repr_tells_no_secret(embedded: EmbeddedAws) -> None:
    shown = repr(embedded) + repr(embedded._account)
    assert embedded.environment["AWS_SECRET_ACCESS_KEY"] not in shown
    assert embedded.environment["AWS_ACCESS_KEY_ID"] not in shown


@pytest.mark.parametrize("table", ["users", "user-data", "applications"])
async def test_each_table_holds_all_its_items(dynamodb: Any, table: str) -> None:
    assert (await dynamodb.scan(TableName=table, Select="COUNT"))["Count"] == len(all_items()[table])
    described = (await dynamodb.describe_table(TableName=table))["Table"]
    assert described["TableStatus"] == "ACTIVE"
    assert described["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"


async def test_users_have_a_stream_of_both_images(dynamodb: Any) -> None:
    table = (await dynamodb.describe_table(TableName="users"))["Table"]
    assert table["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}


async def test_the_queries_of_the_documentation_find_their_items(dynamodb: Any) -> None:
    mail = await dynamodb.query(
        TableName="user-data",
        IndexName="email-index",
        KeyConditionExpression="email = :email",
        ExpressionAttributeValues={":email": {"S": "user@example.com"}},
    )
    assert {item["userId"]["S"] for item in mail["Items"]} == {"user-123"}
    colleagues = await dynamodb.query(
        TableName="users",
        IndexName="orgId-index",
        KeyConditionExpression="orgId = :orgId",
        ExpressionAttributeValues={":orgId": {"S": "org-123"}},
    )
    assert "user-123" in {item["id"]["S"] for item in colleagues["Items"]}


async def test_the_service_account_may_change_items_but_has_no_business_in_iam(
    embedded: EmbeddedAws, client_of: Any, dynamodb: Any
) -> None:
    await dynamodb.put_item(TableName="user-data", Item={"userId": {"S": "u"}, "kind": {"S": "note"}})
    await dynamodb.delete_item(TableName="user-data", Key={"userId": {"S": "u"}, "kind": {"S": "note"}})
    async with client_of(embedded.environment, "iam") as iam:
        assert await _refusal(iam.list_users()) in {"AccessDenied", "AccessDeniedException"}


async def test_the_service_account_may_take_on_its_role(embedded: EmbeddedAws, client_of: Any) -> None:
    role = "arn:aws:iam::000000000000:role/awsidecar-service-account"
    async with client_of(embedded.environment, "sts") as sts:
        assert (await sts.get_caller_identity())["Arn"].endswith(":user/awsidecar-service-account")
        given = (await sts.assume_role(RoleArn=role, RoleSessionName="pod"))["Credentials"]
    credentials = Credentials(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    async with client_of(embedded.environment, "dynamodb", credentials) as client:
        assert "users" in (await client.list_tables())["TableNames"]


async def test_a_wrong_secret_is_refused(embedded: EmbeddedAws, client_of: Any) -> None:
    wrong = Credentials(embedded.environment["AWS_ACCESS_KEY_ID"], "wrong")
    async with client_of(embedded.environment, "dynamodb", wrong) as client:
        assert await _refusal(client.list_tables()) in {"InvalidSignatureException", "SignatureDoesNotMatch"}


async def test_a_signed_in_person_has_the_member_role(
    embedded: EmbeddedAws, client_of: Any, member: Credentials
) -> None:
    async with client_of(embedded.environment, "sts", member) as sts:
        arn = (await sts.get_caller_identity())["Arn"]
    assert ":assumed-role/awsidecar-member/" in arn


async def test_a_member_may_read_users_and_write_user_data(
    embedded: EmbeddedAws, client_of: Any, member: Credentials
) -> None:
    async with client_of(embedded.environment, "dynamodb", member) as client:
        user = await client.get_item(TableName="users", Key={"id": {"S": "user-123"}})
        assert user["Item"]["email"]["S"] == "user@example.com"
        await client.scan(TableName="applications")
        key = {"userId": {"S": "user-alice"}, "kind": {"S": "note"}}
        await client.put_item(TableName="user-data", Item=key)
        await client.delete_item(TableName="user-data", Key=key)


async def test_a_member_may_not_scan_or_change_users_or_delete_a_table(
    embedded: EmbeddedAws, client_of: Any, member: Credentials
) -> None:
    async with client_of(embedded.environment, "dynamodb", member) as client:
        for call in (
            client.scan(TableName="users"),
            client.put_item(TableName="users", Item={"id": {"S": "user-123"}}),
            client.delete_table(TableName="users"),
            client.list_tables(),
        ):
            assert await _refusal(call) == "AccessDeniedException"


async def test_each_person_gets_a_token_that_verifies_and_tells_the_organisation(embedded: EmbeddedAws) -> None:
    cognito = Config.load({**embedded.environment}).cognito
    assert cognito.jwks_url is not None
    async with aiohttp.ClientSession() as http, http.get(cognito.jwks_url) as answer:
        keys = jwt.PyJWKSet.from_dict(await answer.json())
    for person in embedded.people:
        token = await _token(embedded, person)
        claims = jwt.decode(
            token,
            keys[jwt.get_unverified_header(token)["kid"]],
            algorithms=["RS256"],
            audience=cognito.client_ids,
            issuer=cognito.issuer,
        )
        assert claims["token_use"] == "id"
        assert (claims["email"], claims["custom:orgId"]) == (person.username, person.organisation)


async def test_a_forged_token_is_refused(embedded: EmbeddedAws, client_of: Any) -> None:
    genuine = await _token(embedded, embedded.people[0])
    claims = jwt.decode(genuine, options={"verify_signature": False}) | {"exp": int(time.time()) + 600}
    header = {"kid": jwt.get_unverified_header(genuine)["kid"]}
    own_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    forged = jwt.encode(claims, own_key, algorithm="RS256", headers=header)
    assert await _refusal(_exchange(embedded, client_of, forged)) == "NotAuthorizedException"


async def test_a_wrong_password_is_refused_in_cognitos_words(embedded: EmbeddedAws) -> None:
    with pytest.raises(TokenRefused, match="NotAuthorizedException: ") as raised:
        await id_token(embedded.endpoint_url, embedded.client_id, "alice@example.com", "not-hers-123")
    assert "not-hers-123" not in str(raised.value)


async def test_where_no_cognito_is_no_token_comes(free_port_number: int) -> None:
    with pytest.raises(TokenRefused, match="no Cognito answers"):
        await id_token(f"http://127.0.0.1:{free_port_number}", "client", "alice@example.com", "any")


async def test_the_curl_command_prints_a_token(embedded: EmbeddedAws) -> None:
    if shutil.which("curl") is None:
        leave_out("curl is not installed")
    person = embedded.people[1]
    command = curl_command(embedded.endpoint_url, embedded.client_id, person.username, person.password)
    shell = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
    printed, _ = await shell.communicate()
    claims = jwt.decode(printed.decode().strip(), options={"verify_signature": False})
    assert claims["email"] == person.username
