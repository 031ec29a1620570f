from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from tests.unit.aws.fakes import (
    COGNITO,
    SERVICE_ACCOUNT,
    SESSION,
    FakeProvider,
    FakeSender,
    call,
    credentials,
    rejection,
)

from awsidecar_server.aws.lane import Lane
from awsidecar_server.errors import AwsRejected, CredentialsUnavailable
from awsidecar_server.identity.credentials import Caller, Credentials


def refusing(code: str, *, times: int = 1) -> Callable[[int], Awaitable[None]]:
    async def answer(turn: int) -> None:
        if turn <= times:
            raise rejection(code)

    return answer


async def at_once(turn: int) -> None:
    return None


async def never(turn: int) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("caller", [SESSION, COGNITO, SERVICE_ACCOUNT])
async def test_call_is_signed_with_the_callers_credentials(caller: Caller) -> None:
    sender, provider = FakeSender(at_once), FakeProvider()
    reply = await Lane(provider).call(caller, partial(sender.send, call()))
    assert reply.members == {"by": "AKIAOLD"}
    assert provider.asked == [caller]
    assert provider.renewed == []


@pytest.mark.parametrize("operation", ["PutItem", "GetItem", "TransactWriteItems"])
@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException", "RequestExpired"])
@pytest.mark.parametrize("caller", [COGNITO, SERVICE_ACCOUNT])
async def test_expired_credentials_are_renewed_and_the_call_is_tried_again(
    caller: Caller, code: str, operation: str
) -> None:
    """AWS refused before it did anything, so a write is tried again, too."""
    sender, provider = FakeSender(refusing(code)), FakeProvider()
    reply = await Lane(provider).call(caller, partial(sender.send, call(operation)))
    assert reply.members == {"by": "AKIANEW"}
    assert provider.renewed == [(caller, credentials("OLD"))]
    assert [one.operation for one, _ in sender.sent] == [operation, operation]


async def test_renewal_is_tried_once() -> None:
    sender, provider = FakeSender(refusing("ExpiredTokenException", times=9)), FakeProvider()
    with pytest.raises(AwsRejected):
        await Lane(provider).call(COGNITO, partial(sender.send, call()))
    assert len(sender.sent) == 2
    assert len(provider.renewed) == 1


async def test_session_whose_credentials_expired_is_told_so() -> None:
    """Nobody can renew what the caller brought."""
    sender, provider = FakeSender(refusing("ExpiredTokenException")), FakeProvider()
    with pytest.raises(AwsRejected):
        await Lane(provider).call(SESSION, partial(sender.send, call()))
    assert len(sender.sent) == 1
    assert provider.renewed == []


@pytest.mark.parametrize("code", ["UnrecognizedClientException", "AccessDeniedException", "ThrottlingException"])
async def test_other_refusals_renew_nothing(code: str) -> None:
    sender, provider = FakeSender(refusing(code)), FakeProvider()
    with pytest.raises(AwsRejected):
        await Lane(provider).call(COGNITO, partial(sender.send, call()))
    assert len(sender.sent) == 1
    assert provider.renewed == []


async def test_credentials_that_are_not_there_are_never_replaced_by_others() -> None:
    sender = FakeSender(at_once)
    with pytest.raises(CredentialsUnavailable):
        await Lane(FakeProvider(CredentialsUnavailable("no", tier="cognito"))).call(
            COGNITO, partial(sender.send, call())
        )
    assert sender.sent == []


async def test_cancellation_passes_through() -> None:
    sender = FakeSender(never)
    calling = asyncio.create_task(Lane(FakeProvider()).call(COGNITO, partial(sender.send, call())))
    await sender.asked.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling


async def test_what_happened_before_the_renewal_is_told_with_what_happened_after_it() -> None:
    """An attempt that went unanswered may have had its effect, whatever the renewed credentials are told."""
    expired = AwsRejected("dynamodb", "PutItem", "ExpiredToken", "", attempts=2, ambiguous=True)
    denied = AwsRejected("dynamodb", "PutItem", "AccessDeniedException", "")
    failures = [expired, denied]

    async def send(credentials: Credentials) -> None:
        raise failures.pop(0)

    with pytest.raises(AwsRejected) as refused:
        await Lane(FakeProvider()).call(SERVICE_ACCOUNT, send)
    assert (refused.value.code, refused.value.attempts, refused.value.ambiguous) == (
        "AccessDeniedException",
        3,
        True,
    )
