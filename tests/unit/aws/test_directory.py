from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.unit.aws.fakes import SESSION, FakeProvider, credentials, rejection

from awsidecar_server.aws.call import AwsCall, AwsReply
from awsidecar_server.aws.directory import CallerIdentity, CognitoIdentity, SecurityTokens
from awsidecar_server.aws.lane import Lane
from awsidecar_server.errors import AwsRejected, AwsUnreachable
from awsidecar_server.identity.credentials import Credentials

WHO = {"Account": "123456789012", "Arn": "arn:aws:iam::123456789012:user/ann", "UserId": "AIDAANN"}


class ScriptedSender:
    def __init__(self, members: dict[str, object] | AwsRejected) -> None:
        self._members = members
        self.sent: list[tuple[AwsCall, Credentials | None]] = []

    async def send(self, call: AwsCall, credentials: Credentials | None) -> AwsReply:
        self.sent.append((call, credentials))
        if isinstance(self._members, AwsRejected):
            raise self._members
        return AwsReply(self._members, "REQ", 1)


async def test_sts_says_whose_the_credentials_are() -> None:
    sender = ScriptedSender(dict(WHO))
    found = await SecurityTokens(Lane(FakeProvider()), sender, "eu-central-1").caller_identity(SESSION)
    assert found == CallerIdentity(WHO["Account"], WHO["Arn"], WHO["UserId"])
    ((sent, signed_by),) = sender.sent
    assert (sent.service, sent.operation) == ("sts", "GetCallerIdentity")
    assert signed_by == credentials("OLD")


async def test_credentials_that_sts_takes_for_nobodys_are_rejected() -> None:
    sender = ScriptedSender(rejection("InvalidClientTokenId"))
    with pytest.raises(AwsRejected):
        await SecurityTokens(Lane(FakeProvider()), sender, "eu-central-1").caller_identity(SESSION)


async def test_identity_that_cognito_names_anew_is_given() -> None:
    members = {"IdentityId": "new", "Credentials": {"AccessKeyId": "ASIA1", "SecretKey": "s"}}
    sender = ScriptedSender({**members})
    identity, given = await CognitoIdentity(sender, "us-east-1").get_credentials_for_identity("old", {"l": "t"})
    assert identity == "new"
    assert given == Credentials("ASIA1", "s", None, None)
    ((sent, signed_by),) = sender.sent
    assert (sent.region, signed_by) == ("us-east-1", None)


async def test_identity_stays_when_cognito_names_none() -> None:
    sender = ScriptedSender({"Credentials": {"AccessKeyId": "ASIA1", "SecretKey": "s"}})
    identity, _ = await CognitoIdentity(sender, "us-east-1").get_credentials_for_identity("old", {})
    assert identity == "old"


@pytest.mark.parametrize("expiry", [1893456000, 1893456000.0, "1893456000", datetime(2030, 1, 1, tzinfo=UTC)])
async def test_end_of_the_credentials_is_read_as_the_wire_and_as_the_sdk_have_it(expiry: object) -> None:
    sender = ScriptedSender({"Credentials": {"AccessKeyId": "A", "SecretKey": "s", "Expiration": expiry}})
    _, given = await CognitoIdentity(sender, "us-east-1").get_credentials_for_identity("old", {})
    assert given.expires_at == datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("expiry", ["soon", [], {}, 1e300, float("nan")])
async def test_end_of_the_credentials_that_is_no_time_is_no_answer(expiry: object) -> None:
    sender = ScriptedSender({"Credentials": {"AccessKeyId": "A", "SecretKey": "s", "Expiration": expiry}})
    with pytest.raises(AwsUnreachable) as refused:
        await CognitoIdentity(sender, "us-east-1").get_credentials_for_identity("old", {})
    assert refused.value.metadata["cause"] == "bad_response"


def test_parameters_show_in_no_repr() -> None:
    assert "raw-token" not in repr(AwsCall("cognito-identity", "GetId", {"Logins": {"l": "raw-token"}}, "r"))
    assert "secret" not in repr(AwsReply({"Credentials": {"SecretKey": "secret"}}, "REQ", 1))
