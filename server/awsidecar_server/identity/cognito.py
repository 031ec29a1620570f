"""The exchange of a verified ID token for AWS credentials at a Cognito identity pool (the enhanced flow)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Protocol

from awsidecar_server.config import CognitoConfig
from awsidecar_server.errors import AwsRejected, SidecarError, Unauthenticated, Unavailable
from awsidecar_server.identity.credentials import CognitoCaller, Credentials, Tier
from awsidecar_server.identity.flights import Flights
from awsidecar_server.identity.refusals import token_rejected, unavailable

# An entry is some 200 bytes. An id never changes, and asking for one is limited to 25 a second for a whole account.
MAX_IDENTITY_IDS = 50_000
_MAX_CODE_CHARS = 64

# https://docs.aws.amazon.com/cognitoidentity/latest/APIReference/API_GetCredentialsForIdentity.html, "Errors".
_TOKEN_REFUSED = frozenset({"NotAuthorized", "InvalidParameter", "ResourceConflict"})
_NO_SUCH_RESOURCE = "ResourceNotFound"

# Pool, issuer and subject: every token of one user has the same identity.
_User = tuple[str, str, str]


class CognitoIdentityApi(Protocol):
    """Cognito's two operations, neither of which is signed. Raises `AwsRejected` and `Unavailable`."""

    async def get_id(self, identity_pool_id: str, logins: Mapping[str, str]) -> str: ...

    async def get_credentials_for_identity(
        self, identity_id: str, logins: Mapping[str, str]
    ) -> tuple[str, Credentials]:
        """Gives the identity's id, which may be another than the one asked for, and its credentials."""
        ...


class CognitoExchange:
    """The credential source of the Cognito tier."""

    def __init__(
        self, config: CognitoConfig, api: CognitoIdentityApi, *, max_identity_ids: int = MAX_IDENTITY_IDS
    ) -> None:
        if config.identity_pool_id is None:
            raise ValueError("no identity pool is configured")
        self._pool_id = config.identity_pool_id
        self._login_key = config.login_key
        self._api = api
        self._max_identity_ids = max_identity_ids
        self._identity_ids: OrderedDict[_User, str] = OrderedDict()
        self._flights: Flights[_User, str] = Flights()

    def __repr__(self) -> str:
        return f"<CognitoExchange [Identity ids: {len(self._identity_ids)}]>"

    async def fetch(self, caller: CognitoCaller) -> Credentials:
        known = self.identity_id(caller)
        if known is not None:
            credentials = await self._credentials(caller, known, is_known=True)
            if credentials is not None:
                return credentials
        identity_id = await self._ask_identity_id(caller)
        credentials = await self._credentials(caller, identity_id, is_known=False)
        if credentials is None:
            raise token_rejected("refused_by_cognito")
        return credentials

    def identity_id(self, caller: CognitoCaller) -> str | None:
        """The identity's id in the pool, when it is known."""
        return self._identity_ids.get(self._user(caller))

    async def aclose(self) -> None:
        await self._flights.aclose()

    async def _ask_identity_id(self, caller: CognitoCaller) -> str:
        """One question at a time for each user, asked with the token of whoever came first."""
        user = self._user(caller)
        is_first = not self._flights.is_under_way(user)
        try:
            return await self._flights.join(user, lambda: self._get_id(caller))
        except Unauthenticated:
            if is_first:
                raise
        # It was another token of this user that was refused, which says nothing about this one.
        return await self._get_id(caller)

    async def _get_id(self, caller: CognitoCaller) -> str:
        try:
            identity_id = await self._api.get_id(self._pool_id, self._logins(caller))
        except AwsRejected as exc:
            raise _refusal(exc) from exc
        except Unavailable as exc:
            raise unavailable(Tier.COGNITO, "Cognito cannot be reached") from exc
        self._remember(caller, identity_id)
        return identity_id

    async def _credentials(self, caller: CognitoCaller, identity_id: str, *, is_known: bool) -> Credentials | None:
        """None when AWS no longer has the identity."""
        try:
            answered_id, credentials = await self._api.get_credentials_for_identity(
                identity_id, self._logins(caller)
            )
        except AwsRejected as exc:
            if _short(exc.code) == _NO_SUCH_RESOURCE:
                return None
            raise _refusal(exc) from exc
        except Unavailable as exc:
            raise unavailable(Tier.COGNITO, "Cognito cannot be reached") from exc
        if is_known or answered_id != identity_id:
            self._remember(caller, answered_id)
        return credentials

    def _remember(self, caller: CognitoCaller, identity_id: str) -> None:
        user = self._user(caller)
        self._identity_ids[user] = identity_id
        self._identity_ids.move_to_end(user)
        if len(self._identity_ids) > self._max_identity_ids:
            self._identity_ids.popitem(last=False)

    def _user(self, caller: CognitoCaller) -> _User:
        return self._pool_id, caller.token.issuer, caller.token.subject

    def _logins(self, caller: CognitoCaller) -> Mapping[str, str]:
        return {self._login_key: caller.token.raw}


def _refusal(rejected: AwsRejected) -> SidecarError:
    """What AWS's refusal means to the caller. AWS's message may name pool and account, and stays here."""
    if _short(rejected.code) in _TOKEN_REFUSED:
        return token_rejected("refused_by_cognito")
    # Everything else is not the token's fault: a pool that is set up wrongly, a limit, a failure of AWS.
    code = rejected.code
    if not (code.isascii() and code.isalnum() and len(code) <= _MAX_CODE_CHARS):
        code = "an unknown error"
    return unavailable(Tier.COGNITO, f"Cognito answered {rejected.operation} with {code}")


def _short(code: str) -> str:
    return code.removesuffix("Exception")
