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
from tests.unit.aws.transport import LOST, UNSENT, FakeTransport, Step, answer, refusal

from awsidecar_server.aws.json_calls import JsonCall, JsonReply
from awsidecar_server.aws.json_sender import JsonSender
from awsidecar_server.aws.lane import Lane
from awsidecar_server.config import AwsConfig
from awsidecar_server.errors import AwsRejected, AwsUnreachable, CredentialsUnavailable
from awsidecar_server.identity.credentials import Caller, Credentials
from awsidecar_server.ops.telemetry import Telemetry


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


@pytest.mark.parametrize(
    ("caller", "told"),
    [(SESSION, [SESSION]), (COGNITO, []), (SERVICE_ACCOUNT, [])],
    ids=["session", "token", "none"],
)
async def test_session_that_aws_has_answered_is_made_known(caller: Caller, told: list[Caller]) -> None:
    accepted: list[Caller] = []
    await Lane(FakeProvider(), accepted.append).call(caller, partial(FakeSender(at_once).send, call()))
    assert accepted == told


async def test_session_that_aws_has_refused_is_not() -> None:
    accepted: list[Caller] = []
    sender = FakeSender(refusing("UnrecognizedClientException"))
    with pytest.raises(AwsRejected):
        await Lane(FakeProvider(), accepted.append).call(SESSION, partial(sender.send, call()))
    assert accepted == []


async def test_failure_to_renew_is_no_refusal_of_aws() -> None:
    class Spent(FakeProvider):
        async def renew(self, caller: Caller, spent: Credentials) -> Credentials:
            raise CredentialsUnavailable("no", tier="cognito")

    sender = FakeSender(refusing("ExpiredToken"))
    with pytest.raises(CredentialsUnavailable):
        await Lane(Spent()).call(COGNITO, partial(sender.send, call()))
    assert len(sender.sent) == 1


EXPIRED = refusal("ExpiredTokenException")
PUT = {"TableName": "films", "Item": {"id": {"S": "1"}}}


def posting(*script: Step) -> Callable[[], Awaitable[JsonReply]]:
    """Sends a write through the lane."""

    async def at_once(_: float) -> None:
        return None

    sender = JsonSender(AwsConfig(region="r"), FakeTransport(*script), Telemetry(), pause=at_once)
    posted = JsonCall("dynamodb", "PutItem", b"{}", PUT, "eu-central-1")
    return lambda: Lane(FakeProvider()).call(SERVICE_ACCOUNT, partial(sender.post, posted))


@pytest.mark.parametrize("last", [refusal("AccessDeniedException"), refusal("ValidationException")])
async def test_refusal_after_the_renewal_tells_what_happened_before_it(last: Step) -> None:
    """An attempt that went unanswered may have had its effect, whatever the renewed credentials are told."""
    send = posting(LOST, EXPIRED, last)
    with pytest.raises(AwsRejected) as refused:
        await send()
    assert (refused.value.attempts, refused.value.ambiguous) == (3, True)


async def test_silence_after_the_renewal_tells_what_happened_before_it() -> None:
    send = posting(LOST, EXPIRED, UNSENT)
    with pytest.raises(AwsUnreachable) as unreachable:
        await send()
    assert unreachable.value.metadata == {"cause": "connect", "attempts": "6", "ambiguous": "true"}


async def test_silence_after_a_plain_renewal_is_not_ambiguous() -> None:
    send = posting(EXPIRED, UNSENT)
    with pytest.raises(AwsUnreachable) as unreachable:
        await send()
    assert unreachable.value.metadata == {"cause": "connect", "attempts": "5"}


async def test_success_after_the_renewal_counts_what_was_sent_before_it() -> None:
    send = posting(LOST, EXPIRED, answer())
    assert (await send()).attempts == 3
