"""A way to AWS that answers as it is told, for the tests of whoever sends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from awsidecar_server.aws.http import HttpAnswer, HttpFailure, HttpHeaders
from awsidecar_server.aws.retries import Stage


@dataclass(frozen=True)
class Posted:
    """One request, as it was handed over."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    deadline: float | None


Step = HttpAnswer | HttpFailure | Callable[[Posted], HttpAnswer]


class FakeTransport:
    """Takes each step of its script in turn, and the last one from then on; without a script it never answers.

    When it does not connect, nothing is ever sent.
    """

    def __init__(self, *script: Step, connects: bool = True) -> None:
        self._script = list(script)
        self._connects = connects
        self.posted: list[Posted] = []
        self.asked = asyncio.Event()
        self.cancelled = 0

    def __repr__(self) -> str:
        return "<FakeTransport>"

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        deadline: float | None = None,
        on_sending: Callable[[], None] | None = None,
    ) -> HttpAnswer:
        posted = Posted(url, dict(headers), body, deadline)
        self.posted.append(posted)
        self.asked.set()
        if not self._connects:
            await self._never()
        if on_sending is not None:
            on_sending()
        if not self._script:
            await self._never()
        step = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(step, HttpFailure):
            raise HttpFailure(step.stage, step.cause, str(step))
        return step if isinstance(step, HttpAnswer) else step(posted)

    async def _never(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def answer(body: Any = None, status: int = 200, **headers: str) -> HttpAnswer:
    """An answer; of a header's name, `_` stands for `-`."""
    content = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpAnswer(status, HttpHeaders({"x-amzn-requestid": "REQ", **named}), content)


def refusal(code: str, message: str = "no", status: int = 400, **headers: str) -> HttpAnswer:
    """AWS's refusal, as DynamoDB words it."""
    return answer({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}, status, **headers)


UNSENT = HttpFailure(Stage.UNSENT, "connect", "refused")
LOST = HttpFailure(Stage.UNANSWERED, "connection_lost", "reset")
LATE = HttpFailure(Stage.UNANSWERED, "deadline", "the caller's")
TOO_LATE = HttpFailure(Stage.UNSENT, "deadline", "the caller's")
SILENT = HttpFailure(Stage.UNANSWERED, "timeout", "silence")
GARBLED = HttpFailure(Stage.UNREADABLE, "bad_response", "no HTTP")
