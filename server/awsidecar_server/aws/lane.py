"""The way of a call for a caller: its credentials, and one renewal when AWS says that they have expired."""

from __future__ import annotations

from typing import Protocol

from awsidecar_server.aws.call import AwsCall, AwsReply
from awsidecar_server.aws.sdk.failures import EXPIRED
from awsidecar_server.aws.sdk.sender import Sender
from awsidecar_server.errors import AwsRejected
from awsidecar_server.identity.credentials import Caller, Credentials, SessionCaller


class CredentialProvider(Protocol):
    """Whoever knows the credentials of a caller."""

    async def credentials(self, caller: Caller) -> Credentials:
        """The credentials to sign with now."""

    async def renew(self, caller: Caller, spent: Credentials) -> Credentials:
        """The credentials that replace `spent`, which AWS has just called expired."""


class Lane:
    """Performs AWS calls as the callers they are for."""

    def __init__(self, sender: Sender, provider: CredentialProvider) -> None:
        self._sender = sender
        self._provider = provider

    async def call(self, caller: Caller, call: AwsCall) -> AwsReply:
        """Performs the call, signed as the caller."""
        credentials = await self._provider.credentials(caller)
        try:
            return await self._sender.send(call, credentials)
        except AwsRejected as rejected:
            if rejected.code not in EXPIRED or isinstance(caller, SessionCaller):
                raise
        # AWS refused before it did anything, so sending again is safe for every operation.
        return await self._sender.send(call, await self._provider.renew(caller, credentials))
