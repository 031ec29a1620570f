"""Who is calling: read from a call's metadata, where a session that is stated badly is never taken for none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from awsidecar_server.identity.credentials import Caller, CognitoCaller, ServiceAccountCaller, VerifiedToken
from awsidecar_server.identity.refusals import cognito_not_configured, session_malformed
from awsidecar_server.identity.sessions import SessionStore

if TYPE_CHECKING:  # with it come PyJWT and cryptography, which only Cognito needs
    from awsidecar_server.identity.tokens import TokenVerifier

AUTHORIZATION = "authorization"
SESSION = "x-awsidecar-session"


class Gate:
    """Turns metadata into the caller. Only metadata without any session header makes the service account."""

    def __init__(self, verifier: TokenVerifier | None, sessions: SessionStore) -> None:
        self._verifier = verifier
        self._sessions = sessions

    async def identify(self, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        """Raises `Unauthenticated`; its reason says what is wrong with the session."""
        stated = _stated(metadata)
        if stated is None:
            return ServiceAccountCaller()
        header, value = stated
        if header == SESSION:
            return self._sessions.find(value)
        return CognitoCaller(await self.verify_token(_bearer(value)))

    async def verify_token(self, raw: str) -> VerifiedToken:
        if self._verifier is None:
            raise cognito_not_configured()
        return await self._verifier.verify(raw)


def _stated(metadata: Iterable[tuple[str, str | bytes]]) -> tuple[str, str] | None:
    """The one header that states the session, with its text; None when none does."""
    found: tuple[str, str] | None = None
    for key, value in metadata:
        # In lower case and without the mark of binary values: a header that is nearly right is not passed over.
        header = key.lower().removesuffix("-bin")
        if header not in (AUTHORIZATION, SESSION):
            continue
        if found is not None:
            problem = "is repeated" if found[0] == header else "and another header state the session"
            raise session_malformed(header, problem)
        if not isinstance(value, str) or key.lower() != header:
            raise session_malformed(header, "is not text")
        if not value:
            raise session_malformed(header, "is empty")
        if header == SESSION and any(map(str.isspace, value)):
            raise session_malformed(header, "holds whitespace")
        found = header, value
    return found


def _bearer(value: str) -> str:
    """The token of `Bearer <token>` (RFC 6750, section 2.1)."""
    scheme, separator, token = value.partition(" ")
    if scheme.lower() != "bearer" or not separator:
        raise session_malformed(AUTHORIZATION, "is not 'Bearer <token>'")
    if not token or any(map(str.isspace, token)):
        raise session_malformed(AUTHORIZATION, "holds no token, or whitespace in it")
    return token
