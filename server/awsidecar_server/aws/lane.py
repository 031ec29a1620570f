"""The way of a call for a caller: its credentials, and one renewal when AWS says that they have expired."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from awsidecar_server.errors import AwsRejected
from awsidecar_server.identity.credentials import Caller, Credentials, SessionCaller

ReplyT = TypeVar("ReplyT")

# AWS says that the credentials were good once: renewing them and trying again is worth it.
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})


class CredentialProvider(Protocol):
    """Whoever knows the credentials of a caller."""

    async def credentials(self, caller: Caller) -> Credentials:
        """The credentials to sign with now."""

    async def renew(self, caller: Caller, spent: Credentials) -> Credentials:
        """The credentials that replace `spent`, which AWS has just called expired."""


class Lane:
    """Performs AWS calls as the callers they are for."""

    def __init__(
        self, provider: CredentialProvider, accepted: Callable[[SessionCaller], None] | None = None
    ) -> None:
        """`accepted` is called with each session that AWS has answered a call of."""
        self._provider = provider
        self._accepted = accepted

    async def call(self, caller: Caller, send: Callable[[Credentials], Awaitable[ReplyT]]) -> ReplyT:
        """Sends with the caller's credentials, and with renewed ones where those have expired."""
        credentials = await self._provider.credentials(caller)
        if isinstance(caller, SessionCaller):  # nobody can renew what the caller brought
            reply = await send(credentials)
            if self._accepted is not None:
                self._accepted(caller)
            return reply
        try:
            return await send(credentials)
        except AwsRejected as rejected:
            if rejected.code not in EXPIRED:
                raise
        # Sending again is safe for every operation: AWS has turned down the last attempt, and would not have got it
        # if one before it forbade another. What was sent so far is remembered with the call (`progress`).
        return await send(await self._provider.renew(caller, credentials))
