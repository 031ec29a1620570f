from __future__ import annotations

import pytest

from awsidecar_server.errors import (
    AwsRejected,
    AwsUnreachable,
    CredentialsUnavailable,
    DeadlineSpent,
    Draining,
    FieldViolation,
    InvalidRequest,
    LimitReached,
    Unavailable,
)


def test_refusal_carries_what_the_caller_needs() -> None:
    refused = LimitReached("too many", reason="OVERLOADED", limit="2")
    assert (str(refused), refused.message, refused.reason, refused.metadata) == (
        "too many",
        "too many",
        "OVERLOADED",
        {"limit": "2"},
    )


def test_metadata_may_be_called_message() -> None:
    refused = InvalidRequest("the bytes are no X", reason="MALFORMED_MESSAGE", message="X")
    assert (refused.message, refused.metadata) == ("the bytes are no X", {"message": "X"})


def test_fields_at_fault_come_along() -> None:
    violation = FieldViolation("Key", "is required")
    assert InvalidRequest("no", violation, field="Key").violations == (violation,)
    assert InvalidRequest("no").reason == "INVALID_REQUEST"


@pytest.mark.parametrize(
    ("refused", "reason", "metadata"),
    [
        (CredentialsUnavailable("no", tier="cognito"), "CREDENTIALS_UNAVAILABLE", {"tier": "cognito"}),
        (AwsUnreachable("no", cause="timeout"), "AWS_UNREACHABLE", {"cause": "timeout"}),
        (Draining(), "DRAINING", {}),
    ],
)
def test_what_is_not_there_now_may_be_tried_again(
    refused: Unavailable, reason: str, metadata: dict[str, str]
) -> None:
    assert isinstance(refused, Unavailable)
    assert (refused.reason, refused.metadata) == (reason, metadata)


def test_spent_deadline_is_not_an_outage() -> None:
    assert DeadlineSpent().reason == "DEADLINE_SPENT"
    assert not isinstance(DeadlineSpent(), Unavailable)


def test_refusal_of_aws_shows_no_item() -> None:
    rejected = AwsRejected("dynamodb", "PutItem", "X", "no", members={"Item": {"id": {"S": "canary"}}})
    assert "canary" not in repr(rejected) + str(rejected)
    assert str(rejected) == "dynamodb PutItem: X"


def test_refusal_of_aws_is_one_of_its_kind_as_every_exception_is() -> None:
    one, other = (AwsRejected("dynamodb", "PutItem", "X", "no") for _ in range(2))
    assert one != other
    assert len({one, other}) == 2
