"""The AWS calls that identity needs: Cognito's exchange of tokens, and STS's answer to who somebody is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from awsidecar_server.aws.call import AwsCall, Carrier
from awsidecar_server.aws.lane import Lane
from awsidecar_server.errors import AwsUnreachable
from awsidecar_server.identity.credentials import Caller, Credentials


@dataclass(frozen=True, slots=True)
class CallerIdentity:
    """STS's answer: whose credentials these are."""

    account: str
    arn: str
    user_id: str


class CognitoIdentity:
    """The two operations of Cognito identity pools that turn a token into credentials. AWS takes them unsigned.

    https://docs.aws.amazon.com/cognitoidentity/latest/APIReference/API_GetCredentialsForIdentity.html
    """

    def __init__(self, carrier: Carrier, region: str) -> None:
        self._carrier = carrier
        self._region = region

    async def get_id(self, identity_pool_id: str, logins: Mapping[str, str]) -> str:
        members = await self._ask("GetId", {"IdentityPoolId": identity_pool_id, "Logins": dict(logins)})
        return str(_member(members, "IdentityId"))

    async def get_credentials_for_identity(
        self, identity_id: str, logins: Mapping[str, str]
    ) -> tuple[str, Credentials]:
        parameters = {"IdentityId": identity_id, "Logins": dict(logins)}
        members = await self._ask("GetCredentialsForIdentity", parameters)
        given = _member(members, "Credentials")
        credentials = Credentials(
            access_key_id=_member(given, "AccessKeyId"),
            secret_access_key=_member(given, "SecretKey"),
            session_token=given.get("SessionToken"),
            expires_at=_moment(given.get("Expiration")),
        )
        return str(members.get("IdentityId", identity_id)), credentials

    async def _ask(self, operation: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        call = AwsCall("cognito-identity", operation, parameters, self._region)
        return (await self._carrier.send(call, None)).members


class SecurityTokens:
    """STS."""

    def __init__(self, lane: Lane, carrier: Carrier, region: str) -> None:
        self._lane = lane
        self._carrier = carrier
        self._region = region

    async def caller_identity(self, caller: Caller) -> CallerIdentity:
        """Whose credentials AWS takes the caller's for; raises `AwsRejected` when it takes them for nobody's.

        https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
        """
        call = AwsCall("sts", "GetCallerIdentity", {}, self._region)
        members = (await self._lane.call(caller, partial(self._carrier.send, call))).members
        return CallerIdentity(_member(members, "Account"), _member(members, "Arn"), _member(members, "UserId"))


def _member(members: Mapping[str, Any], name: str) -> Any:
    """A member that AWS always sends."""
    try:
        return members[name]
    except (KeyError, TypeError) as missing:
        raise AwsUnreachable(f"AWS's answer lacks {name}", cause="bad_response") from missing


def _moment(given: Any) -> datetime | None:
    """A time as the SDK has it, or as AWS's JSON has it: in seconds since 1970."""
    if given is None or isinstance(given, datetime):
        return given
    try:
        return datetime.fromtimestamp(float(given), UTC)
    except (TypeError, ValueError, OverflowError, OSError) as unreadable:
        raise AwsUnreachable("AWS's answer holds a time that is none", cause="bad_response") from unreadable
