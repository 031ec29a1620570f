"""Scans, gets, queries on an index, and conditional updates."""

import awsidecar

with awsidecar.connect() as client:
    applications = client.dynamodb.scan(TableName="applications")
    print(applications["Count"], "applications")

    # All pages, one item after the other; the next page is read when it is needed.
    print(len(list(client.dynamodb.scan_items(TableName="applications", limit_items=20))), "of them, at most 20")

    reply = client.dynamodb.get_item(TableName="users", Key={"id": "user-123"})
    print("user-123 is", "there" if "Item" in reply else "not there")

    results = client.dynamodb.query(
        TableName="user-data",
        IndexName="email-index",
        KeyConditionExpression="email = :email",
        ExpressionAttributeValues={":email": "user@example.com"},
    )
    print(results["Count"], "records of user@example.com")

    updated = client.dynamodb.update_item(
        TableName="users",
        Key={"id": "user-123"},
        UpdateExpression="SET #status = :status",
        ConditionExpression="attribute_exists(id)",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":status": "active"},
        ReturnValues="UPDATED_NEW",
    )
    print("updated:", updated["Attributes"])
