"""The operations that are measured: their tables, items, requests, and where a reply holds attribute values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

# Turns one plain attribute value into the form that a path's library takes.
Convert: TypeAlias = Callable[[Any], Any]
Attributes: TypeAlias = dict[str, Any]

SMALL_TABLE = "bench-small"
LARGE_TABLE = "bench-large"
PAGE_100_TABLE = "bench-page-100"
PAGE_FULL_TABLE = "bench-page-full"
TABLES = (SMALL_TABLE, LARGE_TABLE, PAGE_100_TABLE, PAGE_FULL_TABLE)

PARTITION = "customer#0001"
# As many as make the JSON of a page about 1 MB.
PAGE_FULL_ITEMS = 2_200


def key(index: int) -> Attributes:
    return {"pk": PARTITION, "sk": index}


def small_item(index: int) -> Attributes:
    """About 0.3 KB of JSON, as many attributes and types as a record of a person has."""
    return {
        **key(index),
        "name": f"Augusta Ada King {index}",
        "email": f"ada.king.{index}@example.com",
        "age": 36,
        "balance": Decimal("1024.75"),
        "active": True,
        "tags": ["analyst", "first"],
        "address": {"city": "London", "zip": "SW1Y"},
    }


def page_item(index: int) -> Attributes:
    """About 470 bytes of JSON in nine attributes."""
    return {
        **key(index),
        "order": f"order-{index:010d}-6f1c2c5e9a7b4d0f",
        "status": "DELIVERED",
        "placed_at": "2025-11-03T14:21:07.123456+00:00",
        "total": Decimal("149.99"),
        "lines": [
            {"sku": "A-1000-BLUE", "quantity": 2, "price": Decimal("49.99")},
            {"sku": "B-2000-RED", "quantity": 1, "price": Decimal("50.01")},
        ],
        "paid": True,
        "note": "leave it with the neighbour at number 12, please",
    }


def large_item() -> Attributes:
    """About 100 KB of JSON: one document with a long list of maps."""
    lines = [
        {
            "sku": f"SKU-{index:06d}",
            "title": f"Part number {index} of the difference engine, brass, hand finished, with certificate",
            "quantity": index % 7 + 1,
            "price": Decimal("12.50"),
            "tags": ["brass", "engine"],
        }
        for index in range(460)
    ]
    return {**key(0), "kind": "catalogue", "lines": lines}


def wire(value: Any) -> dict[str, Any]:
    """A plain value in DynamoDB's own JSON."""
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int | Decimal):
        return {"N": str(value)}
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, list):
        return {"L": [wire(element) for element in value]}
    return {"M": {name: wire(element) for name, element in value.items()}}


def converted(attributes: Mapping[str, Any], convert: Convert) -> Attributes:
    return {name: convert(value) for name, value in attributes.items()}


@dataclass(frozen=True)
class Operation:
    """One AWS operation with one request, whose reply has the given number of items."""

    name: str
    action: str
    build: Callable[[Convert], dict[str, Any]]
    items: int = 1


def _get(table: str) -> Callable[[Convert], dict[str, Any]]:
    return lambda convert: {"TableName": table, "Key": converted(key(0), convert)}


def _query(table: str) -> Callable[[Convert], dict[str, Any]]:
    return lambda convert: {
        "TableName": table,
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": convert(PARTITION)},
    }


def _put(convert: Convert) -> dict[str, Any]:
    return {"TableName": SMALL_TABLE, "Item": converted(small_item(0), convert)}


def _batch_get(convert: Convert) -> dict[str, Any]:
    return {"RequestItems": {SMALL_TABLE: {"Keys": [converted(key(index), convert) for index in range(100)]}}}


def _batch_write(convert: Convert) -> dict[str, Any]:
    puts = [{"PutRequest": {"Item": converted(small_item(index), convert)}} for index in range(25)]
    return {"RequestItems": {SMALL_TABLE: puts}}


GET_SMALL = Operation("GetItem 0.3 KB", "GetItem", _get(SMALL_TABLE))
GET_LARGE = Operation("GetItem 100 KB", "GetItem", _get(LARGE_TABLE))
PUT = Operation("PutItem", "PutItem", _put)
QUERY_100 = Operation("Query 100 items", "Query", _query(PAGE_100_TABLE), 100)
QUERY_FULL = Operation("Query 1 MB page", "Query", _query(PAGE_FULL_TABLE), PAGE_FULL_ITEMS)
BATCH_GET = Operation("BatchGet 100", "BatchGetItem", _batch_get, 100)
BATCH_WRITE = Operation("BatchWrite 25", "BatchWriteItem", _batch_write, 25)
# What gRPC itself costs: an empty message there and back.
EMPTY = Operation("empty RPC", "", lambda convert: {})

OPERATIONS = {
    operation.name: operation
    for operation in (GET_SMALL, GET_LARGE, PUT, QUERY_100, QUERY_FULL, BATCH_GET, BATCH_WRITE, EMPTY)
}


def items_of(action: str, reply: Mapping[str, Any]) -> list[Attributes]:
    """The items in a reply that has DynamoDB's shape."""
    if action == "GetItem":
        return [reply["Item"]]
    if action == "Query":
        return list(reply["Items"])
    if action == "BatchGetItem":
        return list(reply["Responses"][SMALL_TABLE])
    return []


def replies() -> dict[tuple[str, str], dict[str, Any]]:
    """What DynamoDB answers, in its JSON, by action and table ("" where any table is meant)."""
    small = [converted(small_item(index), wire) for index in range(100)]
    page = [converted(page_item(index), wire) for index in range(PAGE_FULL_ITEMS)]
    last = converted(key(PAGE_FULL_ITEMS - 1), wire)
    full = {"Items": page, "Count": len(page), "ScannedCount": len(page), "LastEvaluatedKey": last}
    return {
        ("GetItem", SMALL_TABLE): {"Item": small[0]},
        ("GetItem", LARGE_TABLE): {"Item": converted(large_item(), wire)},
        ("Query", PAGE_100_TABLE): {"Items": page[:100], "Count": 100, "ScannedCount": 100},
        ("Query", PAGE_FULL_TABLE): full,
        ("PutItem", ""): {},
        ("BatchGetItem", ""): {"Responses": {SMALL_TABLE: small}, "UnprocessedKeys": {}},
        ("BatchWriteItem", ""): {"UnprocessedItems": {}},
    }
