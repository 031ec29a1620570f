"""Where credentials come from: one source per tier, and no way from one tier to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from awsidecar_server.identity.credentials import CognitoCaller, Credentials, ServiceAccountCaller
from awsidecar_server.identity.refusals import cognito_not_configured

CallerT_contra = TypeVar("CallerT_contra", contravariant=True)


class CredentialSource(Protocol[CallerT_contra]):
    """Fetches credentials anew each time it is asked; what it gives is kept by the cache."""

    async def fetch(self, caller: CallerT_contra, /) -> Credentials:
        """Raises `Unauthenticated` when the caller is rejected, `CredentialsUnavailable` when asking failed."""
        ...


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources of the tiers that have one; a session brings its own credentials."""

    cognito: CredentialSource[CognitoCaller] | None
    service_account: CredentialSource[ServiceAccountCaller]

    async def fetch(self, caller: CognitoCaller | ServiceAccountCaller) -> Credentials:
        if isinstance(caller, ServiceAccountCaller):
            return await self.service_account.fetch(caller)
        if self.cognito is None:
            raise cognito_not_configured()
        return await self.cognito.fetch(caller)
