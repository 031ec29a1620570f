"""Queries, puts and batch writes, in plain Python values."""

import awsidecar

with awsidecar.connect() as client:
    users = client.dynamodb.query(
        TableName="users",
        IndexName="orgId-index",
        KeyConditionExpression="orgId = :orgId",
        ExpressionAttributeValues={":orgId": "org-123"},
        Limit=10,
    )
    print(users["Count"], "users of org-123 on the first page")

    client.dynamodb.put_item(
        TableName="users",
        Item={"id": "example-user-1", "email": "user1@example.com", "orgId": "org-123", "status": "active"},
    )

    user2 = {"id": "example-user-2", "email": "user2@example.com", "orgId": "org-123", "status": "active"}
    user3 = {"id": "example-user-3", "email": "user3@example.com", "orgId": "org-123", "status": "active"}
    written = client.dynamodb.batch_write_item(
        RequestItems={"users": [{"PutRequest": {"Item": user2}}, {"PutRequest": {"Item": user3}}]}
    )
    # What DynamoDB did not take is in the reply; an empty map means that everything was written.
    print("not written:", written["UnprocessedItems"])
