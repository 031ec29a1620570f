"""Errors: a missing item is no error, a missing table is one, and each has its class."""

import awsidecar
from awsidecar import errors

with awsidecar.connect() as client:
    result = client.dynamodb.get_item(TableName="users", Key={"id": "non-existent"})
    if "Item" not in result:
        print("User not found")

    try:
        client.dynamodb.get_item(TableName="no-such-table", Key={"id": "123"})
    except errors.ResourceNotFoundException as error:
        print("no such table:", error)
    except errors.AccessDeniedException as error:
        print("not allowed:", error)
    except awsidecar.SidecarError as error:
        print("something else:", error.code, error)

    try:
        client.dynamodb.put_item(
            TableName="users",
            Item={"id": "user-123"},
            ConditionExpression="attribute_not_exists(id)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except errors.ConditionalCheckFailedException as error:
        print("the user exists:", error.item)
