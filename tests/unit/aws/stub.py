"""A loopback stub of AWS that keeps what it is sent, and answers as it is told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from awsidecar_server.config import AwsConfig

_KEY = re.compile(r"Credential=([^/]+)/")


@dataclass(frozen=True)
class Recorded:
    operation: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def key_id(self) -> str | None:
        """The access key id that signed; None when nobody did."""
        found = _KEY.search(self.headers.get("authorization", ""))
        return found[1] if found else None

    @property
    def session_token(self) -> str | None:
        return self.headers.get("x-amz-security-token")


@dataclass
class Answer:
    body: dict[str, Any] = field(default_factory=dict)
    status: int = 200


class StubAws:
    """Answers every operation of every service that speaks JSON."""

    def __init__(self, answer: Callable[[Recorded], Answer] = lambda _: Answer()) -> None:
        self.answer = answer
        self.requests: list[Recorded] = []
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def config(self, **changes: Any) -> AwsConfig:
        return AwsConfig(region="eu-central-1", endpoint_url=self.url, **changes)

    async def _serve(self, request: web.Request) -> web.Response:
        recorded = Recorded(
            request.headers.get("X-Amz-Target", "").rpartition(".")[2],
            {name.lower(): value for name, value in request.headers.items()},
            json.loads(await request.read() or b"{}"),
        )
        self.requests.append(recorded)
        answer = self.answer(recorded)
        return web.json_response(
            answer.body,
            status=answer.status,
            content_type="application/x-amz-json-1.0",
            headers={"x-amzn-RequestId": f"REQ{len(self.requests)}"},
        )
