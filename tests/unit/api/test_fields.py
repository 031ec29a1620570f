from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsidecar_server.api.fields import violations
from awsidecar_server.errors import FieldViolation

INVALID = "One or more parameter values were invalid: "
EMPTY_KEY = "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain "


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ('Invalid KeyConditionExpression: Syntax error; token: "=", near: "= ="', "KeyConditionExpression"),
        ("Invalid UpdateExpression: Two document paths overlap with each other", "UpdateExpression"),
        (
            "Invalid FilterExpression: An attribute value used in expression is not defined; attribute value: :x",
            "FilterExpression",
        ),
        (INVALID + "Type mismatch for key id expected: S actual: N", "id"),
        (INVALID + "Type mismatch for Index Key email Expected: S Actual: N IndexName: by-email", "email"),
        (INVALID + "Missing the key id in the item", "id"),
        (INVALID + "Cannot update attribute id. This attribute is part of the key", "id"),
        (EMPTY_KEY + "an empty string value. Key: id", "id"),
        (EMPTY_KEY + "an empty binary value. IndexName: by-email, IndexKey: email", "email"),
        ("Too many items requested for the BatchWriteItem call", "RequestItems"),
        ("The provided key element does not match the schema", "Key"),
        ("Item size has exceeded the maximum allowed size", "Item"),
        ("Item size to update has exceeded the maximum allowed size", "Item"),
        ("ExpressionAttributeValues must not be empty", "ExpressionAttributeValues"),
        (
            "ExpressionAttributeNames can only be specified when using expressions: UpdateExpression is null",
            "ExpressionAttributeNames",
        ),
        (
            "ExpressionAttributeValues contains invalid value: The parameter cannot be converted to a numeric value",
            "ExpressionAttributeValues",
        ),
        (
            "Value provided in ExpressionAttributeValues unused in expressions: keys: {:v}",
            "ExpressionAttributeValues",
        ),
        ("Query condition missed key schema element: id", "KeyConditionExpression"),
        ("Query key condition not supported", "KeyConditionExpression"),
    ],
)
def test_field_of_a_message_is_found(message: str, field: str) -> None:
    assert list(violations(message)) == [FieldViolation(field, message)]


def test_constraint_names_its_member_and_what_it_asks_for() -> None:
    message = (
        "1 validation error detected: Value '{users=[com.amazonaws.dynamodb.v20120810.WriteRequest@1]}' at "
        "'requestItems.users.member' failed to satisfy constraint: Member must have length less than or equal to 25"
    )
    assert list(violations(message)) == [
        FieldViolation("RequestItems.users", "Member must have length less than or equal to 25")
    ]


def test_every_constraint_is_named() -> None:
    message = (
        "2 validation errors detected: Value '' at 'tableName' failed to satisfy constraint: Member must have length "
        "greater than or equal to 1; Value 'X' at 'returnConsumedCapacity' failed to satisfy constraint: Member must "
        "satisfy enum value set: [INDEXES, TOTAL, NONE]"
    )
    assert list(violations(message)) == [
        FieldViolation("TableName", "Member must have length greater than or equal to 1"),
        FieldViolation("ReturnConsumedCapacity", "Member must satisfy enum value set: [INDEXES, TOTAL, NONE]"),
    ]


@pytest.mark.parametrize("message", ["", "Transaction request cannot include multiple operations on one item"])
def test_message_that_names_nothing_gives_nothing(message: str) -> None:
    assert list(violations(message)) == []


@given(st.text(max_size=300))
def test_no_message_is_too_strange(message: str) -> None:
    assert all(one.field for one in violations(message))
