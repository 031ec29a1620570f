"""Outcomes that the caller has not been told of yet."""

from __future__ import annotations

import heapq
from collections import deque
from itertools import chain

from awsidecar.dynamodb.v1.capacity_pb2 import ConsumedCapacity
from awsidecar_server.dynamodb.batches.entries import Outcome, Report

# Of one message: enough to be cheap, and few enough to come soon.
_MOST_OUTCOMES = 500
_MOST_BYTES = 1024 * 1024


class Outbox:
    """Gives outcomes out once each: as they come, or in the order of their numbers."""

    def __init__(self) -> None:
        # To be set before the first one is put.
        self.in_order = False
        # What may be told, and what has to wait for an earlier one.
        self._open: deque[Outcome] = deque()
        self._held: list[tuple[int, Outcome]] = []
        self._capacity: list[ConsumedCapacity] = []
        # The number of the first outcome that is not known, when they are told in order.
        self.next_index = 0
        self.told = 0
        # Of all items that wait.
        self.bytes = 0

    def put(self, outcome: Outcome) -> None:
        self.bytes += outcome.result.size
        if not self.in_order:
            self._open.append(outcome)
            return
        heapq.heappush(self._held, (outcome.index, outcome))
        while self._held and self._held[0][0] == self.next_index:
            self._open.append(heapq.heappop(self._held)[1])
            self.next_index += 1

    @property
    def hides_effects(self) -> bool:
        """Whether something was done, or may have been, that is not told yet."""
        untold = chain(self._open, (outcome for _, outcome in self._held))
        return any(outcome.result.has_effect for outcome in untold)

    def add_capacity(self, capacity: list[ConsumedCapacity]) -> None:
        self._capacity += capacity

    def take(self) -> Report | None:
        """What is to be told next; None when there is nothing."""
        if not self._open and not self._capacity:
            return None
        report, size = Report(capacity=self._capacity), 0
        self._capacity = []
        while self._open and len(report.outcomes) < _MOST_OUTCOMES:
            size += self._open[0].result.size
            if size > _MOST_BYTES and report.outcomes:
                break
            report.outcomes.append(self._open.popleft())
        self.bytes -= sum(outcome.result.size for outcome in report.outcomes)
        self.told += len(report.outcomes)
        return report
