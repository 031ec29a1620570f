"""PartiQL statements for DynamoDB, with their parameters.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-reference.html
"""

from __future__ import annotations

from typing import Any

from tests.differential.schema import ORDERS, TABLES, Index, Table
from tests.differential.values import Item, Value, Values

_WRONG = (
    "",
    "SELECT",
    "SELECT * FROM",
    "SELECT * FROM nowhere",
    'SELECT * FROM "nowhere" WHERE id = 1',
    'DROP TABLE "fidelity-orders"',
    'SELECT * FROM "fidelity-orders" WHERE "order" = ?',
    'SELECT * FROM "fidelity-orders" WHERE "order" = \'k1',
    'SELECT COUNT(*) FROM "fidelity-orders"',
    'SELECT * FROM "fidelity-orders"; SELECT * FROM "fidelity-orders"',
    'UPDATE "fidelity-orders" SET n=1 WHERE "order"=\'k1\'',
    'DELETE FROM "fidelity-orders"',
    "INSERT INTO \"fidelity-orders\" VALUE {'order': 'k1'}",
    "☃",
)


class Statements:
    """Makes statements, each with the parameters that it names."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def any(self) -> dict[str, Any]:
        """A statement of any kind, alone in its request."""
        return self._any(reads=self._values.chance(0.5))

    def several(self) -> list[dict[str, Any]]:
        """What a batch or a transaction takes: all read, or all write, one item each, none of them twice."""
        values = self._values
        reads, is_mixed = values.chance(0.5), values.chance(0.1)
        found: list[dict[str, Any]] = []
        for _ in range(values.rng.randint(1, 4)):
            if values.chance(0.1):
                found.append(self._any(reads=values.chance(0.5) if is_mixed else reads))
            else:
                found.append(self._of_one_item(reads=values.chance(0.5) if is_mixed else reads))
        return found

    def _of_one_item(self, *, reads: bool) -> dict[str, Any]:
        values = self._values
        table = values.one_of(TABLES)
        key = {attribute.name: values.key(attribute, of=30) for attribute in table.primary.keys}
        where, keys = self._key_condition(key)
        if reads:
            return self._with(f'SELECT * FROM "{table.name}"{where}', keys)
        if values.chance(0.5):
            item = {**values.item(table), **key}
            entries = ", ".join(f"'{name}': ?" for name in item)
            return self._with(f'INSERT INTO "{table.name}" VALUE {{{entries}}}', list(item.values()))
        if values.chance(0.5):
            return self._with(f'UPDATE "{table.name}" SET n = ?{where}', [values.of("N"), *keys])
        return self._with(f'DELETE FROM "{table.name}"{where}', keys)

    def _any(self, *, reads: bool) -> dict[str, Any]:
        values = self._values
        if values.chance(0.05):
            return {"Statement": values.one_of(_WRONG)}
        table = values.one_of([ORDERS, ORDERS, *TABLES])
        if reads:
            return self.select(table)
        return values.one_of([self._insert, self._update, self._delete])(table)

    def select(self, table: Table) -> dict[str, Any]:
        values = self._values
        index: Index = values.one_of([table.primary, *table.indexes]) if values.chance(0.4) else table.primary
        source = f'"{table.name}"' + (f'."{index.name}"' if index.name else "")
        columns = values.one_of(["*", "*", "n, text", "m.a, l[0]", '"with.dot", words', "begins_with(text, 'a')"])
        parameters: list[Value] = []
        condition = values.one_of(["", "key", "key", "hash", "filter"])
        where = ""
        if condition in {"key", "hash"}:
            keys = index.keys if condition == "key" else index.keys[:1]
            parameters = [values.key(key) for key in keys]
            where = " WHERE " + " AND ".join(f'"{key.name}" = ?' for key in keys)
        elif condition == "filter":
            parameters = [values.of("N")]
            where = " WHERE n > ? OR attribute_type(text, 'S') OR l IS MISSING"
        if where and values.chance(0.2):
            where += " AND contains(text, 'a')"
        if condition != "filter" and where and values.chance(0.3) and index.range_key:
            where += f' ORDER BY "{index.range_key.name}" {values.one_of(["ASC", "DESC"])}'
        return self._with(f"SELECT {columns} FROM {source}{where}", parameters)

    def _insert(self, table: Table) -> dict[str, Any]:
        item = self._values.item(table)
        entries = ", ".join(f"'{name}': ?" for name in item)
        return self._with(f'INSERT INTO "{table.name}" VALUE {{{entries}}}', list(item.values()))

    def _update(self, table: Table) -> dict[str, Any]:
        values, key = self._values, self._values.primary_key(table.primary)
        change, parameters = values.one_of(
            [
                ("SET n = ?", [values.of("N")]),
                ("SET n = n + 1", []),
                ("SET text = ? REMOVE l", [values.of("S")]),
                ("SET m.a = ?", [values.any()]),
                ("SET l = list_append(l, ?)", [values.of("L")]),
                ("REMOVE words", []),
                ("SET words = set_add(words, <<'new'>>)", []),
                ("SET flag = true SET data = ?", [values.of("B")]),
            ]
        )
        where, keys = self._key_condition(key)
        returning = values.one_of(["", "", " RETURNING ALL NEW *", " RETURNING MODIFIED OLD *", " RETURNING ALL *"])
        return self._with(f'UPDATE "{table.name}" {change}{where}{returning}', [*parameters, *keys])

    def _delete(self, table: Table) -> dict[str, Any]:
        where, keys = self._key_condition(self._values.primary_key(table.primary))
        condition = " AND attribute_exists(n)" if self._values.chance(0.3) else ""
        returning = " RETURNING ALL OLD *" if self._values.chance(0.3) else ""
        return self._with(f'DELETE FROM "{table.name}"{where}{condition}{returning}', keys)

    def _key_condition(self, key: Item) -> tuple[str, list[Value]]:
        return " WHERE " + " AND ".join(f'"{name}" = ?' for name in key), list(key.values())

    def _with(self, statement: str, parameters: list[Value]) -> dict[str, Any]:
        if self._values.chance(0.03):
            parameters = parameters[:-1] if self._values.chance(0.5) else [*parameters, {"N": "1"}]
        return {"Statement": statement, **({"Parameters": parameters} if parameters else {})}
