"""A client for the application itself, and one for each user, on one connection."""

import os

import awsidecar

# The sidecar is at AWSIDECAR_TARGET, else at 127.0.0.1:50051. It knows the region, the user pool and the keys.
with awsidecar.connect() as client:
    tables = client.dynamodb.list_tables()["TableNames"]
    print("the application sees", ", ".join(tables))

    # The user's session: the ID token that Cognito gave the user.
    id_token = os.environ.get("AWSIDECAR_ID_TOKEN")
    if id_token:
        user = client.with_token(id_token)
        print("the user's tier is", user.credentials.who_am_i().tier)
