"""The members that DynamoDB had before it had expressions.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/LegacyConditionalParameters.html
"""

from __future__ import annotations

from typing import Any

from tests.differential.schema import ATTRIBUTES, Index, Table
from tests.differential.values import Values

_WITHOUT_VALUE = ("NULL", "NOT_NULL")
_WITH_ONE = ("EQ", "NE", "LE", "LT", "GE", "GT", "BEGINS_WITH", "CONTAINS", "NOT_CONTAINS")
_ON_KEYS = ("EQ", "LE", "LT", "GE", "GT", "BEGINS_WITH", "BETWEEN")


class Legacy:
    """Makes the legacy members of requests."""

    def __init__(self, values: Values, table: Table) -> None:
        self._values = values
        self._table = table

    def attributes_to_get(self) -> list[str]:
        known = [*ATTRIBUTES, *(key.name for key in self._table.primary.keys), "absent"]
        names = self._values.rng.sample(known, self._values.rng.randint(1, 4))
        return [*names, names[0]] if self._values.chance(0.05) else names

    def expected(self) -> dict[str, Any]:
        chance = self._values.chance
        conditions: dict[str, Any] = {}
        for name in self._names():
            value = self._values.of(ATTRIBUTES[name])
            if chance(0.5):
                conditions[name] = self.condition(ATTRIBUTES[name])
            elif chance(0.5):
                conditions[name] = {"Exists": False} if chance(0.9) else {"Exists": True}
            else:
                conditions[name] = {"Value": value, **({"Exists": chance(0.9)} if chance(0.5) else {})}
        return {"Expected": conditions, **self._operator(len(conditions))}

    def filter(self, member: str) -> dict[str, Any]:
        conditions = {name: self.condition(ATTRIBUTES[name]) for name in self._names()}
        return {member: conditions, **self._operator(len(conditions))}

    def key_conditions(self, index: Index) -> dict[str, Any]:
        values, hash_key = self._values, index.hash_key
        operator = "EQ" if values.chance(0.97) else values.one_of(_ON_KEYS)
        found = {
            hash_key.name: {"AttributeValueList": [values.key(hash_key, of=3)], "ComparisonOperator": operator}
        }
        if index.range_key is not None and values.chance(0.6):
            operator = values.one_of(_ON_KEYS) if values.chance(0.97) else "NE"
            many = 2 if operator == "BETWEEN" else 1
            found[index.range_key.name] = {
                "AttributeValueList": [values.key(index.range_key) for _ in range(many)],
                "ComparisonOperator": operator,
            }
        return {"KeyConditions": found}

    def updates(self) -> dict[str, Any]:
        one_of, chance = self._values.one_of, self._values.chance
        updates: dict[str, Any] = {}
        for name in self._names():
            update: dict[str, Any] = {}
            if chance(0.9):
                update["Action"] = one_of(["PUT", "ADD", "DELETE"]) if chance(0.97) else "REPLACE"
            if update.get("Action") != "DELETE" or chance(0.5):
                update["Value"] = self._values.of(ATTRIBUTES[name])
            updates[name] = update
        return {"AttributeUpdates": updates}

    def condition(self, kind: str) -> dict[str, Any]:
        values = self._values
        operator = values.one_of([*_WITHOUT_VALUE, *_WITH_ONE, "BETWEEN", "IN"]) if values.chance(0.97) else "LIKE"
        many = 0 if operator in _WITHOUT_VALUE else 1 if operator in _WITH_ONE else 2
        if values.chance(0.03):
            many += 1
        held = [values.of(kind) for _ in range(many)]
        return {"ComparisonOperator": operator, **({"AttributeValueList": held} if held else {})}

    def _names(self) -> list[str]:
        return self._values.rng.sample(sorted(ATTRIBUTES), self._values.one_of([1, 1, 2, 3]))

    def _operator(self, conditions: int) -> dict[str, Any]:
        if self._values.chance(0.5 if conditions > 1 else 0.02):
            return {"ConditionalOperator": self._values.one_of(["AND", "OR"])}
        return {}
