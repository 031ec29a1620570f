"""Writes that are not sent yet, in requests of a usual size."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from awsidecar.dynamodb.v1.batch_streams_pb2 import BatchWriteStreamRequest, StreamedWrite

# Writes of one request: enough to be cheap, and few enough to be under way soon.
_REQUEST_WRITES = 100
_REQUEST_BYTES = 1024 * 1024


@dataclass(eq=False, slots=True)
class _Request:
    message: BatchWriteStreamRequest = field(default_factory=BatchWriteStreamRequest)
    size: int = 0

    @property
    def is_due(self) -> bool:
        return len(self.message.writes) >= _REQUEST_WRITES or self.size >= _REQUEST_BYTES


class UnsentWrites:
    """The requests that they wait in: tasks that share a batch may add many before one of them sends."""

    def __init__(self) -> None:
        # The last one grows.
        self._requests: deque[_Request] = deque()
        # Of all of them.
        self.count = 0
        self.size = 0

    @property
    def is_due(self) -> bool:
        """Whether there is a request that is worth sending."""
        return bool(self._requests) and self._requests[0].is_due

    def add(self, write: StreamedWrite, size: int) -> None:
        if not self._requests or self._requests[-1].is_due:
            self._requests.append(_Request())
        request = self._requests[-1]
        request.message.writes.append(write)
        request.size += size
        self.count += 1
        self.size += size

    def pop(self) -> BatchWriteStreamRequest:
        """The next request, which is to be sent; there must be one."""
        request = self._requests.popleft()
        self.count -= len(request.message.writes)
        self.size -= request.size
        return request.message

    def clear(self) -> None:
        self._requests.clear()
        self.count = self.size = 0
