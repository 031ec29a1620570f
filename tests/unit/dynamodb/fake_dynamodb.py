"""DynamoDB as the waiters see it: answers in turn, and a clock that runs only while somebody pauses."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from awsidecar_server.dynamodb.waiters import WAITERS
from awsidecar_server.dynamodb.waiting import Waiting
from awsidecar_server.errors import AwsRejected, SidecarError
from awsidecar_server.identity.credentials import ServiceAccountCaller
from awsidecar_server.operations import Operations, Scope

SCOPE = Scope(ServiceAccountCaller(), "eu-central-1")


async def scoping() -> Scope:
    return SCOPE


def rejection(code: str, http_status: int = 400) -> AwsRejected:
    return AwsRejected("dynamodb", "DescribeTable", code, "no", http_status=http_status)


class FakeDynamoDb(Operations):
    """Answers or refuses in turn, and goes on with the last one."""

    def __init__(self, *answers: Message | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, Message, Scope]] = []
        self.now = 1000.0
        self.pauses: list[float] = []

    async def call(self, name: str, message: Message, scope: Scope, response_class: type[Any]) -> Any:
        self.asked.append((name, message, scope))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, response_class)
        return answer

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def waiting(self, jitter: float = 1.0) -> Waiting:
        return Waiting(self, clock=lambda: self.now, pause=self.pause, jitter=lambda: jitter)


async def seen(dynamodb: FakeDynamoDb, request: Message) -> list[Any]:
    """Every message of a wait; the error that ended it, if any, is the last."""
    rpc = request.DESCRIPTOR.name.removesuffix("Request")
    found: list[Any] = []
    try:
        async for message in dynamodb.waiting().states(WAITERS[rpc].wait(request), scoping):
            found += [message]
    except (SidecarError, AwsRejected) as failure:
        found.append(failure)
    return found
