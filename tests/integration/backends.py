"""The backends of the integration tests: MiniStack, the embedded AWS, and DynamoDB Local, AWS's own emulator."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from awsidecar_server.embedded.seed.items import all_items
from awsidecar_server.embedded.seed.tables import TABLES

if TYPE_CHECKING:
    from tests.integration.conftest import Sidecar

MINISTACK, DYNAMODB_LOCAL = "ministack", "dynamodb-local"
# What a test or a fixture is parametrised with that runs on both.
BACKENDS = (
    pytest.param(MINISTACK, marks=pytest.mark.ministack),
    pytest.param(DYNAMODB_LOCAL, marks=pytest.mark.dynamodb_local),
)
REGION = "us-east-1"
# DynamoDB Local takes any key. MiniStack takes this one for the root of the account.
ANY_KEY, ROOT_KEY = "AKIADYNAMODBLOCAL001", "test"
_BATCH = 25  # items, the most that BatchWriteItem takes

# In what a backend is not as AWS, and what tests therefore expect of it; `docs/testing.md` has the same.
DIFFERENCES: Mapping[str, Mapping[str, str]] = {
    MINISTACK: {
        "arithmetic": "`ADD` counts with 28 digits, AWS with 38",
        "limits of statements": "`ExecuteStatement` takes no notice of `Limit`, and gives no `NextToken`",
        "statements in parentheses": "`ExecuteStatement` calls `(SELECT ...)` not well formed",
    },
    DYNAMODB_LOCAL: {
        "backups": "it has none of their operations",
        "identities": "it has neither Cognito nor STS, and no IAM: it takes any key, and lets it do everything",
        "names of key attributes": "of a key that is not the table's, its message does not name the attribute",
    },
}


@dataclass(frozen=True)
class Backend:
    """An AWS with the demo's tables and items, and a sidecar on it that signs as a service account."""

    name: str
    sidecar: Sidecar = field(repr=False)
    endpoint: str
    # It takes the key from anybody, and lets it do everything.
    access_key_id: str

    def differs_in(self, what: str) -> bool:
        """Whether it is not as AWS there; the word must be one of `DIFFERENCES`."""
        assert any(what in stated for stated in DIFFERENCES.values()), what
        return what in DIFFERENCES[self.name]

    @property
    def settings(self) -> dict[str, str]:
        """The environment of another sidecar on it."""
        return settings(self.endpoint, self.access_key_id)


def settings(endpoint: str, access_key_id: str = ANY_KEY) -> dict[str, str]:
    """The environment of a sidecar on an emulator that checks no signature of the key."""
    return {
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": access_key_id,
        "AWS_SECRET_ACCESS_KEY": "any-secret-will-do",
    }


def put_sample_data(endpoint: str) -> None:
    """The tables and items of the demo account, which MiniStack has from its start, into DynamoDB Local."""
    from boto3.dynamodb.types import TypeSerializer
    from botocore.session import Session

    serialize = TypeSerializer().serialize
    with closing(
        Session().create_client(
            "dynamodb",
            endpoint_url=endpoint,
            region_name=REGION,
            aws_access_key_id="any",
            aws_secret_access_key="any",
        )
    ) as client:
        for table in TABLES:
            client.create_table(**table)
        for name, items in all_items().items():
            typed = [{member: serialize(value) for member, value in item.items()} for item in items]
            for start in range(0, len(typed), _BATCH):
                puts = [{"PutRequest": {"Item": item}} for item in typed[start : start + _BATCH]]
                assert not client.batch_write_item(RequestItems={name: puts})["UnprocessedItems"]
