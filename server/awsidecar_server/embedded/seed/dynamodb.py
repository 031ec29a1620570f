"""Puts the demo's tables and items into an emulator."""

from __future__ import annotations

from typing import Any

from awsidecar_server.embedded.seed.items import Item, all_items
from awsidecar_server.embedded.seed.tables import TABLES

_BATCH = 25  # items, the most that BatchWriteItem takes
# On a table whose items were all written once: later starts leave to it what has become of them.
_SEEDED = {"Key": "awsidecar:seeded", "Value": "true"}


async def seed_tables(client: Any) -> None:
    """Creates what is missing, and fills the tables that were never filled."""
    items = all_items()
    existing = (await client.list_tables())["TableNames"]
    for table in TABLES:
        name = table["TableName"]
        if name in existing:
            arn = (await client.describe_table(TableName=name))["Table"]["TableArn"]
        else:
            arn = (await client.create_table(**table))["TableDescription"]["TableArn"]
        tags = (await client.list_tags_of_resource(ResourceArn=arn)).get("Tags", [])
        if _SEEDED not in tags:
            await _fill(client, name, items[name])
            await client.tag_resource(ResourceArn=arn, Tags=[_SEEDED])


async def _fill(client: Any, table: str, items: list[Item]) -> None:
    from boto3.dynamodb.types import TypeSerializer

    serialize = TypeSerializer().serialize
    for start in range(0, len(items), _BATCH):
        puts = [
            {"PutRequest": {"Item": {name: serialize(value) for name, value in item.items()}}}
            for item in items[start : start + _BATCH]
        ]
        answer = await client.batch_write_item(RequestItems={table: puts})
        if answer.get("UnprocessedItems"):
            raise RuntimeError(f"the emulator did not take all items of {table}")
