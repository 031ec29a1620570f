"""What `awsidecar serve --embedded` prints when it serves: addresses, and lines to paste that work as they stand."""

from __future__ import annotations

import sys

from awsidecar_server.embedded.aws import EmbeddedAws
from awsidecar_server.embedded.tokens import curl_command


def banner(embedded: EmbeddedAws, grpc: str, admin: str) -> str:
    """The text, for the addresses at which this sidecar serves."""
    people = "\n".join(
        f"    {person.username}  {person.password}  ({person.organisation})" for person in embedded.people
    )
    first = embedded.people[0]
    curl = curl_command(embedded.endpoint_url, embedded.client_id, first.username, first.password)
    get_item = "awsidecar.dynamodb.v1.DynamoDbService/GetItem"
    data = """'{"TableName":"users","Key":{"id":{"S":"user-123"}}}'"""
    return f"""
  AWSidecar serves gRPC on {grpc}
  metrics and probes       http://{admin}/metrics  /livez  /readyz
  embedded AWS             {embedded.endpoint_url}

  Without a session (signed as the service account):
    grpcurl -plaintext -d {data} {grpc} {get_item}

  With the session of a user, who is one of
{people}
    TOKEN=$({curl})
    grpcurl -plaintext -H "authorization: Bearer $TOKEN" -d {data} {grpc} {get_item}

  In Python:
    {sys.executable} -c 'import awsidecar; print(awsidecar.connect("{grpc}").dynamodb.get_item(TableName="users", Key={{"id": "user-123"}}))'

  Press Ctrl-C to stop.
"""
