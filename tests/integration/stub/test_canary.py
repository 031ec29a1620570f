"""Secrets go where they must and nowhere else: looked for in all that a process at debug level writes and answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, quote_plus

import aiohttp
import grpc
import pytest
from tests.integration.stub.process import SERVER_WITH_DEFECT, SidecarProcess, served
from tests.integration.stub.sidecar import POD_KEY, Client, connected, settings_for
from tests.integration.stub_aws import Answer, Recorded, Script, StubAws, refused, sts_refused
from tests.unit.identity.fakes import CLIENT_ID, COGNITO, claims, id_token, jwk, key_set

from awsidecar.credentials.v1 import credentials_pb2 as pb
from awsidecar.dynamodb.v1 import items_pb2, limits_pb2
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue

pytestmark = pytest.mark.asyncio(loop_scope="session")

GET = items_pb2.GetItemRequest(table_name="users", key={"id": AttributeValue(s="ann")})
POD_SECRET, POD_TOKEN = "canary/pod+secret=One", "canary/pod+token=Two"
SECRET, TOKEN = "canary/session+secret=Three", "canary/session+token=Four"
COGNITO_SECRET, COGNITO_TOKEN = "canary/cognito+secret=Five", "canary/cognito+token=Six"
BASIC = "canary/basic+password=Seven"
SESSION_KEY, COGNITO_KEY = "ASIASESSIONSESSION01", "ASIACOGNITOCOGNITO01"
# What AWS knows of each key: the secret, and the token that comes with each request.
SIGNERS = {
    POD_KEY: (POD_SECRET, POD_TOKEN),
    SESSION_KEY: (SECRET, TOKEN),
    COGNITO_KEY: (COGNITO_SECRET, COGNITO_TOKEN),
}
SIGNING_SECRETS = tuple(secret for pair in SIGNERS.values() for secret in pair)


@dataclass
class Found:
    """Everything that came out of the sidecar."""

    texts: list[str] = field(default_factory=list)

    async def refusal(self, call: Any) -> str:
        """Notes all of a refusal; gives its code."""
        try:
            answer = await call
        except grpc.aio.AioRpcError as failed:
            for name, value in failed.trailing_metadata() or ():
                # Bytes one to one, so that what is in protobuf messages is seen as it is.
                self.texts.append(f"{name}={value.decode('latin-1') if isinstance(value, bytes) else value}")
            self.texts += [failed.details() or "", failed.debug_error_string() or ""]
            return failed.code().name
        self.texts.append(str(answer))
        return "OK"

    def occurrences(self, secret: str) -> list[str]:
        return [form for form in forms(secret) if any(form in text for text in self.texts)]


def forms(secret: str) -> Iterator[str]:
    """How a secret may be written: as it is, for a URL, and in base64 whatever stands before it."""
    yield from {secret, quote(secret, safe=""), quote(secret), quote_plus(secret)}
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + secret.encode()).decode().rstrip("=")
        yield encoded[4 if before else 0 : len(encoded) - 2]
    yield secret.encode().hex()


async def test_forms_find_a_secret_in_base64_whatever_stands_around_it() -> None:
    for before in range(4):
        text = base64.b64encode(b"x" * before + SECRET.encode() + b"behind").decode()
        assert any(form in text for form in forms(SECRET))


def telltale(code: str = "InvalidSignatureException", status: int = 400) -> Script:
    """A refusal that repeats who signed it, as AWS does with the canonical request of a bad signature."""
    return lambda request: refused(code, f"x-amz-security-token:{told_by(request)}", status)


def told_by(request: Recorded) -> str:
    written = (
        (one, quote(one, safe=""), base64.b64encode(one.encode()).decode()) for one in SIGNERS[request.key_id]
    )
    return " ".join(form for each in written for form in each)


ANSWERS: list[Script] = [
    telltale(),
    telltale("AccessDeniedException"),
    telltale("InternalServerError", 500),
    telltale("ValidationException"),
    telltale("ExpiredTokenException"),
    Answer(" ".join(SIGNING_SECRETS)),
    Answer({"Item": {"id": {"N": ["not", "text"]}}}),
    Answer({"Item": {"id": {"S": "ann"}}}, cut_after=0),
]


def settings(aws: StubAws) -> dict[str, str]:
    assert COGNITO.user_pool_id is not None
    assert COGNITO.identity_pool_id is not None
    aws.pages["/jwks.json"] = key_set(jwk())
    return settings_for(
        aws.url,
        AWS_SECRET_ACCESS_KEY=POD_SECRET,
        AWS_SESSION_TOKEN=POD_TOKEN,
        AWSIDECAR_LOG_LEVEL="debug",
        COGNITO_USER_POOL_ID=COGNITO.user_pool_id,
        COGNITO_IDENTITY_POOL_ID=COGNITO.identity_pool_id,
        COGNITO_CLIENT_ID=CLIENT_ID,
        AWSIDECAR_COGNITO_JWKS_URL=f"{aws.url}/jwks.json",
    )


def fresh_token(subject: str) -> str:
    return id_token(claims(datetime.now(UTC), sub=subject))


def cognito_credentials() -> Answer:
    end = (datetime.now(UTC) + timedelta(hours=1)).timestamp()
    given = {"AccessKeyId": COGNITO_KEY, "SecretKey": COGNITO_SECRET, "SessionToken": COGNITO_TOKEN}
    return Answer({"IdentityId": "eu-central-1:ann", "Credentials": {**given, "Expiration": end}})


async def call_as(client: Client, aws: StubAws, found: Found, metadata: list[tuple[str, str]]) -> None:
    """Every answer of AWS, and every RPC, for one caller."""
    for answer in ANSWERS:
        aws.on("GetItem", answer)
        assert await found.refusal(client.dynamodb.GetItem(GET, metadata=metadata)) != "OK"
    limits = client.dynamodb.DescribeLimits(limits_pb2.DescribeLimitsRequest(), metadata=metadata)
    assert await found.refusal(limits) in {
        "INTERNAL",
        "UNAVAILABLE",
    }  # the latter while its credentials are renewed
    validate = pb.ValidateCredentialsRequest()
    for script in (lambda request: sts_refused("Throttling", told_by(request)), Answer(" ".join(SIGNING_SECRETS))):
        aws.on("GetCallerIdentity", script)
        await found.refusal(client.credentials.ValidateCredentials(validate, metadata=metadata))
    assert await found.refusal(client.credentials.WhoAmI(pb.WhoAmIRequest(), metadata=metadata)) == "OK"


async def state_badly(client: Client, found: Found, handle: str, token: str) -> None:
    """Sessions that are refused, and requests that are, each with a secret in it."""
    twice = [("x-awsidecar-session", handle)] * 2
    other_key = token[:-20] + "A" * 20
    for metadata in (
        twice,
        [("authorization", f"Bearer {token}"), ("x-awsidecar-session", handle)],
        [("authorization", f"Basic {BASIC}")],
        [("authorization", f"Bearer {other_key}")],
        [("x-awsidecar-session", f"{handle[:-1]}!")],
    ):
        assert await found.refusal(client.dynamodb.GetItem(GET, metadata=metadata)) != "OK"
    given = pb.AwsCredentials(access_key_id=f"{SECRET} ", secret_access_key=f"{SECRET} ", session_token=f"{TOKEN} ")
    for name in ("access_key_id", "secret_access_key", "session_token"):
        request = pb.OpenSessionRequest(aws_credentials=given)
        assert await found.refusal(client.credentials.OpenSession(request)) == "INVALID_ARGUMENT"
        setattr(given, name, "good")
    raw = pb.OpenSessionRequest(aws_credentials=given).SerializeToString() + b"\xff"
    call = client.method("/awsidecar.credentials.v1.CredentialsService/OpenSession")
    assert await found.refusal(call(raw)) == "INVALID_ARGUMENT"


async def refuse_exchange(client: Client, aws: StubAws, found: Found, tokens: list[str]) -> None:
    """Cognito refuses, and answers rubbish, with the token and the credentials in its words."""
    told = f"{' '.join(tokens)} {COGNITO_SECRET} {COGNITO_TOKEN}"
    odd = {"AccessKeyId": "ASIA", "SecretKey": COGNITO_SECRET, "SessionToken": COGNITO_TOKEN, "Expiration": told}
    answers = [
        refused("NotAuthorizedException", told),
        Answer(told),
        Answer({"IdentityId": "eu-central-1:bob", "Credentials": odd}),
        Answer({"IdentityId": "eu-central-1:bob", "Credentials": {"SecretKey": COGNITO_SECRET}}),
    ]
    for token, answer in zip(tokens, answers, strict=True):
        aws.on("GetCredentialsForIdentity", answer)
        metadata = [("authorization", f"Bearer {token}")]
        assert await found.refusal(client.dynamodb.GetItem(GET, metadata=metadata)) != "OK"


async def scrape(process: SidecarProcess) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"http://{process.admin}/metrics") as response:
        return await response.text()


async def test_no_secret_shows_in_logs_metrics_or_errors(aws: StubAws) -> None:
    found = Found()
    token = fresh_token("ann")
    refused_tokens = [fresh_token(f"bob{number}") for number in range(4)]
    aws.on("GetId", Answer({"IdentityId": "eu-central-1:ann"}))
    aws.on("GetCredentialsForIdentity", cognito_credentials())
    async with served(settings(aws), SERVER_WITH_DEFECT) as process, connected(process.target) as client:
        handle = await client.open_session(SESSION_KEY, SECRET, TOKEN)
        for metadata in ([], [("x-awsidecar-session", handle)], [("authorization", f"Bearer {token}")]):
            await call_as(client, aws, found, metadata)
        await state_badly(client, found, handle, token)
        await refuse_exchange(client, aws, found, refused_tokens)
        found.texts.append(await scrape(process))
    found.texts += [process.output, process.errors]
    signed = {request.security_token for request in aws.requests}
    assert signed >= {POD_TOKEN, TOKEN, COGNITO_TOKEN}, "the canaries were not used"
    assert "internal error" in process.errors, "no defect was logged"
    assert json.loads(process.errors.splitlines()[0])["event"] == "serving"
    secrets = (*SIGNING_SECRETS, BASIC, handle, token, *refused_tokens)
    assert {secret: found.occurrences(secret) for secret in secrets} == {secret: [] for secret in secrets}
