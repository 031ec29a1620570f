"""A stand-in for AWS on a loopback port: answers each operation as the test scripts it, and records who signed."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from aiohttp import web

REQUEST_ID = "STUBREQUESTID".ljust(52, "0")  # as long as DynamoDB's
ACCOUNT = "123456789012"
# Nothing that a test waits for takes longer, unless it is never going to happen.
_PATIENCE_SECONDS = 10.0
_MAX_BODY_BYTES = 64 * 1024 * 1024
_SCOPE = re.compile(r"Credential=(?P<key>[^/]+)/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request as it arrived."""

    operation: str
    parameters: Mapping[str, Any] = field(repr=False)
    authorization: str = field(repr=False)
    security_token: str = field(repr=False)

    @property
    def key_id(self) -> str:
        """The access key id that signed; empty for an unsigned request."""
        return self._scope("key")

    @property
    def region(self) -> str:
        return self._scope("region")

    def _scope(self, part: str) -> str:
        found = _SCOPE.search(self.authorization)
        return found[part] if found else ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back for one request, and how."""

    # Text and bytes are sent as they are, anything else as JSON.
    body: Any = field(default_factory=dict, repr=False)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    # Answers once the test calls `release`, or never.
    held: bool = False
    # Closes the connection after this many bytes of the body; 0: before the status line.
    cut_after: int | None = None

    def payload(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


Script = Answer | Callable[[Recorded], Answer]


def refused(code: str, message: str = "", status: int = 400, /, **members: Any) -> Answer:
    """A refusal as DynamoDB words it."""
    return Answer({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message, **members}, status)


def sts_identity(arn: str = f"arn:aws:sts::{ACCOUNT}:assumed-role/app/session") -> Answer:
    """STS's answer to GetCallerIdentity."""
    result = f"<Arn>{arn}</Arn><UserId>AIDAUSER</UserId><Account>{ACCOUNT}</Account>"
    return _xml(f"<GetCallerIdentityResult>{result}</GetCallerIdentityResult>", "GetCallerIdentityResponse", 200)


def sts_refused(code: str, message: str = "no", status: int = 403) -> Answer:
    """A refusal as STS words it."""
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return _xml(f"{error}<RequestId>{REQUEST_ID}</RequestId>", "ErrorResponse", status)


def _xml(content: str, root: str, status: int) -> Answer:
    body = f'<{root} xmlns="https://sts.amazonaws.com/doc/2011-06-15/">{content}</{root}>'
    return Answer(body, status, {"Content-Type": "text/xml"})


class StubAws:
    """The scripted AWS. What is not scripted succeeds with an empty answer."""

    def __init__(self) -> None:
        self.requests: list[Recorded] = []
        # Requests whose connection the sidecar closed before they were answered.
        self.abandoned = 0
        self.in_progress = 0
        # Pages that are asked for by GET, by path.
        self.pages: dict[str, bytes] = {}
        self._scripts: dict[str, list[Script]] = {}
        self._released = asyncio.Event()
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self) -> None:
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.router.add_get("/{path:.*}", self._page)
        app.router.add_post("/", self._serve)
        # A handler is cancelled when its connection is closed, so that the test sees it.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        self.release()
        if self._runner is not None:
            await self._runner.cleanup()

    def reset(self) -> None:
        """Forgets the scripts and the requests of the test before."""
        self.release()
        self._released = asyncio.Event()
        self._scripts.clear()
        self.requests.clear()
        self.abandoned = 0

    def on(self, operation: str, *answers: Script) -> None:
        """Answers the operation with each in turn, and with the last one from then on."""
        self._scripts[operation] = list(answers)

    def release(self) -> None:
        """Lets held answers go out."""
        self._released.set()

    def count(self, operation: str) -> int:
        return sum(request.operation == operation for request in self.requests)

    def key_ids(self, operation: str) -> list[str]:
        """Who signed the operation's requests, in order."""
        return [request.key_id for request in self.requests if request.operation == operation]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for something that requests bring about."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def _page(self, request: web.Request) -> web.Response:
        body = self.pages.get(request.path)
        return web.Response(status=404) if body is None else web.Response(body=body)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        recorded = _recorded(request, await request.read())
        self.requests.append(recorded)
        self.in_progress += 1
        self._changed.set()
        try:
            answer = self._answer(recorded)
            if answer.held:
                await self._released.wait()
            return await _sent(request, answer)
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        finally:
            self.in_progress -= 1
            self._changed.set()

    def _answer(self, recorded: Recorded) -> Answer:
        scripts = self._scripts.get(recorded.operation)
        if not scripts:
            return sts_identity() if recorded.operation == "GetCallerIdentity" else Answer()
        script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
        return script if isinstance(script, Answer) else script(recorded)


def held(answer: Answer | None = None) -> Answer:
    """The answer, once the test releases it."""
    return replace(answer or Answer(), held=True)


def _recorded(request: web.Request, body: bytes) -> Recorded:
    target = request.headers.get("X-Amz-Target")
    if target is None:  # STS's query protocol
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        operation, parameters = form.get("Action", ""), form
    else:
        operation, parameters = target.rpartition(".")[2], json.loads(body)
    return Recorded(
        operation,
        parameters,
        request.headers.get("Authorization", ""),
        request.headers.get("X-Amz-Security-Token", ""),
    )


async def _sent(request: web.Request, answer: Answer) -> web.StreamResponse:
    payload = answer.payload()
    headers = {"x-amzn-RequestId": REQUEST_ID, "Content-Type": "application/x-amz-json-1.0", **answer.headers}
    if answer.cut_after is None:
        return web.Response(body=payload, status=answer.status, headers=headers)
    response = web.StreamResponse(status=answer.status, headers={**headers, "Content-Length": str(len(payload))})
    if answer.cut_after:
        await response.prepare(request)
        await response.write(payload[: answer.cut_after])
    if request.transport is not None:
        request.transport.close()
    return response


def keys_of(requests: Iterable[Recorded]) -> set[str]:
    """Who signed any of the requests."""
    return {request.key_id for request in requests}
