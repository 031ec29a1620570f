from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web
from tests.unit.identity.fakes import SECRET, make_credentials, settle

from awsidecar_server.errors import CredentialsUnavailable, Unauthenticated
from awsidecar_server.identity.credentials import Credentials, ServiceAccountCaller
from awsidecar_server.identity.service_account import ServiceAccountSource, ask_sdk_chain

CALLER = ServiceAccountCaller()
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": SECRET}


class FakeChain:
    def __init__(self, answer: Credentials | Exception | None) -> None:
        self.answer = answer
        self.count = 0

    async def __call__(self) -> Credentials | None:
        self.count += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_the_environment_comes_first() -> None:
    chain = FakeChain(make_credentials())
    source = ServiceAccountSource({**KEYS, "AWS_SESSION_TOKEN": "token"}, allowed=True, ask_chain=chain)
    assert await source.fetch(CALLER) == Credentials("AKIAENV", SECRET, "token")
    assert chain.count == 0


@pytest.mark.parametrize("text", ["2030-01-01T12:00:00Z", "2030-01-01T12:00:00", "2030-01-01T14:00:00+02:00"])
async def test_an_end_that_the_environment_names_is_kept(text: str) -> None:
    source = ServiceAccountSource({**KEYS, "AWS_CREDENTIAL_EXPIRATION": text}, allowed=True)
    assert (await source.fetch(CALLER)).expires_at == datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
async def test_half_a_key_in_the_environment_is_an_error_and_not_passed_over(name: str) -> None:
    chain = FakeChain(make_credentials())
    source = ServiceAccountSource({**KEYS, name: ""}, allowed=True, ask_chain=chain)
    with pytest.raises(CredentialsUnavailable, match=name):
        await source.fetch(CALLER)
    assert chain.count == 0


async def test_an_end_that_cannot_be_read_is_an_error() -> None:
    source = ServiceAccountSource({**KEYS, "AWS_CREDENTIAL_EXPIRATION": "tomorrow"}, allowed=True)
    with pytest.raises(CredentialsUnavailable, match="AWS_CREDENTIAL_EXPIRATION"):
        await source.fetch(CALLER)


async def test_the_chain_is_asked_where_the_environment_has_nothing() -> None:
    credentials = make_credentials()
    assert (
        await ServiceAccountSource({}, allowed=True, ask_chain=FakeChain(credentials)).fetch(CALLER) == credentials
    )


async def test_no_service_account_is_the_callers_to_solve() -> None:
    source = ServiceAccountSource({}, allowed=True, ask_chain=FakeChain(None))
    with pytest.raises(Unauthenticated) as caught:
        await source.fetch(CALLER)
    assert caught.value.reason == "NO_SERVICE_ACCOUNT"


async def test_a_service_account_that_is_not_allowed_is_not_looked_for() -> None:
    chain = FakeChain(make_credentials())
    source = ServiceAccountSource(KEYS, allowed=False, ask_chain=chain)
    with pytest.raises(Unauthenticated) as caught:
        await source.fetch(CALLER)
    assert (caught.value.reason, chain.count) == ("NO_SERVICE_ACCOUNT", 0)


async def test_a_service_account_that_is_found_no_more_is_unavailable() -> None:
    chain = FakeChain(make_credentials())
    source = ServiceAccountSource({}, allowed=True, ask_chain=chain)
    await source.fetch(CALLER)
    chain.answer = None
    with pytest.raises(CredentialsUnavailable):
        await source.fetch(CALLER)


async def test_a_chain_that_fails_is_told_of_by_the_name_of_its_error_alone() -> None:
    source = ServiceAccountSource({}, allowed=True, ask_chain=FakeChain(RuntimeError(f"output: {SECRET}")))
    with pytest.raises(CredentialsUnavailable) as caught:
        await source.fetch(CALLER)
    assert str(caught.value) == "the AWS SDK's credential chain failed with RuntimeError"


class FakeMetadata:
    """Stands for STS and for the instance metadata service; counts who asked which."""

    def __init__(self) -> None:
        self.sts_requests = 0
        self.imds_requests = 0
        self.sts_status = 200
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/" and request.method == "POST":
            self.sts_requests += 1
            if self.sts_status != 200:
                error = (
                    "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
                )
                return web.Response(status=self.sts_status, text=error, content_type="text/xml")
            return web.Response(text=_STS_ANSWER, content_type="text/xml")
        self.imds_requests += 1
        if request.path.endswith("/api/token"):
            return web.Response(text="imds-token")
        if request.path.endswith("/security-credentials/"):
            return web.Response(text="node-role")
        return web.json_response(
            {
                "Code": "Success",
                "AccessKeyId": "ASIANODE",
                "SecretAccessKey": SECRET,
                "Token": "node",
                "Expiration": "2099-01-01T00:00:00Z",
            }
        )


_STS_ANSWER = f"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAWEBIDENTITYKEY</AccessKeyId>
<SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>web</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>
<AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/x/y</Arn>
<AssumedRoleId>AROAXXXXXXXXXXXX:y</AssumedRoleId>
</AssumedRoleUser></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""


@pytest.fixture
async def metadata() -> AsyncIterator[FakeMetadata]:
    fake = FakeMetadata()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", fake.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    fake.url = f"http://{host}:{port}"
    yield fake
    await runner.cleanup()


@pytest.fixture
def environment(metadata: FakeMetadata, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that has instance metadata and nothing else."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url + "/")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", metadata.url)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    return monkeypatch


def use_web_identity(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a.web.identity.token")
    environment.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    environment.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pod")
    environment.setenv("AWS_MAX_ATTEMPTS", "1")


async def test_the_chain_finds_instance_metadata_off_the_loop(
    environment: pytest.MonkeyPatch, metadata: FakeMetadata
) -> None:
    credentials = await ask_sdk_chain()
    assert credentials == Credentials("ASIANODE", SECRET, "node", datetime(2099, 1, 1, tzinfo=UTC))


async def test_the_chain_exchanges_a_web_identity(
    environment: pytest.MonkeyPatch, metadata: FakeMetadata, tmp_path: Path
) -> None:
    use_web_identity(environment, tmp_path)
    credentials = await ask_sdk_chain()
    assert credentials == Credentials(
        "ASIAWEBIDENTITYKEY", SECRET, "web", datetime(2099, 1, 1, tzinfo=UTC), account_id="123456789012"
    )
    assert (metadata.sts_requests, metadata.imds_requests) == (1, 0)


async def test_a_refused_web_identity_is_never_replaced_by_the_nodes_role(
    environment: pytest.MonkeyPatch, metadata: FakeMetadata, tmp_path: Path
) -> None:
    use_web_identity(environment, tmp_path)
    metadata.sts_status = 403
    with pytest.raises(CredentialsUnavailable, match="failed with ClientError"):
        await ServiceAccountSource({}, allowed=True).fetch(CALLER)
    assert metadata.sts_requests >= 1
    assert metadata.imds_requests == 0


async def test_a_missing_web_identity_token_is_never_replaced_by_the_nodes_role(
    environment: pytest.MonkeyPatch, metadata: FakeMetadata, tmp_path: Path
) -> None:
    use_web_identity(environment, tmp_path)
    (tmp_path / "token").unlink()
    with pytest.raises(CredentialsUnavailable, match="failed with FileNotFoundError"):
        await ServiceAccountSource({}, allowed=True).fetch(CALLER)
    assert metadata.imds_requests == 0


@pytest.mark.parametrize(
    "profile",
    [
        "aws_access_key_id = AKIAHALF",
        "role_arn = arn:aws:iam::123456789012:role/x\nsource_profile = missing",
        f"credential_process = {sys.executable} -c 'import sys; sys.exit(\"{SECRET}\")'",
    ],
)
async def test_a_broken_profile_is_never_replaced_by_the_nodes_role(
    environment: pytest.MonkeyPatch, metadata: FakeMetadata, tmp_path: Path, profile: str
) -> None:
    (tmp_path / "config").write_text(f"[default]\n{profile}\n")
    with pytest.raises(CredentialsUnavailable) as caught:
        await ServiceAccountSource({}, allowed=True).fetch(CALLER)
    assert SECRET not in str(caught.value)
    assert metadata.imds_requests == 0


async def test_a_container_endpoint_that_refuses_is_never_replaced_by_the_nodes_role(
    environment: pytest.MonkeyPatch, metadata: FakeMetadata
) -> None:
    environment.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/not-allowed")
    with pytest.raises(CredentialsUnavailable):
        await ServiceAccountSource({}, allowed=True).fetch(CALLER)
    assert metadata.imds_requests == 0


async def test_a_credential_process_is_run(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer = tmp_path / "answer.json"
    answer.write_text(json.dumps({"Version": 1, "AccessKeyId": "AKIAPROCESS", "SecretAccessKey": SECRET}))
    program = tmp_path / "program.py"
    program.write_text(f"print(open({str(answer)!r}).read())")
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {sys.executable} {program}\n")
    assert await ask_sdk_chain() == Credentials("AKIAPROCESS", SECRET)


async def test_a_chain_with_no_provider_present_gives_nothing(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert await ask_sdk_chain() is None


async def test_cancelling_the_question_ends_the_thread_that_asks() -> None:
    began, ended = threading.Event(), threading.Event()

    async def hang() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    asking = asyncio.create_task(ask_sdk_chain(hang))
    await asyncio.to_thread(began.wait, 10)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await asyncio.to_thread(ended.wait, 10)
    await settle()
