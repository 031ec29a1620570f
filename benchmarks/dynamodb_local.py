"""DynamoDB Local, filled with what the cells read."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import boto3
from botocore.config import Config
from tests.dynamodb_local import Unavailable, running

from benchmarks.operations import (
    LARGE_TABLE,
    PAGE_100_TABLE,
    PAGE_FULL_TABLE,
    SMALL_TABLE,
    TABLES,
    converted,
    large_item,
    page_item,
    small_item,
    wire,
)
from benchmarks.paths import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, Target

# More than a page holds, as DynamoDB counts its megabyte.
_PAGE_ITEMS = 5_000


def start(closing: ExitStack) -> Target | str:
    """Where it listens, with all tables in it; or the reason, in one line, why there is none."""
    try:
        endpoint = closing.enter_context(running())
    except Unavailable as reason:
        return str(reason)
    _fill(endpoint)
    return Target(endpoint=endpoint)


def _fill(endpoint: str) -> None:
    client = boto3.client(
        "dynamodb",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=SECRET_ACCESS_KEY,
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=1, read_timeout=10),
    )
    for table in TABLES:
        client.create_table(
            TableName=table,
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "N"},
            ],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            BillingMode="PAY_PER_REQUEST",
        )
    _put(client, SMALL_TABLE, [small_item(index) for index in range(100)])
    _put(client, LARGE_TABLE, [large_item()])
    _put(client, PAGE_100_TABLE, [page_item(index) for index in range(100)])
    _put(client, PAGE_FULL_TABLE, [page_item(index) for index in range(_PAGE_ITEMS)])


def _put(client: Any, table: str, items: list[dict[str, Any]]) -> None:
    puts = [{"PutRequest": {"Item": converted(item, wire)}} for item in items]
    for start_index in range(0, len(puts), 25):
        client.batch_write_item(RequestItems={table: puts[start_index : start_index + 25]})
