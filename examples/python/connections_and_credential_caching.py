"""One connection for all sessions; the sidecar keeps the AWS clients and the credentials behind it."""

import os

import awsidecar

id_token = os.environ.get("AWSIDECAR_ID_TOKEN")

with awsidecar.connect() as client:
    # Both clients use the same connection, and behind it the same pooled AWS client.
    client1 = client.with_token(id_token) if id_token else client
    client2 = client.with_token(id_token) if id_token else client
    client1.dynamodb.get_item(TableName="users", Key={"id": "user-123"})
    client2.dynamodb.get_item(TableName="users", Key={"id": "user-123"})

    # The sidecar hands out credentials only where its configuration allows it.
    try:
        first = client1.credentials.get_credentials()
        again = client2.credentials.get_credentials()
    except awsidecar.errors.PermissionDenied as error:
        print("not handed out:", error)
    else:
        print("the same credentials until they expire:", first == again, first.expiration)
