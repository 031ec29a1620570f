"""Calls of AWS's JSON protocol, and what is known of them before they are sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from awsidecar_server.aws.progress import Progress


class JsonService(NamedTuple):
    """How a service is spoken to (`targetPrefix` and `jsonVersion` of its service model)."""

    target_prefix: str
    content_type: str


JSON_SERVICES: Mapping[str, JsonService] = {
    "dynamodb": JsonService("DynamoDB_20120810", "application/x-amz-json-1.0"),
    "dynamodbstreams": JsonService("DynamoDBStreams_20120810", "application/x-amz-json-1.0"),
    "cognito-identity": JsonService("AWSCognitoIdentityService", "application/x-amz-json-1.1"),
}

# The member that makes a repetition known as one, where the service model marks one (`idempotencyToken`).
TOKENS: Mapping[str, str] = {
    "ExecuteTransaction": "ClientRequestToken",
    "ExportTableToPointInTime": "ClientToken",
    "ImportTable": "ClientToken",
    "StartBulkPutItems": "ClientToken",
    "TransactWriteItems": "ClientRequestToken",
}


@dataclass(frozen=True, slots=True)
class JsonCall:
    """One call: what is sent, and the members in it for whoever must know what it is about."""

    service: str
    operation: str
    body: bytes = field(repr=False)
    members: Mapping[str, Any] = field(repr=False)
    region: str
    # On the event loop's clock. None: the caller set no deadline.
    deadline: float | None = None
    progress: Progress = field(default_factory=Progress, compare=False)
    # How often it is tried in all when it is in another transaction's way; 0: once, as AWS's SDKs do.
    conflict_attempts: int = 0


@dataclass(frozen=True, slots=True)
class JsonReply:
    """A successful answer, as AWS sent it."""

    body: bytes = field(repr=False)
    request_id: str
    attempts: int


# Members that say what a call is about (`contextParam` of the service model), the most frequent first.
_RESOURCE_MEMBERS = (
    "TableName",
    "StreamArn",
    "ShardIterator",
    "ResourceArn",
    "TableArn",
    # A restore names its backup, too, and goes to where the new table will be.
    "TargetTableName",
    "BackupArn",
    "GlobalTableName",
    "ExportArn",
    "ImportArn",
    "BulkOperationArn",
)
# Operations for which such a member says only which results are wanted.
_ABOUT_NOTHING = frozenset({"ListStreams"})


def resource_of(operation: str, members: Mapping[str, Any]) -> str:
    """The table, stream or other resource that a call is about, as it names it; of several the first, as AWS routes."""
    if operation in _ABOUT_NOTHING:
        return ""
    for name in _RESOURCE_MEMBERS:
        named = members.get(name)
        if named:
            return str(named)
    for table in members.get("RequestItems") or ():
        return str(table)
    for action in members.get("TransactItems") or ():
        for inner in action.values():
            return str(inner.get("TableName", ""))
    return str((members.get("TableCreationParameters") or {}).get("TableName", ""))
