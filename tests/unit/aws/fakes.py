"""What the tests of `aws` stand on: clients, senders and providers that answer as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from awsidecar_server.aws.call import AwsCall, AwsReply
from awsidecar_server.aws.sdk.clients import ClientPool
from awsidecar_server.aws.sdk.sender import Sender
from awsidecar_server.errors import AwsRejected
from awsidecar_server.identity.credentials import (
    Caller,
    CognitoCaller,
    Credentials,
    ServiceAccountCaller,
    SessionCaller,
    VerifiedToken,
)

FAR = datetime(2999, 1, 1, tzinfo=UTC)


def credentials(name: str) -> Credentials:
    return Credentials(f"AKIA{name}", f"secret-{name}", f"token-{name}")


SESSION = SessionCaller(credentials("SESSION"), FAR)
COGNITO = CognitoCaller(VerifiedToken("raw", "issuer", "ann", FAR))
SERVICE_ACCOUNT = ServiceAccountCaller()


def call(operation: str = "PutItem", **parameters: Any) -> AwsCall:
    return AwsCall("dynamodb", operation, parameters, "eu-central-1")


def rejection(code: str) -> AwsRejected:
    return AwsRejected("dynamodb", "PutItem", code, "no", http_status=400)


class FakeClient:
    """An SDK client whose calls `answer` gives, or hang when it is None."""

    def __init__(self, answer: Callable[[str, dict[str, Any]], dict[str, Any]] | None) -> None:
        self._answer = answer
        self.asked = asyncio.Event()
        self.cancelled = 0

    async def _make_api_call(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self.asked.set()
        try:
            if self._answer is None:
                await asyncio.Event().wait()
                raise AssertionError
            return self._answer(operation, parameters)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


class FakePool(ClientPool):
    """Gives the same client to everybody, or raises."""

    def __init__(self, client: FakeClient | Exception) -> None:
        self._only = client

    async def client(self, service: str, region: str) -> Any:
        if isinstance(self._only, Exception):
            raise self._only
        return self._only


class FakeSender(Sender):
    """Keeps who signed each call, and answers by `answer`."""

    def __init__(self, answer: Callable[[int], Awaitable[None]]) -> None:
        self._answer = answer
        self.asked = asyncio.Event()
        self.sent: list[tuple[AwsCall, Credentials | None]] = []

    async def send(self, call: AwsCall, credentials: Credentials | None) -> AwsReply:
        self.sent.append((call, credentials))
        self.asked.set()
        await self._answer(len(self.sent))
        return AwsReply({"by": credentials.access_key_id if credentials else None}, "REQ", 1)


class FakeProvider:
    """Credentials that are `old` until renewed."""

    def __init__(self, failure: Exception | None = None) -> None:
        self._failure = failure
        self.asked: list[Caller] = []
        self.renewed: list[tuple[Caller, Credentials]] = []

    async def credentials(self, caller: Caller) -> Credentials:
        self.asked.append(caller)
        if self._failure is not None:
            raise self._failure
        return credentials("OLD")

    async def renew(self, caller: Caller, spent: Credentials) -> Credentials:
        self.renewed.append((caller, spent))
        return credentials("NEW")
