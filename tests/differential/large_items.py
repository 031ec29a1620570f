"""Items so large that a few of them fill a page of 1 MB."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tests.differential.requests import Request
from tests.differential.schema import PAGES
from tests.differential.values import Item, Values, size_of

# By partition: how many items, and how many bytes the largest has.
_PARTITIONS = (("ключ", 10, 380_000), ("k1", 6, 250_000), ("k2", 12, 30_000))
# What they have beside their bulk.
_MOST_BESIDE_BYTES = 20_000
# An item and what a local index has of it are 400 KB at most, together; this one has all.
_MOST_INDEXED_BYTES = 180_000


def large_items(rng: Random) -> Iterator[Request]:
    """What fills the table of large items: three partitions, of about 2.4 MB, 1 MB and 0.2 MB."""
    values = Values(rng, mischief=0)
    for owner, items, most_bytes in _PARTITIONS:
        for rank in range(items):
            bulk = "x" * rng.randint(most_bytes // 4, most_bytes)
            item = {**_small(values), "owner": {"S": owner}, "rank": {"N": str(rank)}, "bulk": {"S": bulk}}
            if len(bulk) > _MOST_INDEXED_BYTES:
                item.pop("kind", None)
            yield Request("PutItem", {"TableName": PAGES.name, "Item": item})


def _small(values: Values) -> Item:
    while True:
        item = values.item(PAGES)
        if size_of(item) < _MOST_BESIDE_BYTES:
            return item
