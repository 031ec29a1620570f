"""Expressions of all kinds, with the placeholders that they use; now and then wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.differential.schema import ATTRIBUTES, Index, KeyAttribute, Table
from tests.differential.values import KINDS, Value, Values

_COMPARATORS = ("=", "<>", "<", "<=", ">", ">=")
# Of the names here.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ReservedWords.html
_RESERVED = {"count", "data", "name", "order", "owner", "rank", "text"}
# What is hardly ever changed at random: an index is by it, and takes one kind only.
_KEYS = {"kind", "owner", "rank", "digest"}
_WRONG_TYPES = ("X", "s", "")


class Expressions:
    """The expressions of one request: their placeholders are counted together."""

    def __init__(self, values: Values, table: Table) -> None:
        self.values = values
        self._table = table
        self.names: dict[str, str] = {}
        self.held: dict[str, Value] = {}
        self._changed: set[str] = set()

    def placeholders(self) -> dict[str, Any]:
        """The members of the request that say what the placeholders stand for."""
        members: dict[str, Any] = {}
        if self.names:
            members["ExpressionAttributeNames"] = self.names
        if self.held:
            members["ExpressionAttributeValues"] = self.held
        return members

    # --- parts -----------------------------------------------------------------------------------------------------

    def name(self, name: str) -> str:
        """An attribute's name: as it is, where that is mostly allowed, or a placeholder."""
        is_plain = name.isascii() and name.isalnum() and name not in _RESERVED
        if self.values.chance(0.6 if is_plain else 0.01):
            return name
        placeholder = f"#n{len(self.names)}"
        self.names[placeholder] = name
        return placeholder

    def value(self, value: Value) -> str:
        placeholder = f":v{len(self.held)}"
        self.held[placeholder] = value
        return placeholder

    def path(self, kind: str | None = None, *, changed: bool = False) -> str:
        """A document path; to what mostly is of this kind, where one is given.

        What is changed is mostly no key, and not changed twice.
        """
        one_of, chance = self.values.one_of, self.values.chance
        known = [name for name, found in ATTRIBUTES.items() if kind in {None, found}] or ["n"]
        if changed and chance(0.95):
            known = [name for name in ATTRIBUTES if name not in _KEYS | self._changed and name in known] or [
                "absent"
            ]
        name = (
            one_of(known) if chance(0.97) else one_of(["absent", *(key.name for key in self._table.primary.keys)])
        )
        if changed:
            self._changed.add(name)
        steps = [self.name(name)]
        while chance(0.15 if ATTRIBUTES.get(name) in {"L", "M"} or len(steps) > 1 else 0.03):
            steps.append(
                f"[{self.values.rng.randint(0, 3)}]"
                if chance(0.5)
                else "." + self.name(one_of(["a", "b", "c", "☃"]))
            )
        return "".join(steps)

    def operand(self, kind: str) -> str:
        chance = self.values.chance
        if chance(0.1):
            return self.path(kind)
        return self.value(self.values.of(kind) if chance(0.96) else self.values.any())

    # --- conditions and filters ------------------------------------------------------------------------------------

    def condition(self, depth: int = 0) -> str:
        chance = self.values.chance
        if depth < 3 and chance(0.35):
            one = self.condition(depth + 1)
            if chance(0.2):
                return f"NOT {one}" if chance(0.5) else f"NOT ({one})"
            joined = f"{one} {self.values.one_of(['AND', 'OR', 'and', 'Or'])} {self.condition(depth + 1)}"
            return f"({joined})" if chance(0.5) else joined
        return self.values.one_of(self._tests())()

    def _tests(self) -> tuple[Callable[[], str], ...]:
        return (
            self._comparison,
            self._comparison,
            self._between,
            self._in,
            self._exists,
            self._exists,
            self._type,
            self._begins_with,
            self._contains,
            self._size,
        )

    def _kind(self) -> str:
        return self.values.one_of(["N", "S", "N", "S", "B", *KINDS])

    def _comparison(self) -> str:
        kind = self._kind()
        return f"{self.path(kind)} {self.values.one_of(_COMPARATORS)} {self.operand(kind)}"

    def _between(self) -> str:
        kind = self.values.one_of("NSB")
        return f"{self.path(kind)} BETWEEN {self.operand(kind)} AND {self.operand(kind)}"

    def _in(self) -> str:
        kind = self._kind()
        many = 101 if self.values.chance(0.01) else self.values.rng.randint(1, 4)
        return f"{self.path(kind)} IN ({', '.join(self.operand(kind) for _ in range(many))})"

    def _exists(self) -> str:
        return f"{self.values.one_of(['attribute_exists', 'attribute_not_exists'])}({self.path()})"

    def _type(self) -> str:
        kind = self.values.one_of(KINDS) if self.values.chance(0.95) else self.values.one_of(_WRONG_TYPES)
        return f"attribute_type({self.path()}, {self.value({'S': kind})})"

    def _begins_with(self) -> str:
        kind = self.values.one_of("SSB")
        return f"begins_with({self.path(kind)}, {self.operand(kind)})"

    def _contains(self) -> str:
        held, kind = self.values.one_of([("S", "S"), ("SS", "S"), ("NS", "N"), ("BS", "B"), ("L", "N"), ("B", "B")])
        return f"contains({self.path(held)}, {self.operand(kind)})"

    def _size(self) -> str:
        return f"size({self.path()}) {self.values.one_of(_COMPARATORS)} {self.operand('N')}"

    # --- updates ---------------------------------------------------------------------------------------------------

    def update(self) -> str:
        chance = self.values.chance
        clauses: list[str] = []
        for word, make, probability in (
            ("SET", self._set, 0.7),
            ("REMOVE", lambda: self.path(changed=True), 0.3),
            ("ADD", self._add, 0.25),
            ("DELETE", self._delete, 0.2),
        ):
            if chance(probability):
                actions = ", ".join(make() for _ in range(self.values.one_of([1, 1, 2, 3])))
                clauses.append(f"{word if chance(0.8) else word.lower()} {actions}")
        self.values.rng.shuffle(clauses)
        return " ".join(clauses) or f"SET {self._set()}"

    def _set(self) -> str:
        one_of = self.values.one_of
        kind = one_of(["N", "N", "L", "S", "M", "SS", "BOOL"])
        target = self.path(kind, changed=True)
        if kind == "L" and self.values.chance(0.6):
            held = (
                self.path("L")
                if self.values.chance(0.4)
                else f"if_not_exists({self.path('L')}, {self.operand('L')})"
            )
            lists = [held, self.operand("L")]
            self.values.rng.shuffle(lists)
            return f"{target} = list_append({', '.join(lists)})"
        if kind == "N" and self.values.chance(0.6):
            start = (
                self.path("N")
                if self.values.chance(0.35)
                else f"if_not_exists({self.path('N')}, {self.operand('N')})"
            )
            return f"{target} = {start} {one_of('+-')} {self.value(self.values.number()) if self.values.chance(0.7) else self.operand('N')}"
        if self.values.chance(0.25):
            return f"{target} = if_not_exists({self.path(kind)}, {self.operand(kind)})"
        return f"{target} = {self.operand(kind)}"

    def _add(self) -> str:
        kind = self.values.one_of(["N", "N", "N", "SS", "NS", "BS", "N", "S"])
        return f"{self.path(kind, changed=True)} {self.operand(kind)}"

    def _delete(self) -> str:
        kind = self.values.one_of(["SS", "NS", "BS", "SS", "NS", "BS", "N"])
        return f"{self.path(kind, changed=True)} {self.operand(kind)}"

    # --- projections and keys --------------------------------------------------------------------------------------

    def projection(self) -> str:
        return ", ".join(self.path() for _ in range(self.values.rng.randint(1, 5)))

    def key_condition(self, index: Index) -> str:
        parts = [
            f"{self.name(index.hash_key.name)} {self._hash_operator()} {self.value(self.values.key(index.hash_key, of=3))}"
        ]
        if index.range_key is not None and self.values.chance(0.6):
            parts.append(self._range_condition(index.range_key))
        self.values.rng.shuffle(parts)
        return " AND ".join(parts)

    def _hash_operator(self) -> str:
        return "=" if self.values.chance(0.97) else self.values.one_of(_COMPARATORS)

    def _range_condition(self, key: KeyAttribute) -> str:
        name = self.name(key.name)
        form = self.values.one_of(["compare", "compare", "between", "begins_with"])
        if form == "between":
            return f"{name} BETWEEN {self._key(key)} AND {self._key(key)}"
        if form == "begins_with":
            return f"begins_with({name}, {self._key(key)})"
        return f"{name} {self.values.one_of(_COMPARATORS)} {self._key(key)}"

    def _key(self, key: KeyAttribute) -> str:
        return self.value(self.values.key(key))
