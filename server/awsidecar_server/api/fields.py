"""Finds the field at fault in AWS's validation messages, so that a caller need not parse English."""

from __future__ import annotations

import re
from collections.abc import Iterator

from awsidecar_server.errors import FieldViolation

# AWS lists them: Value '..' at 'requestItems.users.member' failed to satisfy constraint: Member must ..; Value ..
_CONSTRAINT = re.compile(r"at '(?P<field>[^']+)' failed to satisfy constraint: (?P<what>[^;]+)")

# What the group `field` finds is a member of the request, or the name of a key attribute.
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        r"\bInvalid (?P<field>\w+Expression)\b",
        r"\b(?P<field>ExpressionAttribute(?:Names|Values))\b",
        r"^(?P<field>\w+Expression) must not be empty",
        r"Type mismatch for (?:Index )?[Kk]ey (?P<field>[^\s:]+)",
        r"Missing the key (?P<field>\S+)",
        r"Cannot update attribute (?P<field>\S+)\. This attribute is part of the key",
        r"cannot contain an empty (?:string|binary) value\. (?:IndexName: [^,]+, Index)?Key: (?P<field>\S+)",
        r"(?P<field>Item) size (?:has|to update has) exceeded",
    )
)
# Messages that mean a member without naming it.
_PHRASES = {
    "The provided key element does not match the schema": "Key",
    "Query condition missed key schema element": "KeyConditionExpression",
    "Query key condition not supported": "KeyConditionExpression",
    "Too many items requested for the Batch": "RequestItems",
}


def violations(message: str) -> Iterator[FieldViolation]:
    """The fields that a message of AWS's ValidationException names; none when it names none."""
    constraints = list(_CONSTRAINT.finditer(message))
    for found in constraints:
        yield FieldViolation(_as_member(found["field"]), found["what"].strip())
    if constraints:
        return
    for phrase, member in _PHRASES.items():
        if phrase in message:
            yield FieldViolation(member, message)
            return
    for pattern in _PATTERNS:
        found_one = pattern.search(message)
        if found_one:
            yield FieldViolation(found_one["field"], message)
            return


def _as_member(path: str) -> str:
    """AWS writes `requestItems.users.member` for what callers know as `RequestItems.users`."""
    name = ".".join(step for step in path.split(".") if step != "member")
    return name[:1].upper() + name[1:]
