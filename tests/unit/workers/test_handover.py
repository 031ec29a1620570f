from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime

import orjson
from hypothesis import given
from hypothesis import strategies as st

from awsidecar_server.config import Config, settings
from awsidecar_server.identity.credentials import CognitoCaller, Credentials, SessionCaller, VerifiedToken
from awsidecar_server.identity.sessions import Session
from awsidecar_server.workers.handover import session_from_json, session_to_json

TEXT = st.text(st.characters(codec="utf-8"))
MOMENTS = st.datetimes(timezones=st.just(UTC)) | st.just(datetime.max.replace(tzinfo=UTC))
CREDENTIALS = st.builds(
    Credentials, TEXT, TEXT, st.none() | TEXT, expires_at=st.none() | MOMENTS, account_id=st.none() | TEXT
)
CALLERS = st.builds(SessionCaller, CREDENTIALS, MOMENTS) | st.builds(
    CognitoCaller, st.builds(VerifiedToken, TEXT, TEXT, TEXT, MOMENTS)
)


@given(digest=st.binary(min_size=32, max_size=32), session=st.builds(Session, CALLERS, MOMENTS))
def test_session_comes_over_as_it_was(digest: bytes, session: Session) -> None:
    written = orjson.dumps(session_to_json(digest, session))
    assert session_from_json(orjson.loads(written)) == (digest, session)


def test_every_member_of_credentials_and_tokens_is_tried_above() -> None:
    assert {field.name for field in fields(Credentials)} == {
        "access_key_id", "secret_access_key", "session_token", "expires_at", "account_id",
    }  # fmt: skip
    assert {field.name for field in fields(VerifiedToken)} == {"raw", "issuer", "subject", "expires_at"}
    # What is unproved is each store's own to say.
    assert {field.name for field in fields(SessionCaller)} == {"credentials", "expires_at", "unproved"}
    assert {field.name for field in fields(CognitoCaller)} == {"token"}


def test_configuration_comes_over_as_it_was() -> None:
    environment = {leaf.env: leaf.example for leaf in settings()}
    # No file need exist for this.
    del environment["AWSIDECAR_LISTEN_UNIX_SOCKET"], environment["AWS_CA_BUNDLE"]
    environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"] = "AKIA", "secret"
    config = Config.load(environment)
    assert config != Config()
    assert Config.restored(orjson.loads(orjson.dumps(config))) == config
