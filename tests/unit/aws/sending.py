"""A sender of JSON calls on a way to AWS that answers as it is told, as a test drives it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.aws.fakes import credentials
from tests.unit.aws.transport import FakeTransport, Posted, Step, answer, refusal

from awsidecar_server.aws.json_calls import JsonCall, JsonReply
from awsidecar_server.aws.json_sender import JsonSender
from awsidecar_server.aws.progress import Progress
from awsidecar_server.aws.retries import RetryPolicy, RetryQuota
from awsidecar_server.config import AwsConfig
from awsidecar_server.errors import AwsRejected, AwsUnreachable
from awsidecar_server.identity.credentials import Credentials
from awsidecar_server.ops.telemetry import Telemetry

ANN = credentials("ANN")
REGION = "eu-central-1"
NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
HOUR = 3600.0
OK = answer({"Item": {"id": {"S": "ann"}}})
BUSY = refusal("InternalServerError", status=500)
THROTTLED = refusal("ProvisionedThroughputExceededException")

# Writes that a second execution leaves as the first did, and some that it does not.
REPEATABLE: dict[str, dict[str, Any]] = {
    "PutItem": {"TableName": "films", "Item": {"id": {"S": "1"}}},
    "DeleteItem": {"TableName": "films", "Key": {"id": {"S": "1"}}},
    "UpdateItem": {"TableName": "films", "UpdateExpression": "SET a = :a"},
    "BatchWriteItem": {"RequestItems": {"films": []}},
    "TransactWriteItems": {"TransactItems": [], "ClientRequestToken": "token"},
}
ONCE: dict[str, dict[str, Any]] = {
    "PutItem": {"TableName": "films", "ConditionExpression": "attribute_not_exists(id)"},
    "DeleteItem": {"TableName": "films", "ReturnValues": "ALL_OLD"},
    "UpdateItem": {"TableName": "films", "UpdateExpression": "ADD n :one"},
    "TransactWriteItems": {"TransactItems": []},
    "CreateTable": {"TableName": "films"},
}


class Harness:
    """A sender whose time stands still, unless it pauses."""

    def __init__(
        self, *script: Step, quota: RetryQuota | None = None, connects: bool = True, **config: Any
    ) -> None:
        self.transport = FakeTransport(*script, connects=connects)
        self.telemetry = Telemetry()
        self.pauses: list[float] = []
        self.time = 0.0
        settings = AwsConfig(region=REGION, **config)
        policy = RetryPolicy(settings.max_attempts, quota=quota, jitter=lambda: 1.0, clock=lambda: self.time)
        self.sender = JsonSender(
            settings, self.transport, self.telemetry, policy=policy, now=lambda: NOW, pause=self._pause
        )

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time += seconds

    @property
    def posted(self) -> list[Posted]:
        return self.transport.posted

    async def post(
        self,
        operation: str = "GetItem",
        members: dict[str, Any] | None = None,
        *,
        signed_by: Credentials | None = ANN,
        service: str = "dynamodb",
        deadline: float | None = None,
        progress: Progress | None = None,
    ) -> JsonReply:
        given = {"TableName": "films"} if members is None else members
        body = json.dumps(given).encode()
        call = JsonCall(service, operation, body, given, REGION, deadline, progress or Progress())
        return await self.sender.post(call, signed_by)

    async def rejection(self, operation: str = "GetItem", members: Any = None, **call: Any) -> AwsRejected:
        with pytest.raises(AwsRejected) as rejected:
            await self.post(operation, members, **call)
        return rejected.value

    async def unreachable(self, operation: str = "GetItem", members: Any = None, **call: Any) -> AwsUnreachable:
        with pytest.raises(AwsUnreachable) as unreachable:
            await self.post(operation, members, **call)
        return unreachable.value

    def metric(self, name: str, **labels: str) -> float | None:
        if "region" not in labels:
            labels = {"operation": "GetItem", **labels}
        return self.telemetry.registry.get_sample_value(
            f"awsidecar_aws_{name}", {"aws_service": "dynamodb", **labels}
        )

    def outcomes(self, outcome: str) -> float | None:
        return self.metric("call_duration_seconds_count", outcome=outcome)
