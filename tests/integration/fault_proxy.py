"""A reverse proxy in front of an emulator of AWS that throttles, fails and loses answers at random, from a seed."""

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


@dataclass(frozen=True, slots=True)
class Faults:
    """How often each fault strikes a request, as probabilities that add up to 1 at most."""

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


class FaultProxy:
    """Passes requests on to an emulator that checks no signatures: a part of a batch is signed as the whole was.

    Faults strike the named operations alone. The same seed and the same order of requests bring the same faults.
    """

    def __init__(
        self, endpoint: str, faults: Faults, *, seed: int = 0, operations: Collection[str] = _BATCHES
    ) -> None:
        self.faults = faults
        # How often each fault has struck, under its name in `Faults`, and `passed`.
        self.counts: Counter[str] = Counter()
        self.url = ""
        self._endpoint = endpoint
        self._operations = operations
        self._random = random.Random(seed)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answers one request of the sidecar."""
        body = await request.read()
        operation = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        fault = self._fault() if operation in self._operations else "passed"
        if fault == "unprocessed" and operation not in _BATCHES:
            fault = "passed"
        self.counts[fault] += 1
        if fault == "throttled":
            return _refused(400, "ProvisionedThroughputExceededException", "Too many requests; slow down.")
        if fault == "failed_before":
            return _refused(500, "InternalServerError", "Nothing was done.")
        if fault == "unprocessed":
            return await self._in_part(request, operation, json.loads(body))
        answer = await self._forwarded(request, body)
        if fault == "failed_after":
            return _refused(500, "InternalServerError", "It was done all the same.")
        if fault == "cut_after" and request.transport is not None:
            request.transport.close()
        return answer

    def _fault(self) -> str:
        drawn = self._random.random()
        for name in Faults.__slots__:
            drawn -= getattr(self.faults, name)
            if drawn < 0:
                return name
        return "passed"

    async def _in_part(self, request: web.Request, operation: str, parameters: Any) -> web.StreamResponse:
        """Forwards a part of a batch, and says of the rest that it was not processed."""
        kept, left = self._split(operation, parameters["RequestItems"])
        answer = await self._forwarded(request, json.dumps({**parameters, "RequestItems": kept}).encode())
        if answer.status != 200 or answer.body is None:
            return answer
        assert isinstance(answer.body, bytes)
        reply = json.loads(answer.body)
        member = "UnprocessedKeys" if operation == "BatchGetItem" else "UnprocessedItems"
        for table, more in left.items():
            _add(reply.setdefault(member, {}), table, more)
        return _answer(200, json.dumps(reply).encode())

    def _split(self, operation: str, tables: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Puts each element into the first part or the second, and at least one into the first."""
        elements = [
            (table, element)
            for table, wanted in tables.items()
            for element in (wanted["Keys"] if operation == "BatchGetItem" else wanted)
        ]
        self._random.shuffle(elements)
        cut = self._random.randint(1, len(elements))
        parts: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        for number, (table, element) in enumerate(elements):
            part = parts[number >= cut]
            if operation == "BatchGetItem":
                _add(part, table, {**tables[table], "Keys": [element]})
            else:
                _add(part, table, [element])
        return parts

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
