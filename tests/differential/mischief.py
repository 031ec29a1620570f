"""What makes a good request a bad one: one change in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.differential.values import Values

Parameters = dict[str, Any]

_SYNTAX = (
    "",
    " ",
    "=",
    "a =",
    "SET",
    "SET SET n = :v0",
    "n = :v0 AND",
    "(n = :v0",
    "n = :v0)",
    "a..b",
    "l[-1]",
    "l[x]",
)
_LONG = 4097
_WORDS = ("ReturnValues", "ReturnConsumedCapacity", "ReturnItemCollectionMetrics", "Select", "ConditionalOperator")
_TABLES = (
    "nowhere",
    "ab",
    "",
    "x" * 256,
    "name with spaces",
    "arn:aws:dynamodb:us-east-1:000000000000:table/nowhere",
)


def spoilt(parameters: Parameters, operation: str, values: Values) -> None:
    """Changes the parameters in place; mostly such that DynamoDB must refuse them."""
    holders = list(_structures(parameters))
    values.one_of(_WAYS)(values.one_of(holders), values)


def _structures(value: Any) -> Iterator[Parameters]:
    """The request, and what in it has members of its own: an action of a transaction, a table's part of a batch."""
    yield value
    nested = [*value.get("TransactItems", ()), *value.get("Statements", ()), *value.get("TransactStatements", ())]
    for action in nested:
        yield action
        yield from (one for one in action.values() if isinstance(one, dict))
    for part in value.get("RequestItems", {}).values():
        if isinstance(part, dict):
            yield part
        else:
            yield from part


def _drop_a_member(holder: Parameters, values: Values) -> None:
    # Without the first, botocore finds no endpoint and sends nothing; without the second, emulators do not check.
    members = sorted(holder.keys() - {"RequestItems", "Statement"})
    if members:
        del holder[values.one_of(members)]


def _unused_placeholder(holder: Parameters, values: Values) -> None:
    member, name, held = values.one_of(
        [("ExpressionAttributeNames", "#unused", "n"), ("ExpressionAttributeValues", ":unused", {"N": "1"})]
    )
    holder[member] = {**holder.get(member, {}), name: held}


def _undefined_placeholder(holder: Parameters, values: Values) -> None:
    for member in ("ExpressionAttributeValues", "ExpressionAttributeNames"):
        if holder.get(member):
            del holder[member][values.one_of(sorted(holder[member]))]
            return


def _odd_placeholder(holder: Parameters, values: Values) -> None:
    member, odd, held = values.one_of(
        [
            ("ExpressionAttributeNames", "n0", "n"),
            ("ExpressionAttributeNames", "#", "n"),
            ("ExpressionAttributeNames", "#a.b", "n"),
            ("ExpressionAttributeNames", "#n0", ""),
            ("ExpressionAttributeValues", "v0", {"N": "1"}),
            ("ExpressionAttributeValues", ":", {"N": "1"}),
            ("ExpressionAttributeValues", ":☃", {"N": "1"}),
        ]
    )
    holder[member] = {**holder.get(member, {}), odd: held}


def _bad_syntax(holder: Parameters, values: Values) -> None:
    expressions = sorted(name for name in holder if name.endswith("Expression")) or ["ProjectionExpression"]
    name = values.one_of(expressions)
    text = holder.get(name, "n")
    place = values.rng.randrange(len(text) + 1)
    holder[name] = values.one_of(
        [
            *_SYNTAX,
            text[:place] + text[place + 1 :],
            text[:place] + values.one_of("()#:,.[]=<☃") + text[place:],
            "n" * _LONG,
        ]
    )


def _bad_word(holder: Parameters, values: Values) -> None:
    words = [name for name in _WORDS if name in holder] or ["ReturnConsumedCapacity"]
    holder[values.one_of(words)] = values.one_of(["", "SOME", "all_new", "ALL_OLD", "NONE", "COUNT"])


def _bad_number(holder: Parameters, values: Values) -> None:
    member = values.one_of(["Limit", "Segment", "TotalSegments"])
    holder[member] = values.one_of([0, -1, 5, 1_000_001, 2**31 - 1, -(2**31)])


def _bad_table(holder: Parameters, values: Values) -> None:
    if "RequestItems" in holder:
        holder["RequestItems"][values.one_of(_TABLES)] = values.one_of(list(holder["RequestItems"].values()))
    else:
        holder["TableName"] = values.one_of(_TABLES)


def _bad_index(holder: Parameters, values: Values) -> None:
    holder["IndexName"] = values.one_of(["nowhere", "", "ab", "by-owner", "by kind"])


def _bad_key(holder: Parameters, values: Values) -> None:
    for member in ("Key", "Item", "ExclusiveStartKey"):
        key = holder.get(member)
        if not key:
            continue
        way = values.one_of(["drop", "add", "kind", "empty"])
        name = values.one_of(sorted(key))
        if way == "drop":
            del key[name]
        elif way == "add":
            key[values.one_of(["more", "", "n" * 256])] = values.any()
        elif way == "kind":
            key[name] = values.any()
        else:
            holder[member] = {}
        return


def _mixed_with_legacy(holder: Parameters, values: Values) -> None:
    member, held = values.one_of(
        [
            ("AttributesToGet", ["n"]),
            ("Expected", {"n": {"Exists": False}}),
            ("ConditionalOperator", "AND"),
            ("ScanFilter", {"n": {"ComparisonOperator": "NULL"}}),
            ("QueryFilter", {"n": {"ComparisonOperator": "NULL"}}),
            ("AttributeUpdates", {"n": {"Action": "DELETE"}}),
        ]
    )
    holder[member] = held


def _two_at_once(holder: Parameters, values: Values) -> None:
    """A second action beside the one in an action of a transaction or batch."""
    holder[values.one_of(["Delete", "DeleteRequest", "Put"])] = {
        "TableName": "fidelity_blobs",
        "Key": {"id": {"B": b"1"}},
    }


def _empty(holder: Parameters, values: Values) -> None:
    for name in sorted(holder):
        if isinstance(holder[name], list | dict):
            holder[name] = type(holder[name])()
            return


_WAYS: tuple[Callable[[Parameters, Values], None], ...] = (
    _drop_a_member,
    _drop_a_member,
    _unused_placeholder,
    _undefined_placeholder,
    _undefined_placeholder,
    _odd_placeholder,
    _bad_syntax,
    _bad_syntax,
    _bad_syntax,
    _bad_word,
    _bad_number,
    _bad_table,
    _bad_index,
    _bad_key,
    _bad_key,
    _mixed_with_legacy,
    _two_at_once,
    _empty,
)
