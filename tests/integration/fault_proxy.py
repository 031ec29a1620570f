"""A reverse proxy in front of an emulator of AWS that throttles, fails and loses answers: which, a seed says."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

_MAX_BODY_BYTES = 64 * 1024 * 1024
_JSON = "application/x-amz-json-1.0"
_BATCHES = frozenset({"BatchGetItem", "BatchWriteItem"})
# What is of one connection (RFC 9110, section 7.6.1), and what the proxy makes anew.
_NOT_PASSED_ON = frozenset({"connection", "content-length", "content-encoding", "keep-alive", "transfer-encoding"})
_TYPES = "com.amazonaws.dynamodb.v20120810#"
# One less than the sidecar's attempts by default, so that the last attempt of a call is never struck.
_MOST_OF_A_CALL = 3


@dataclass(frozen=True, slots=True)
class Faults:
    """How often each fault strikes an attempt, as probabilities that add up to 1 at most."""

    # ProvisionedThroughputExceededException, and nothing is forwarded.
    throttled: float = 0.0
    # A random part of a batch, never all of it, is not forwarded and comes back as UnprocessedItems or -Keys.
    unprocessed: float = 0.0
    # HTTP 500, and nothing is forwarded.
    failed_before: float = 0.0
    # The request is forwarded and done; its caller gets HTTP 500.
    failed_after: float = 0.0
    # The request is forwarded and done; its caller finds the connection closed.
    cut_after: float = 0.0


class _Call:
    """A call of the sidecar, with all its attempts: what befalls it depends on nothing but its seed."""

    def __init__(self, seed: str, faults: Faults) -> None:
        self.random = random.Random(seed)
        self._faults = faults
        self._struck = 0

    def next_fault(self) -> str:
        """What befalls its next attempt: the name of a fault, or `passed`."""
        if self._struck < _MOST_OF_A_CALL:
            drawn = self.random.random()
            for name in Faults.__slots__:
                drawn -= getattr(self._faults, name)
                if drawn < 0:
                    self._struck += 1
                    return name
        return "passed"


class FaultProxy:
    """Passes requests on to an emulator that checks no signatures: a part of a batch is signed as the whole was.

    Faults strike the named operations alone, and a call three times at most. With the same seed, the first call, the
    second and so on meet the same faults in every run, in whatever order the attempts of all calls arrive: AWS's SDKs
    and the sidecar name the call of an attempt (https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html).
    """

    def __init__(
        self, endpoint: str, faults: Faults, *, seed: int = 0, operations: Collection[str] = _BATCHES
    ) -> None:
        # How often each fault has struck, under its name in `Faults`, and `passed`.
        self.counts: Counter[str] = Counter()
        self.url = ""
        self._endpoint = endpoint
        self._operations = operations
        self._faults = faults
        self._seed = seed
        self._calls: dict[str, _Call] = {}

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answers one request of the sidecar."""
        body = await request.read()
        operation = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        if operation not in self._operations:
            self.counts["passed"] += 1
            return await self._forwarded(request, body)
        call = self._call_of(request)
        fault = call.next_fault()
        self.counts[fault] += 1
        if fault == "throttled":
            return _refused(400, "ProvisionedThroughputExceededException", "Too many requests; slow down.")
        if fault == "failed_before":
            return _refused(500, "InternalServerError", "Nothing was done.")
        if fault == "unprocessed":
            return await self._in_part(request, operation, json.loads(body), call.random)
        answer = await self._forwarded(request, body)
        if fault == "failed_after":
            return _refused(500, "InternalServerError", "It was done all the same.")
        if fault == "cut_after" and request.transport is not None:
            request.transport.close()
        return answer

    def _call_of(self, request: web.Request) -> _Call:
        """The call that this is an attempt of; without a name, it is the only one."""
        name = request.headers.get("amz-sdk-invocation-id", f"unnamed-{len(self._calls)}")
        if name not in self._calls:
            self._calls[name] = _Call(f"{self._seed}-{len(self._calls)}", self._faults)
        return self._calls[name]

    async def _in_part(
        self, request: web.Request, operation: str, parameters: Any, chance: random.Random
    ) -> web.StreamResponse:
        """Forwards a part of a batch, and says of the rest that it was not processed."""
        kept, left = _split(operation, parameters["RequestItems"], chance)
        answer = await self._forwarded(request, json.dumps({**parameters, "RequestItems": kept}).encode())
        if answer.status != 200 or answer.body is None:
            return answer
        assert isinstance(answer.body, bytes)
        reply = json.loads(answer.body)
        member = "UnprocessedKeys" if operation == "BatchGetItem" else "UnprocessedItems"
        for table, more in left.items():
            _add(reply.setdefault(member, {}), table, more)
        return _answer(200, json.dumps(reply).encode())

    async def _forwarded(self, request: web.Request, body: bytes) -> web.Response:
        headers = {name: text for name, text in request.headers.items() if name.lower() not in _NOT_PASSED_ON}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self._endpoint, data=body, headers=headers) as answer,
        ):
            passed_on = {name: text for name, text in answer.headers.items() if name.lower() not in _NOT_PASSED_ON}
            return web.Response(body=await answer.read(), status=answer.status, headers=passed_on)


@asynccontextmanager
async def proxied(
    endpoint: str, faults: Faults, *, seed: int = 0, operations: Collection[str] = _BATCHES
) -> AsyncIterator[FaultProxy]:
    """A proxy on a loopback port of its own, while entered; `url` is where the sidecar finds it."""
    proxy = FaultProxy(endpoint, faults, seed=seed, operations=operations)
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app.router.add_post("/", proxy.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield proxy
    finally:
        await runner.cleanup()


def _split(operation: str, tables: dict[str, Any], chance: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    """Puts each element into the first part or the second, and at least one into the first."""
    elements = [
        (table, element)
        for table, wanted in tables.items()
        for element in (wanted["Keys"] if operation == "BatchGetItem" else wanted)
    ]
    chance.shuffle(elements)
    cut = chance.randint(1, len(elements))
    parts: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for number, (table, element) in enumerate(elements):
        part = parts[number >= cut]
        if operation == "BatchGetItem":
            _add(part, table, {**tables[table], "Keys": [element]})
        else:
            _add(part, table, [element])
    return parts


def _add(tables: dict[str, Any], table: str, more: Any) -> None:
    """Adds writes, or keys with what is said of them, to those of a table."""
    if isinstance(more, list):
        tables.setdefault(table, []).extend(more)
    elif table in tables:
        tables[table]["Keys"].extend(more["Keys"])
    else:
        tables[table] = more


def _refused(status: int, code: str, message: str) -> web.Response:
    return _answer(status, json.dumps({"__type": f"{_TYPES}{code}", "message": message}).encode())


def _answer(status: int, body: bytes) -> web.Response:
    # Without a checksum, which AWS's answers need not have.
    return web.Response(body=body, status=status, headers={"x-amzn-RequestId": "FAULTPROXY", "Content-Type": _JSON})
