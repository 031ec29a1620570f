"""The demo's DynamoDB tables, as CreateTable takes them."""

from __future__ import annotations

from typing import Any


def _key(partition: str, sort: str | None = None) -> list[dict[str, str]]:
    key = [{"AttributeName": partition, "KeyType": "HASH"}]
    return key + ([{"AttributeName": sort, "KeyType": "RANGE"}] if sort else [])


def _strings(*names: str) -> list[dict[str, str]]:
    return [{"AttributeName": name, "AttributeType": "S"} for name in names]


def _index(name: str, partition: str, sort: str | None = None) -> dict[str, Any]:
    return {"IndexName": name, "KeySchema": _key(partition, sort), "Projection": {"ProjectionType": "ALL"}}


TABLES: tuple[dict[str, Any], ...] = (
    {
        "TableName": "users",
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": _strings("id", "orgId", "email"),
        "KeySchema": _key("id"),
        "GlobalSecondaryIndexes": [_index("orgId-index", "orgId", "id"), _index("email-index", "email")],
        "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    },
    {
        # What one user keeps: an item per kind (profile, preferences, ...).
        "TableName": "user-data",
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": _strings("userId", "kind", "email"),
        "KeySchema": _key("userId", "kind"),
        "GlobalSecondaryIndexes": [_index("email-index", "email", "kind")],
    },
    {
        "TableName": "applications",
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": _strings("id", "orgId"),
        "KeySchema": _key("id"),
        "GlobalSecondaryIndexes": [_index("orgId-index", "orgId", "id")],
    },
)
