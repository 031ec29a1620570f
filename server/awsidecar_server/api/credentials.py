"""The handlers of CredentialsService: sessions, and what they are worth."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from awsidecar.credentials.v1 import credentials_pb2 as pb
from awsidecar_server.api.calls import Handler, Reply, Request
from awsidecar_server.api.status import verdict
from awsidecar_server.aws.directory import SecurityTokens
from awsidecar_server.aws.lane import CredentialProvider
from awsidecar_server.config import IdentityConfig
from awsidecar_server.errors import AwsRejected, Forbidden, InvalidRequest, Unauthenticated
from awsidecar_server.identity.cognito import CognitoExchange
from awsidecar_server.identity.credentials import Caller, CognitoCaller, Credentials, SessionCaller, Tier
from awsidecar_server.identity.gate import SESSION, Gate
from awsidecar_server.identity.refusals import no_service_account
from awsidecar_server.identity.sessions import Sessions, digest_of

_TIERS = {
    Tier.SESSION: pb.TIER_SESSION,
    Tier.COGNITO: pb.TIER_COGNITO,
    Tier.SERVICE_ACCOUNT: pb.TIER_SERVICE_ACCOUNT,
}
# The session's maximum age bounds what has no end of its own.
_FOREVER = datetime.max.replace(tzinfo=UTC)
# Ours, well above what AWS gives out (key ids have at most 128 characters: IAM API, AccessKey).
_LONGEST_KEY_ID = 128
_LONGEST_SECRET = 256
_LONGEST_SESSION_TOKEN = 32 * 1024


class CredentialsHandlers:
    """Serves CredentialsService."""

    def __init__(
        self,
        *,
        config: IdentityConfig,
        gate: Gate,
        sessions: Sessions,
        provider: CredentialProvider,
        exchange: CognitoExchange | None,
        tokens: SecurityTokens,
    ) -> None:
        self._config = config
        self._gate = gate
        self._sessions = sessions
        self._provider = provider
        self._exchange = exchange
        self._tokens = tokens

    def handlers(self) -> dict[str, Handler]:
        """The handlers by method name."""
        return {
            "OpenSession": self.open_session,
            "CloseSession": self.close_session,
            "GetCredentials": self.get_credentials,
            "ValidateCredentials": self.validate_credentials,
            "WhoAmI": self.who_am_i,
        }

    async def open_session(self, request: Request) -> Reply:
        message: Any = request.message
        kind = message.WhichOneof("identity")
        caller: SessionCaller | CognitoCaller
        if kind == "id_token":
            caller = CognitoCaller(await self._gate.verify_token(message.id_token))
        elif kind == "aws_credentials":
            credentials = _given_credentials(message.aws_credentials)
            caller = SessionCaller(credentials, credentials.expires_at or _FOREVER)
        else:
            raise InvalidRequest.of("identity", "has no value; set exactly one of aws_credentials, id_token")
        opened = await self._sessions.open(caller)
        answer = pb.OpenSessionResponse(
            session=opened.handle, tier=_TIERS[caller.tier], expiration=_timestamp(opened.expires_at)
        )
        # Nobody else has the handle, so nobody would ever close it.
        return Reply(answer, caller.tier.value, untaken=partial(self._sessions.take_back, digest_of(opened.handle)))

    async def close_session(self, request: Request) -> Reply:
        message: Any = request.message
        named = [message.session] if message.session else _stated_sessions(request)
        if len(named) != 1:
            raise InvalidRequest.of("session", f"is required, here or once in the metadata as {SESSION}")
        return Reply(pb.CloseSessionResponse(closed=await self._sessions.close(named[0])))

    async def get_credentials(self, request: Request) -> Reply:
        caller = await self._gate.identify(request.metadata)
        vending = self._config.vending
        if vending == "off" or (vending == "sessions" and caller.tier is Tier.SERVICE_ACCOUNT):
            raise Forbidden(
                "the configuration does not allow credentials to be read",
                reason="VENDING_DISABLED",
                tier=caller.tier.value,
            )
        credentials = await self._provider.credentials(caller)
        given = pb.AwsCredentials(
            access_key_id=credentials.access_key_id,
            secret_access_key=credentials.secret_access_key,
            session_token=credentials.session_token or "",
            expiration=_timestamp(credentials.expires_at),
        )
        return Reply(pb.GetCredentialsResponse(credentials=given, tier=_TIERS[caller.tier]), caller.tier.value)

    async def validate_credentials(self, request: Request) -> Reply:
        answer = pb.ValidateCredentialsResponse()
        caller: Caller | None = None
        try:
            caller = await self._gate.identify(request.metadata)
            answer.tier = _TIERS[caller.tier]
            found = await self._tokens.caller_identity(caller)
            credentials = await self._provider.credentials(caller)
        except Unauthenticated as refused:
            answer.reason = refused.reason
        except AwsRejected as refused:
            # Any other refusal is of the question or the moment, not of the credentials.
            if verdict(refused).code not in (StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED):
                raise
            answer.reason = refused.code
        else:
            answer.valid = True
            answer.account, answer.arn, answer.user_id = found.account, found.arn, found.user_id
            expiration = _timestamp(credentials.expires_at)
            if expiration is not None:
                answer.expiration.CopyFrom(expiration)
        return Reply(answer, caller.tier.value if caller else "")

    async def who_am_i(self, request: Request) -> Reply:
        caller = await self._gate.identify(request.metadata)
        if caller.tier is Tier.SERVICE_ACCOUNT and not self._config.service_account:
            raise no_service_account("this sidecar may not sign as itself")
        answer = pb.WhoAmIResponse(tier=_TIERS[caller.tier], region=request.region)
        if isinstance(caller, CognitoCaller):
            answer.subject, answer.issuer = caller.token.subject, caller.token.issuer
            answer.identity_id = (self._exchange.identity_id(caller) if self._exchange else None) or ""
        expiration = _timestamp(_end_of(caller))
        if expiration is not None:
            answer.expiration.CopyFrom(expiration)
        return Reply(answer, caller.tier.value)


def _end_of(caller: Caller) -> datetime | None:
    if isinstance(caller, CognitoCaller):
        return caller.token.expires_at
    if isinstance(caller, SessionCaller):
        return caller.expires_at
    return None


def _given_credentials(given: pb.AwsCredentials) -> Credentials:
    for name, longest in (
        ("access_key_id", _LONGEST_KEY_ID),
        ("secret_access_key", _LONGEST_SECRET),
        ("session_token", _LONGEST_SESSION_TOKEN),
    ):
        value: str = getattr(given, name)
        path = f"aws_credentials.{name}"
        if not value and name != "session_token":
            raise InvalidRequest.of(path, "is required")
        if len(value) > longest:
            raise InvalidRequest.of(path, f"is longer than {longest} characters")
        if not value.isascii() or not value.isprintable() or " " in value:
            raise InvalidRequest.of(path, "holds characters that AWS credentials do not have")
    return Credentials(
        access_key_id=given.access_key_id,
        secret_access_key=given.secret_access_key,
        session_token=given.session_token or None,
        expires_at=_moment(given.expiration) if given.HasField("expiration") else None,
    )


def _moment(timestamp: Timestamp) -> datetime:
    try:
        return timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest.of(
            "aws_credentials.expiration", "is not a time between the years 1 and 9999"
        ) from None


def _timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


def _stated_sessions(request: Request) -> list[str]:
    return [value for key, value in request.metadata if key == SESSION and isinstance(value, str)]
