"""The tables that requests are made for, and the attributes that their items have."""

from __future__ import annotations

from typing import Any, NamedTuple


class KeyAttribute(NamedTuple):
    name: str
    kind: str


class Index(NamedTuple):
    """A table's own key, or that of an index of it."""

    name: str | None
    hash_key: KeyAttribute
    range_key: KeyAttribute | None
    # Strongly consistent reads are for tables and local indexes.
    is_global: bool = False

    @property
    def keys(self) -> tuple[KeyAttribute, ...]:
        return (self.hash_key, self.range_key) if self.range_key else (self.hash_key,)


class Table(NamedTuple):
    name: str
    primary: Index
    indexes: tuple[Index, ...] = ()


_OWNER, _RANK = KeyAttribute("owner", "S"), KeyAttribute("rank", "N")
_ORDER, _LINE = KeyAttribute("order", "S"), KeyAttribute("line", "N")

# Two words that DynamoDB reserves (`order`, `owner`), so that keys need placeholders, too.
ORDERS = Table(
    "fidelity-orders",
    Index(None, _ORDER, _LINE),
    (
        Index("by-kind", _ORDER, KeyAttribute("kind", "S")),
        Index("by-owner", _OWNER, _RANK, is_global=True),
        Index("by-digest", KeyAttribute("digest", "B"), None, is_global=True),
    ),
)
BLOBS = Table("fidelity_blobs", Index(None, KeyAttribute("id", "B"), None))
DOTTED = Table("fidelity.dotted", Index(None, KeyAttribute("a.b", "N"), KeyAttribute("größe", "S")))
TABLES = (ORDERS, BLOBS, DOTTED)
# Of items so large that pages end at 1 MB. It is filled once, and read only.
PAGES = Table(
    "fidelity-pages",
    Index(None, _OWNER, _RANK),
    (
        Index("by-kind", _OWNER, KeyAttribute("kind", "S")),
        Index("by-digest", KeyAttribute("digest", "B"), None, is_global=True),
    ),
)

# What else items have. The kinds are what an attribute mostly is: some items have something else there.
ATTRIBUTES: dict[str, str] = {
    "n": "N",
    "text": "S",
    "data": "B",
    "flag": "BOOL",
    "nothing": "NULL",
    "l": "L",
    "m": "M",
    "words": "SS",
    "numbers": "NS",
    "blobs": "BS",
    "name": "S",
    "count": "N",
    "with.dot": "M",
    "naïve ☃": "S",
    "kind": "S",
    "owner": "S",
    "rank": "N",
    "digest": "B",
}


def definition(table: Table) -> dict[str, Any]:
    """The parameters of CreateTable."""
    keys = {key for index in (table.primary, *table.indexes) for key in index.keys}
    local = [_index(index, "ALL") for index in table.indexes if not index.is_global]
    distant = [
        _index(index, "KEYS_ONLY" if index.range_key is None else "ALL")
        for index in table.indexes
        if index.is_global
    ]
    return {
        "TableName": table.name,
        "AttributeDefinitions": [{"AttributeName": key.name, "AttributeType": key.kind} for key in sorted(keys)],
        "KeySchema": _key_schema(table.primary),
        "BillingMode": "PAY_PER_REQUEST",
        **({"LocalSecondaryIndexes": local} if local else {}),
        **({"GlobalSecondaryIndexes": distant} if distant else {}),
    }


def _index(index: Index, projection: str) -> dict[str, Any]:
    return {
        "IndexName": index.name,
        "KeySchema": _key_schema(index),
        "Projection": {"ProjectionType": projection},
    }


def _key_schema(index: Index) -> list[dict[str, str]]:
    types = ("HASH", "RANGE")
    return [{"AttributeName": key.name, "KeyType": role} for key, role in zip(index.keys, types, strict=False)]
