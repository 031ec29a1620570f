from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from awsidecar.credentials.v1 import credentials_pb2 as pb
from awsidecar_server.api.calls import Reply, Request
from awsidecar_server.api.credentials import CredentialsHandlers
from awsidecar_server.api.metadata import Metadata
from awsidecar_server.aws.directory import CallerIdentity, SecurityTokens
from awsidecar_server.config import IdentityConfig
from awsidecar_server.errors import AwsRejected, AwsUnreachable, Forbidden, InvalidRequest, Unauthenticated
from awsidecar_server.identity.credentials import Caller, Credentials, SessionCaller
from awsidecar_server.identity.gate import Gate
from awsidecar_server.identity.sessions import LocalSessions, SessionStore

NOW = datetime(2030, 1, 1, tzinfo=UTC)
KEYS = {"access_key_id": "ASIAANN", "secret_access_key": "canary-secret", "session_token": "canary-token"}


class FakeTokens(SecurityTokens):
    """STS that answers by `answer`."""

    def __init__(self, answer: Callable[[], CallerIdentity]) -> None:
        self._answer = answer

    async def caller_identity(self, caller: Caller) -> CallerIdentity:
        return self._answer()


class FakeProvider:
    """Sessions have their own credentials, everybody else those of the service account."""

    async def credentials(self, caller: Caller) -> Credentials:
        return caller.credentials if isinstance(caller, SessionCaller) else Credentials("AKIAPOD", "pod-secret")

    async def renew(self, caller: Caller, spent: Credentials) -> Credentials:
        raise AssertionError


def ann() -> CallerIdentity:
    return CallerIdentity("123456789012", "arn:aws:iam::123456789012:user/ann", "AIDAANN")


def make(config: IdentityConfig | None = None, answer: Callable[[], CallerIdentity] = ann) -> CredentialsHandlers:
    config = config or IdentityConfig()
    sessions = SessionStore(config, lambda: NOW)
    return CredentialsHandlers(
        config=config,
        gate=Gate(None, sessions),
        sessions=LocalSessions(sessions),
        provider=FakeProvider(),
        exchange=None,
        tokens=FakeTokens(answer),
    )


async def ask(handlers: CredentialsHandlers, method: str, message: Any, metadata: Metadata = ()) -> Any:
    return (await handlers.handlers()[method](Request(message, metadata, "eu-central-1", None))).message


def opening(**changes: Any) -> pb.OpenSessionRequest:
    return pb.OpenSessionRequest(aws_credentials=pb.AwsCredentials(**{**KEYS, **changes}))


async def opened(handlers: CredentialsHandlers) -> Metadata:
    answer = await ask(handlers, "OpenSession", opening())
    return (("x-awsidecar-session", answer.session),)


def rejecting(code: str) -> Callable[[], CallerIdentity]:
    def answer() -> CallerIdentity:
        raise AwsRejected("sts", "GetCallerIdentity", code, "no", http_status=403)

    return answer


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"access_key_id": ""}, "aws_credentials.access_key_id"),
        ({"secret_access_key": ""}, "aws_credentials.secret_access_key"),
        ({"access_key_id": "A" * 129}, "aws_credentials.access_key_id"),
        ({"secret_access_key": "canary" * 43}, "aws_credentials.secret_access_key"),
        ({"session_token": "t" * (32 * 1024 + 1)}, "aws_credentials.session_token"),
        ({"access_key_id": "ASIA ANN"}, "aws_credentials.access_key_id"),
        ({"secret_access_key": "canary\n"}, "aws_credentials.secret_access_key"),
        ({"session_token": "canary-ß"}, "aws_credentials.session_token"),
        ({"expiration": {"seconds": 2**60}}, "aws_credentials.expiration"),
    ],
)
async def test_credentials_that_cannot_be_are_refused_by_field_and_never_repeated(
    changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await ask(make(), "OpenSession", opening(**changes))
    assert refused.value.metadata == {"field": field}
    assert "canary" not in refused.value.message


async def test_session_needs_an_identity() -> None:
    with pytest.raises(InvalidRequest) as refused:
        await ask(make(), "OpenSession", pb.OpenSessionRequest())
    assert refused.value.metadata == {"field": "identity"}


async def test_token_without_a_user_pool_is_refused() -> None:
    with pytest.raises(Unauthenticated) as refused:
        await ask(make(), "OpenSession", pb.OpenSessionRequest(id_token="x"))
    assert refused.value.reason == "COGNITO_NOT_CONFIGURED"


async def test_session_ends_at_the_configured_age_or_with_its_credentials() -> None:
    handlers = make(IdentityConfig(session_max_age_seconds=3600))
    unbounded = await ask(handlers, "OpenSession", opening())
    assert unbounded.expiration.ToDatetime(UTC) == NOW + timedelta(hours=1)
    soon = NOW + timedelta(minutes=5)
    bounded = await ask(handlers, "OpenSession", opening(expiration={"seconds": int(soon.timestamp())}))
    assert bounded.expiration.ToDatetime(UTC) == soon
    assert bounded.tier == pb.TIER_SESSION


async def test_credentials_that_have_expired_open_nothing() -> None:
    with pytest.raises(Unauthenticated):
        await ask(make(), "OpenSession", opening(expiration={"seconds": 1}))


async def test_session_is_closed_by_its_handle_or_by_the_metadata() -> None:
    handlers = make()
    metadata = await opened(handlers)
    assert (await ask(handlers, "CloseSession", pb.CloseSessionRequest(), metadata)).closed
    assert not (await ask(handlers, "CloseSession", pb.CloseSessionRequest(), metadata)).closed
    handle = str((await opened(handlers))[0][1])
    assert (await ask(handlers, "CloseSession", pb.CloseSessionRequest(session=handle))).closed


async def test_session_whose_handle_reached_nobody_is_closed() -> None:
    handlers = make()
    reply = await handlers.open_session(Request(opening(), (), "eu-central-1", None))
    assert reply.untaken is not None
    reply.untaken()
    stated = (("x-awsidecar-session", pb.OpenSessionResponse.FromString(written(reply)).session),)
    assert not (await ask(handlers, "CloseSession", pb.CloseSessionRequest(), stated)).closed


def written(reply: Reply) -> bytes:
    return reply.message if isinstance(reply.message, bytes) else reply.message.SerializeToString()


async def test_closing_needs_to_know_which_session() -> None:
    for metadata in ((), (("x-awsidecar-session", "a"), ("x-awsidecar-session", "b"))):
        with pytest.raises(InvalidRequest):
            await ask(make(), "CloseSession", pb.CloseSessionRequest(), metadata)


@pytest.mark.parametrize(
    ("vending", "session_allowed", "service_account_allowed"),
    [("off", False, False), ("sessions", True, False), ("all", True, True)],
)
async def test_credentials_leave_as_far_as_the_configuration_allows(
    vending: str, session_allowed: bool, service_account_allowed: bool
) -> None:
    handlers = make(IdentityConfig(vending=vending))
    cases: list[tuple[bool, Metadata, str]] = [
        (session_allowed, await opened(handlers), "ASIAANN"),
        (service_account_allowed, (), "AKIAPOD"),
    ]
    for allowed, metadata, key_id in cases:
        if allowed:
            answer = await ask(handlers, "GetCredentials", pb.GetCredentialsRequest(), metadata)
            assert answer.credentials.access_key_id == key_id
            assert not answer.credentials.HasField("expiration"), "nobody said when they end"
        else:
            with pytest.raises(Forbidden) as refused:
                await ask(handlers, "GetCredentials", pb.GetCredentialsRequest(), metadata)
            assert refused.value.reason == "VENDING_DISABLED"


async def test_valid_credentials_are_described() -> None:
    handlers = make()
    answer = await ask(handlers, "ValidateCredentials", pb.ValidateCredentialsRequest(), await opened(handlers))
    assert answer.valid
    assert (answer.account, answer.user_id, answer.reason) == ("123456789012", "AIDAANN", "")
    assert answer.tier == pb.TIER_SESSION


@pytest.mark.parametrize("code", ["InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredToken", "AccessDenied"])
async def test_credentials_that_aws_refuses_are_an_answer(code: str) -> None:
    handlers = make(answer=rejecting(code))
    answer = await ask(handlers, "ValidateCredentials", pb.ValidateCredentialsRequest(), await opened(handlers))
    assert (answer.valid, answer.reason, answer.tier) == (False, code, pb.TIER_SESSION)
    assert not answer.account


async def test_session_that_is_not_open_is_an_answer() -> None:
    metadata = (("x-awsidecar-session", "nonesuch"),)
    answer = await ask(make(), "ValidateCredentials", pb.ValidateCredentialsRequest(), metadata)
    assert (answer.valid, answer.reason, answer.tier) == (False, "SESSION_NOT_FOUND", pb.TIER_UNSPECIFIED)


def unreachable() -> CallerIdentity:
    raise AwsUnreachable("no", cause="connect")


@pytest.mark.parametrize(
    ("answer", "failure"), [(rejecting("Throttling"), AwsRejected), (unreachable, AwsUnreachable)]
)
async def test_question_that_cannot_be_answered_is_an_error(
    answer: Callable[[], CallerIdentity], failure: type[Exception]
) -> None:
    with pytest.raises(failure):
        await ask(make(answer=answer), "ValidateCredentials", pb.ValidateCredentialsRequest())


async def test_who_am_i_tells_no_secret() -> None:
    handlers = make()
    answer = await ask(handlers, "WhoAmI", pb.WhoAmIRequest(), await opened(handlers))
    assert (answer.tier, answer.region) == (pb.TIER_SESSION, "eu-central-1")
    assert answer.HasField("expiration")
    assert "canary" not in str(answer)
    nobody = await ask(handlers, "WhoAmI", pb.WhoAmIRequest())
    assert nobody.tier == pb.TIER_SERVICE_ACCOUNT
    assert not nobody.HasField("expiration")


async def test_who_am_i_is_nobody_where_the_service_account_may_not_sign() -> None:
    with pytest.raises(Unauthenticated) as refused:
        await ask(make(IdentityConfig(service_account=False)), "WhoAmI", pb.WhoAmIRequest())
    assert refused.value.reason == "NO_SERVICE_ACCOUNT"
