"""Who the client is to the sidecar: what the credentials service takes and answers, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from awsidecar.credentials.v1 import credentials_pb2
from awsidecar.messages import plain_timestamp


class Tier(Enum):
    """Whose credentials sign a call; the values are what `ResponseMetadata` says."""

    SESSION = "session"
    COGNITO = "cognito"
    SERVICE_ACCOUNT = "service_account"


@dataclass(frozen=True, slots=True)
class AwsCredentials:
    """AWS credentials. The secrets stay out of the repr."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)
    expiration: datetime | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """How the sidecar sees the caller."""

    tier: Tier | None
    subject: str
    issuer: str
    identity_id: str
    region: str
    expiration: datetime | None


@dataclass(frozen=True, slots=True)
class Validity:
    """What AWS says of the credentials; true when they are good."""

    valid: bool
    reason: str
    account: str
    arn: str
    user_id: str
    tier: Tier | None
    expiration: datetime | None

    def __bool__(self) -> bool:
        return self.valid


_TIERS = {
    credentials_pb2.TIER_SESSION: Tier.SESSION,
    credentials_pb2.TIER_COGNITO: Tier.COGNITO,
    credentials_pb2.TIER_SERVICE_ACCOUNT: Tier.SERVICE_ACCOUNT,
}


def open_request(
    *, id_token: str | None, aws_credentials: AwsCredentials | None
) -> credentials_pb2.OpenSessionRequest:
    """Returns the request that opens a session for exactly one identity."""
    if id_token is not None and aws_credentials is None:
        return credentials_pb2.OpenSessionRequest(id_token=id_token)
    if id_token is not None or aws_credentials is None:
        raise ValueError("a session has one identity: give either id_token or aws_credentials")
    request = credentials_pb2.OpenSessionRequest()
    request.aws_credentials.access_key_id = aws_credentials.access_key_id
    request.aws_credentials.secret_access_key = aws_credentials.secret_access_key
    request.aws_credentials.session_token = aws_credentials.session_token
    if aws_credentials.expiration is not None:
        if aws_credentials.expiration.utcoffset() is None:
            raise ValueError("aws_credentials.expiration must have a time zone")
        request.aws_credentials.expiration.FromDatetime(aws_credentials.expiration)
    return request


def caller_of(response: credentials_pb2.WhoAmIResponse) -> Caller:
    """Returns what WhoAmI answers."""
    return Caller(
        tier=_TIERS.get(response.tier),
        subject=response.subject,
        issuer=response.issuer,
        identity_id=response.identity_id,
        region=response.region,
        expiration=_expiration(response),
    )


def validity_of(response: credentials_pb2.ValidateCredentialsResponse) -> Validity:
    """Returns what ValidateCredentials answers."""
    return Validity(
        valid=response.valid,
        reason=response.reason,
        account=response.account,
        arn=response.arn,
        user_id=response.user_id,
        tier=_TIERS.get(response.tier),
        expiration=_expiration(response),
    )


def credentials_of(response: credentials_pb2.GetCredentialsResponse) -> AwsCredentials:
    """Returns what GetCredentials answers."""
    return AwsCredentials(
        access_key_id=response.credentials.access_key_id,
        secret_access_key=response.credentials.secret_access_key,
        session_token=response.credentials.session_token,
        expiration=_expiration(response.credentials),
    )


def _expiration(message: Any) -> datetime | None:
    return plain_timestamp(message.expiration) if message.HasField("expiration") else None
