"""What AWS writes and callers read: its messages, without our secrets, and its ids of requests."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import quote

from awsidecar_server.identity.credentials import Credentials

_MASK = "…"
# AWS's have 40 and more. What is as short as a word is an emulator's ("test"), and a message may well have the word.
_SHORTEST_SECRET = 16
# AWS's own have 36 or 52 characters.
_LONGEST_REQUEST_ID = 128


def without_secrets(message: str, credentials: Credentials) -> str:
    """AWS's message without what signed: of a bad signature AWS tells the request it expected, session token included."""
    for secret in (credentials.secret_access_key, credentials.session_token):
        if secret and len(secret) >= _SHORTEST_SECRET:
            for written in (secret, quote(secret, safe=""), b64encode(secret.encode()).decode()):
                message = message.replace(written, _MASK)
    return message


def request_id_of(metadata: Mapping[str, object]) -> str:
    """The `RequestId` of the SDK's metadata, if it can be passed on."""
    return passable_request_id(str(metadata.get("RequestId", "")))


def passable_request_id(given: str) -> str:
    """AWS's id of the request; empty when it is none that can be passed on in a header."""
    return given if len(given) <= _LONGEST_REQUEST_ID and given.isascii() and given.isprintable() else ""
