"""What is handed from process to process, as JSON holds it: a session, and the configuration of a worker."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from awsidecar_server.identity.credentials import (
    CognitoCaller,
    Credentials,
    SessionCaller,
    Tier,
    VerifiedToken,
)
from awsidecar_server.identity.sessions import Session


def session_to_json(digest: bytes, session: Session) -> dict[str, Any]:
    """A session with the digest of its handle. Values and times become JSON when the message is written."""
    return {
        "digest": digest.hex(),
        "tier": session.caller.tier.value,
        "caller": session.caller,
        "expires_at": session.expires_at,
    }


def session_from_json(given: dict[str, Any]) -> tuple[bytes, Session]:
    """The digest and the session of `session_to_json`, after its way through JSON."""
    caller: SessionCaller | CognitoCaller
    if given["tier"] == Tier.COGNITO.value:
        caller = CognitoCaller(VerifiedToken(**_with_time(given["caller"]["token"])))
    else:
        credentials = Credentials(**_with_time(given["caller"]["credentials"]))
        caller = SessionCaller(**_with_time({**given["caller"], "credentials": credentials}))
    return bytes.fromhex(given["digest"]), Session(caller, datetime.fromisoformat(given["expires_at"]))


def _with_time(members: dict[str, Any]) -> dict[str, Any]:
    expires_at = members["expires_at"]
    return {**members, "expires_at": None if expires_at is None else datetime.fromisoformat(expires_at)}
