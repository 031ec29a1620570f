"""The signing identity of each call. A pooled client signs for everyone, and has no credentials of its own.

botocore signs with the client's credentials whenever a request brings none, and says nothing
(`botocore/signers.py`, `get_auth_instance`). So the client's own raise, and nothing can be signed by accident.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from aiobotocore.credentials import AioCredentials
from botocore import UNSIGNED

from awsidecar_server.identity.credentials import Credentials

# Carries the credentials from the call to botocore's request context; taken out before parameters are read.
_CARRIER = "awsidecar.credentials"


class UnsignedCall(RuntimeError):
    """A request was about to be signed without an explicit identity. Always a defect of ours."""


class NoAmbientCredentials(AioCredentials):  # type: ignore[misc]
    """Stands where botocore keeps a client's own credentials, and refuses to be used."""

    def __init__(self) -> None:
        super().__init__("", "", method="awsidecar-none")

    async def get_frozen_credentials(self) -> NoReturn:
        raise UnsignedCall("a request reached signing without an identity of its own")


class NoCredentialProvider:
    """Takes the place of botocore's credential chain in the session of the pooled clients."""

    async def load_credentials(self) -> NoAmbientCredentials:
        return NoAmbientCredentials()


class _SigningCredentials:
    """The shape that botocore's signers read."""

    __slots__ = ("access_key", "account_id", "secret_key", "token")

    def __init__(self, credentials: Credentials) -> None:
        self.access_key = credentials.access_key_id
        self.secret_key = credentials.secret_access_key
        self.token = credentials.session_token
        self.account_id = None

    async def get_frozen_credentials(self) -> _SigningCredentials:
        return self


def with_identity(parameters: Mapping[str, Any], credentials: Credentials | None) -> dict[str, Any]:
    """Parameters that take the credentials with them, through a client that `carry_identity` prepared."""
    return {**parameters, _CARRIER: credentials}


def carry_identity(events: Any) -> None:
    """Prepares a client so that each request is signed with the credentials its parameters brought."""
    events.register_first("provide-client-params.*.*", _take_from_parameters)
    events.register_first("before-sign.*.*", _give_to_signer)


def _take_from_parameters(params: dict[str, Any], context: dict[str, Any], **_: Any) -> dict[str, Any]:
    parameters = dict(params)
    context[_CARRIER] = parameters.pop(_CARRIER, None)
    return parameters


def _give_to_signer(request: Any, signature_version: Any, **_: Any) -> None:
    if signature_version is UNSIGNED:  # operations that AWS takes without a signature
        return
    credentials = request.context.get(_CARRIER)
    if credentials is None:
        raise UnsignedCall("a request reached signing without an identity of its own")
    request.context.setdefault("signing", {})["request_credentials"] = _SigningCredentials(credentials)
