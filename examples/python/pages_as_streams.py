"""Streams of pages: read ahead by the sidecar, limited in all, and resumed where they stopped."""

import awsidecar

with awsidecar.connect() as client:
    members = client.dynamodb.query_stream(
        TableName="users",
        IndexName="orgId-index",
        KeyConditionExpression="orgId = :org",
        ExpressionAttributeValues={":org": "org-123"},
        limit_items=2,
    )
    print(len(list(members.items())), "members of org-123, at most 2")

    # Four parts of the table side by side; stopped after the first page, as a process would be that ends.
    scan = client.dynamodb.scan_stream(TableName="users", Limit=1, segments=4)
    seen = 0
    for page in scan:
        seen += page["Count"]
        break
    positions = scan.positions

    rest = client.dynamodb.scan_stream(TableName="users", Limit=1, segments=4, positions=positions)
    seen += sum(page["Count"] for page in rest)
    everyone = client.dynamodb.scan(TableName="users", Select="COUNT")["Count"]
    print("as many users as there are:", seen == everyone)
