from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsidecar_server.api.redaction import redact

ACCOUNTS = st.from_regex(r"[0-9]{12}", fullmatch=True)
KEY_IDS = st.from_regex(r"(AKIA|ASIA|AROA|AIDA)[A-Z2-7]{16}", fullmatch=True)
SURROUNDINGS = st.text(alphabet="abc /:.,'\"=-_…\n", max_size=8)
ARNS = st.builds(
    "arn:{}:{}:{}:{}:{}".format,
    st.sampled_from(["aws", "aws-cn", "aws-us-gov"]),
    st.sampled_from(["dynamodb", "iam", "sts", "cognito-identity", "execute-api"]),
    st.sampled_from(["", "eu-central-1", "us-gov-west-1"]),
    ACCOUNTS,
    st.sampled_from(["table/films", "table/films/index/by-year", "user/ann", "assumed-role/reader/me", "root"]),
)


@given(st.lists(st.tuples(SURROUNDINGS, ARNS | KEY_IDS, SURROUNDINGS), min_size=1, max_size=4))
def test_no_account_of_an_arn_and_no_key_id_survives(parts: list[tuple[str, str, str]]) -> None:
    message = redact("".join(before + secret + after for before, secret, after in parts))
    assert not re.search(r"[0-9]{12}", message)
    assert not re.search(r"(AKIA|ASIA|AROA|AIDA)[A-Z0-9]", message)


def test_what_helps_stays() -> None:
    assert redact(
        "User: arn:aws:sts::123456789012:assumed-role/reader/me is not authorized to perform: dynamodb:GetItem on "
        "resource: arn:aws:dynamodb:eu-central-1:123456789012:table/films with AKIAIOSFODNN7EXAMPLE"
    ) == (
        "User: arn:aws:sts::************:assumed-role/reader/me is not authorized to perform: dynamodb:GetItem on "
        "resource: arn:aws:dynamodb:eu-central-1:************:table/films with AKIA…"
    )


@pytest.mark.parametrize(
    "message", ["", "order 123456789012 of ASIA", "Requested resource not found: Table: films"]
)
def test_message_without_secrets_is_unchanged(message: str) -> None:
    assert redact(message) == message


@given(st.text(max_size=200))
def test_redacting_again_changes_nothing(message: str) -> None:
    assert redact(redact(message)) == redact(message)
