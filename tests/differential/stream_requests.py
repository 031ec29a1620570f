"""What the sidecar's own streams are asked: AWS's requests, with the members that the streams have beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.differential.expressions import Expressions
from tests.differential.schema import TABLES, Table
from tests.differential.values import Item, Values

Parameters = dict[str, Any]
Make = Callable[[Table], Parameters]

# Pages after which a segment goes on; most segments have fewer, and then are finished.
_MOST_SKIPPED = 3
_NOWHERE = "nowhere"


class StreamRequests:
    """Makes what streams are asked. `query`, `scan` and `statement` make what AWS is."""

    def __init__(self, values: Values, *, query: Make, scan: Make, statement: Make) -> None:
        self._values = values
        self._query = query
        self._scan = scan
        self._statement = statement

    # --- pages -----------------------------------------------------------------------------------------------------

    def query(self, table: Table) -> Parameters:
        return {"asked": self._query(table), **self._item_limit()}

    def statement(self, table: Table) -> Parameters:
        return {"asked": self._statement(table), **self._item_limit()}

    def scan(self, table: Table) -> Parameters:
        asked, chance = self._scan(table), self._values.chance
        if not chance(0.4):
            return {"asked": asked, **self._item_limit()}
        segments = self._values.one_of([1, 2, 3, 4, 5, 17] if chance(0.95) else [0, -1, 1_000_001])
        if chance(0.95):
            for name in ("Segment", "TotalSegments", "ExclusiveStartKey"):
                asked.pop(name, None)
        parameters: Parameters = {"asked": asked, "segments": segments, **self._item_limit()}
        if segments > 0 and segments < 100 and chance(0.5):
            parameters["resumed_after"] = [self._values.rng.randint(0, _MOST_SKIPPED) for _ in range(segments)]
        return parameters

    def _item_limit(self) -> Parameters:
        if self._values.chance(0.6):
            return {}
        return {"item_limit": self._values.rng.randint(1, 25) if self._values.chance(0.95) else 0}

    # --- batches ---------------------------------------------------------------------------------------------------

    def writes(self, table: Table) -> Parameters:
        """Up to three batches of writes, some of them to one item, some to tables that do not exist."""
        values, many = self._values, self._many(60)
        elements = []
        for _ in range(many):
            one = values.one_of([table, *TABLES])
            key = {attribute.name: values.key(attribute, of=12) for attribute in one.primary.keys}
            write: Parameters = {"DeleteRequest": {"Key": key}}
            if values.chance(0.7):
                write = {"PutRequest": {"Item": {**values.item(one), **key}}}
            elements.append((self._name(one), write))
        return {"elements": elements, "in_order": values.chance(0.5), "messages": values.rng.randint(1, 3)}

    def gets(self, table: Table) -> Parameters:
        values, many = self._values, self._many(130)
        elements: list[tuple[str, Item]] = []
        for _ in range(many):
            one = values.one_of([table, *TABLES])
            key = {attribute.name: values.key(attribute, of=12) for attribute in one.primary.keys}
            elements.append((self._name(one), key))
        ways = {one.name: self._way(one) for one in TABLES if values.chance(0.4)}
        return {
            "elements": elements,
            "tables": ways,
            "in_order": values.chance(0.5),
            "messages": values.rng.randint(1, 3),
        }

    def _many(self, most: int) -> int:
        return self._values.rng.randint(1, most if self._values.chance(0.2) else 12)

    def _name(self, table: Table) -> str:
        return table.name if self._values.chance(0.99) else _NOWHERE

    def _way(self, table: Table) -> Parameters:
        """How one table is read. A projection is mostly good, and names keys or does not."""
        members: Parameters = {"ConsistentRead": True} if self._values.chance(0.5) else {}
        if self._values.chance(0.6):
            expressions = Expressions(self._values, table)
            members["ProjectionExpression"] = expressions.projection()
            members |= expressions.placeholders()
            if self._values.chance(0.1):
                members["ProjectionExpression"] += self._values.one_of([",", " n", "[", ", #nowhere", ", n" * 1400])
        return members
