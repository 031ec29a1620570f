"""Attribute values, good and bad, as the AWS SDK for Python takes them: `{"N": "1"}`, with binary as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, TypeVar

from tests.differential.schema import ATTRIBUTES, Index, KeyAttribute, Table

Value = dict[str, Any]
Item = dict[str, Value]
T = TypeVar("T")

KINDS = ("S", "N", "B", "BOOL", "NULL", "L", "M", "SS", "NS", "BS")
# The largest item, in bytes: names and values together.
MOST_BYTES = 400 * 1024

_TEXTS = (
    "",
    "a",
    "ab",
    "abc",
    "b",
    "B",
    "z",
    "naïve",
    "☃",
    "𝄞 clef",
    "line\nbreak",
    'quote"\\',
    "\u0000",
    "0",
    "b" * 1200,
)
_NUMBERS = (
    *(
        "0",
        "1",
        "2",
        "3",
        "-1",
        "10",
        "0.5",
        "-0.1",
        "3.14",
        "1000",
        "1E3",
        "1000.0",
        "1e-3",
        "0.0010",
        "-0",
        "+7",
        "007",
    ),
    "12345678901234567890123456789012345678",
    "-1.2345678901234567890123456789012345678",
    "0.00000000000000000000000000000000000001",
    "9.9999999999999999999999999999999999999E+125",
    "-9.9999999999999999999999999999999999999E+125",
    "1E-130",
    "-1E-130",
    "1E125",
)
_BAD_NUMBERS = (
    "123456789012345678901234567890123456789",
    "1E126",
    "-1E126",
    "1E-131",
    *(
        "",
        " ",
        "abc",
        "NaN",
        "Infinity",
        "-Infinity",
        "0x10",
        "1_000",
        "1,5",
        "1e",
        "--1",
        " 1",
        "1 ",
        "٣",
        "1E999999999",
    ),
)
_BINARIES = (b"", b"\x00", b"a", b"ab", b"\xff\xfe", "☃".encode(), bytes(range(256)))


class Values:
    """Makes values of one seed. `mischief` is the probability of a bad one, for each value made."""

    def __init__(self, rng: Random, mischief: float = 0.007) -> None:
        self.rng = rng
        self.mischief = mischief

    def one_of(self, choices: Sequence[T]) -> T:
        return self.rng.choice(choices)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def of(self, kind: str, depth: int = 0) -> Value:
        """A value of this kind; now and then one that DynamoDB refuses."""
        if self.chance(self.mischief):
            return self._bad(kind)
        if kind in {"L", "M"}:
            return {kind: self._nested(kind, depth)}
        if kind in {"SS", "NS", "BS"}:
            return {kind: self._set(kind)}
        return {kind: self._scalar(kind)}

    def any(self, depth: int = 0) -> Value:
        return self.of(self.one_of(KINDS[:5] if depth > 3 else KINDS), depth)

    def number(self) -> Value:
        """A small one, that takes part in arithmetic."""
        return {"N": str(self.rng.randint(-5, 5))}

    def key(self, attribute: KeyAttribute, *, of: int = 6) -> Value:
        """A key of a few, so that requests meet."""
        if self.chance(self.mischief):
            return self.one_of(
                [{"S": ""}, {"N": "1E3"}, {"B": b""}, {"BOOL": True}, {}, self.any(), {"S": "k" * 2049}]
            )
        number = self.rng.randrange(of)
        if attribute.kind == "S":
            return {"S": f"k{number}" if number else "ключ"}
        return {"N": str(number)} if attribute.kind == "N" else {"B": bytes([number])}

    def primary_key(self, index: Index) -> Item:
        return {key.name: self.key(key) for key in index.keys}

    def item(self, table: Table) -> Item:
        item = self.primary_key(table.primary)
        for name in self.rng.sample(sorted(ATTRIBUTES), self.rng.randint(0, 9)):
            item.setdefault(name, self._attribute(table, name))
        if self.chance(0.004):
            item["text"] = {"S": "x" * (MOST_BYTES - size_of(item) - 4 + self.rng.randint(-6, 2))}
        return item

    def _attribute(self, table: Table, name: str) -> Value:
        for index in table.indexes:
            for key in index.keys:
                if key.name == name:
                    return self.key(key, of=3)
        return self.of(ATTRIBUTES[name]) if self.chance(0.9) else self.any()

    def _scalar(self, kind: str) -> Any:
        if kind == "S":
            return self.one_of(_TEXTS)
        if kind == "N":
            return self.one_of(_NUMBERS) if self.chance(0.7) else str(self.rng.randint(-1000, 1000))
        if kind == "B":
            return self.one_of(_BINARIES)
        return self.chance(0.5) if kind == "BOOL" else True

    def _nested(self, kind: str, depth: int) -> Any:
        many = range(self.rng.randint(0, 4))
        if kind == "L":
            return [self.any(depth + 1) for _ in many]
        if self.chance(self.mischief):
            names = self.rng.sample(["a", "b", "c", "d.e", "☃", "name", ""], 3)
        else:
            # Those of plain JSON's own, too, where they are a name like others.
            names = self.rng.sample(["$N", "$SS", "$ref", "a"] if self.chance(0.1) else ["a", "b", "c"], 3)
        return {name: self.any(depth + 1) for name in names[: len(many)]}

    def _set(self, kind: str) -> list[Any]:
        pool: Sequence[Any] = {
            "SS": _TEXTS[1:],
            "NS": ("0", "1", "2", "-3", "0.5", _NUMBERS[17]),
            "BS": _BINARIES[1:],
        }[kind]
        return self.rng.sample(pool, self.rng.randint(1, 4))

    def _bad(self, kind: str) -> Value:
        wrong: list[Value] = [
            {},
            {"NULL": False},
            {"SS": []},
            {"NS": []},
            {"BS": []},
            {"SS": ["a", "a"]},
            {"NS": ["1", "1.0"]},
            {"BS": [b"a", b"a"]},
            {"NS": ["x"]},
            {"SS": [""]},
            {"BS": [b""]},
            {"L": [{}]},
            {"M": {"a": {}}},
            {"L": [{"N": "one"}]},
            deep(33),
            deep(31),
        ]
        return {"N": self.one_of(_BAD_NUMBERS)} if kind == "N" or self.chance(0.4) else self.one_of(wrong)


def deep(levels: int) -> Value:
    """Lists in lists; DynamoDB takes 32 levels."""
    value: Value = {"S": "bottom"}
    for _ in range(levels):
        value = {"L": [value]}
    return value


def size_of(item: Item) -> int:
    """About what DynamoDB counts for an item; exact for what has no numbers in it."""
    return sum(len(name.encode()) + _size(value) for name, value in item.items())


def _size(value: Value) -> int:
    return sum(_size_of_one(kind, held) for kind, held in value.items())


def _size_of_one(kind: str, held: Any) -> int:
    if kind == "S":
        return len(held.encode())
    if kind == "N":
        return 2
    if kind == "B":
        return len(held)
    if kind == "L":
        return 3 + sum(1 + _size(one) for one in held)
    if kind == "M":
        return 3 + sum(1 + len(name.encode()) + _size(one) for name, one in held.items())
    return sum(_size_of_one(kind[0], one) for one in held) if kind in {"SS", "NS", "BS"} else 1
