"""Tasks that share a batch, and a sidecar that is as slow as a test wants it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

from awsidecar.dynamodb.v1.failure_pb2 import Failure

from .batch_streams import writes_done
from .fake_sidecar import FakeSidecar, Refused


class Slow:
    """Says that writes are done when a test wants it to."""

    def __init__(self, sidecar: FakeSidecar, failures: dict[int, Failure | None] | None = None) -> None:
        self.reached, self.released = threading.Event(), threading.Event()
        self._outcomes = writes_done(failures)
        sidecar.exchanges["BatchWriteStream"] = self._serve

    def _serve(self, requests: Iterator[Any]) -> Iterator[Message | Refused]:
        for response in self._outcomes(requests):
            self.reached.set()
            self.released.wait(10)
            yield response


def puts_of(batch: Any, count: int, much: bytes = b"") -> asyncio.Future[list[Any]]:
    """Writes at once, in a task each; they run until they have to wait as soon as the event loop comes to them."""
    writing = (batch.put_item(Item={"id": number, "much": much}) for number in range(count))
    return asyncio.gather(*writing, return_exceptions=True)


async def begin_to_leave(batch: Any, slow: Slow) -> asyncio.Future[None]:
    """Writes once, and begins to leave the block, which waits for that write."""
    await batch.put_item(Item={"id": 1})
    left: asyncio.Future[None] = asyncio.ensure_future(batch.__aexit__(None, None, None))
    await asyncio.to_thread(slow.reached.wait, 10)
    return left
