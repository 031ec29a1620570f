"""Values of key attributes, in a form that is equal where DynamoDB takes them for the same key."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from decimal import MAX_EMAX, MIN_EMIN, Context, Inexact, InvalidOperation

from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue

Attributes = Mapping[str, AttributeValue]
# Names and values of attributes, in the order of their names.
KeyValues = tuple[tuple[str, Hashable], ...]

# Numbers of more digits are none to DynamoDB (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html#HowItWorks.DataTypes.Number),
# and a request may have millions of them, which would keep all callers waiting.
_NUMBERS = Context(prec=38, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[InvalidOperation, Inexact])


def scalars(attributes: Attributes) -> KeyValues:
    """Those attributes that could be of a key: text, numbers and binary."""
    found = ((name, _scalar(attributes[name])) for name in sorted(attributes))
    return tuple((name, value) for name, value in found if value is not None)


def key_of(attributes: Attributes, names: Collection[str]) -> KeyValues | None:
    """The key attributes; None when one of them is missing, or is of no type that a key may have."""
    found = scalars({name: attributes[name] for name in names if name in attributes})
    return found if len(found) == len(names) else None


def same_items(attributes: Attributes) -> Hashable:
    """A value that is equal for two items with the same attributes, whatever the order in their sets."""
    return frozenset((name, _any(value)) for name, value in attributes.items())


def number(text: str) -> str:
    """A number as DynamoDB compares it: `1`, `1.0` and `10E-1` are the same. What is none stays as it is."""
    try:
        sign, digits, exponent = _NUMBERS.create_decimal(text).as_tuple()
    except (InvalidOperation, Inexact):
        return text
    if not isinstance(exponent, int):  # NaN and infinity, which are no numbers to DynamoDB
        return text
    written = "".join(map(str, digits))
    significant = written.rstrip("0")
    if not significant:
        return "0"
    return f"{'-' if sign else ''}{significant}E{exponent + len(written) - len(significant)}"


def _scalar(value: AttributeValue) -> Hashable | None:
    kind = value.WhichOneof("value")
    if kind == "n":
        return kind, number(value.n)
    return (kind, getattr(value, kind)) if kind in {"s", "b"} else None


def _any(value: AttributeValue) -> Hashable:
    kind = value.WhichOneof("value")
    if kind == "m":
        return kind, same_items(value.m.entries)
    if kind == "l":
        return kind, tuple(map(_any, value.l.values))
    if kind == "ns":
        return kind, frozenset(map(number, value.ns.values))
    if kind in {"ss", "bs"}:
        return kind, frozenset(getattr(value, kind).values)
    return (kind, value.bool) if kind == "bool" else (kind, _scalar(value))
