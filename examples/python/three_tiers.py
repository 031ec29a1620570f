"""The three tiers of credentials: the session's own, Cognito's, and the service account's."""

import os

import awsidecar

with awsidecar.connect() as client:
    # Tier 3: no session is stated, so the sidecar signs as its service account.
    client.dynamodb.get_item(TableName="users", Key={"id": "user-123"})
    print("service account:", client.credentials.who_am_i().tier)

    # Tier 2: an ID token is exchanged for credentials of the user's role in the identity pool.
    id_token = os.environ.get("AWSIDECAR_ID_TOKEN")
    if id_token:
        with client.open_session(id_token=id_token) as user:
            user.dynamodb.get_item(TableName="users", Key={"id": "user-123"})
            print("ID token:", user.credentials.who_am_i().tier)

            # Tier 1: a session with AWS credentials of its own; here those that the user's tier has.
            credentials = user.credentials.get_credentials()
        with client.open_session(aws_credentials=credentials) as session:
            session.dynamodb.get_item(TableName="users", Key={"id": "user-123"})
            print("AWS credentials:", session.credentials.who_am_i().tier)
