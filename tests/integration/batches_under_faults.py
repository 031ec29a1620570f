"""Writes many items by one stream and reads them by another while the backend fails at random; counts what came of it.

    python -m tests.integration.batches_under_faults --items 100000

Every write must be told of once, as done; a scan and BatchGetStream must find each item as it was written last.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import grpc
from tests import dynamodb_local
from tests.integration import backends
from tests.integration.conftest import Sidecar, start_sidecar, stop_sidecar
from tests.integration.fault_proxy import Faults, proxied

from awsidecar.dynamodb.v1 import batch_streams_pb2, query_pb2, tables_pb2
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue
from awsidecar.dynamodb.v1.batch_pb2 import PutRequest
from awsidecar.dynamodb.v1.dynamodb_service_pb2_grpc import DynamoDbServiceStub
from awsidecar.dynamodb.v1.schema_pb2 import AttributeDefinition, KeySchemaElement

FAULTS = Faults(throttled=0.05, unprocessed=0.15, failed_before=0.01, failed_after=0.01, cut_after=0.01)
TABLE = "batches-under-faults"
_REQUEST_ITEMS = 500
# One in so many items is written twice; the second time must be the one that lasts.
_TWICE = 20
_LONGEST_SECONDS = 3600.0
_SEGMENTS = 4


@dataclass
class Figures:
    """What came of a run."""

    writes: int
    seconds: float = 0.0
    # How often each write was told of, and as what.
    told: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    # What a scan finds, by key: the number of the write that lasted.
    found: dict[int, int] = field(default_factory=dict, repr=False)
    expected: dict[int, int] = field(default_factory=dict, repr=False)
    # The same by BatchGetStream, in the order in which it was asked for; None for what it calls missing.
    read: list[int | None] = field(default_factory=list, repr=False)
    read_seconds: float = 0.0
    faults: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_right(self) -> bool:
        once = len(self.told) == self.writes == self.told.total()
        are_there = self.found == self.expected and self.read == [*self.expected.values(), None]
        return once and self.kinds == {"done": self.writes} and are_there

    def lines(self) -> list[str]:
        """For people."""
        wrong = {key for key, number in self.expected.items() if self.found.get(key) != number}
        never, twice = self.writes - len(self.told), sum(count > 1 for count in self.told.values())
        rate = self.writes / self.seconds
        return [
            f"{self.writes} writes to {len(self.expected)} items in {self.seconds:.1f} s ({rate:.0f} a second)",
            f"told of: {dict(self.kinds)}; {twice} more than once, {never} never",
            f"found by a scan: {len(self.found)} items, {len(wrong)} missing or not as they were written last",
            f"read by BatchGetStream: {sum(one is not None for one in self.read)} items in {self.read_seconds:.1f} s",
            f"requests of the sidecar, by the fault that struck them: {dict(sorted(self.faults.items()))}",
        ]


async def run(settings: Mapping[str, str], items: int, *, faults: Faults = FAULTS, seed: int = 1) -> Figures:
    """Writes so many items, and some of them twice, in a fresh table behind a proxy with faults."""
    async with proxied(settings["AWS_ENDPOINT_URL"], faults, seed=seed) as proxy:
        environment = {**settings, "AWS_ENDPOINT_URL": proxy.url}
        sidecar: Sidecar = await asyncio.to_thread(start_sidecar, [], environment)
        try:
            async with grpc.aio.insecure_channel(sidecar.target) as channel:
                await _make_table(channel)
                figures = await _write(channel, items)
                figures.found = await _scan(channel)
                await _read(channel, figures)
        finally:
            await asyncio.to_thread(stop_sidecar, sidecar)
        figures.faults = proxy.counts
    return figures


async def _make_table(channel: grpc.aio.Channel) -> None:
    dynamodb = DynamoDbServiceStub(channel)
    if TABLE in (await dynamodb.ListTables(tables_pb2.ListTablesRequest())).table_names:
        await dynamodb.DeleteTable(tables_pb2.DeleteTableRequest(table_name=TABLE))
    await dynamodb.CreateTable(
        tables_pb2.CreateTableRequest(
            table_name=TABLE,
            billing_mode="PAY_PER_REQUEST",
            attribute_definitions=[AttributeDefinition(attribute_name="pk", attribute_type="N")],
            key_schema=[KeySchemaElement(attribute_name="pk", key_type="HASH")],
        )
    )


def _keys(items: int) -> list[int]:
    """The key of each write, in order: every item, and some again right after."""
    return [key for number in range(items) for key in ([number, number] if number % _TWICE == 0 else [number])]


async def _write(channel: grpc.aio.Channel, items: int) -> Figures:
    keys = _keys(items)
    figures = Figures(writes=len(keys), expected={key: number for number, key in enumerate(keys)})

    async def requests() -> AsyncIterator[batch_streams_pb2.BatchWriteStreamRequest]:
        for start in range(0, len(keys), _REQUEST_ITEMS):
            request = batch_streams_pb2.BatchWriteStreamRequest()
            for number, key in enumerate(keys[start : start + _REQUEST_ITEMS], start):
                item = {"pk": AttributeValue(n=str(key)), "number": AttributeValue(n=str(number))}
                item["text"] = AttributeValue(s="some text of an item " * 5)
                request.writes.add(table_name=TABLE, put=PutRequest(item=item))
            yield request

    started = time.perf_counter()
    call = DynamoDbServiceStub(channel).BatchWriteStream(requests(), timeout=_LONGEST_SECONDS)
    async for response in call:
        for outcome in response.outcomes:
            figures.told[outcome.index] += 1
            figures.kinds[outcome.WhichOneof("result") or "nothing"] += 1
    figures.seconds = time.perf_counter() - started
    return figures


async def _read(channel: grpc.aio.Channel, figures: Figures) -> None:
    """Asks for every item, and for one that is not there."""
    keys = [*figures.expected, -1]

    async def requests() -> AsyncIterator[batch_streams_pb2.BatchGetStreamRequest]:
        for start in range(0, len(keys), _REQUEST_ITEMS):
            request = batch_streams_pb2.BatchGetStreamRequest()
            if not start:
                request.options.in_order = True
                request.options.tables[TABLE].consistent_read = True
            for key in keys[start : start + _REQUEST_ITEMS]:
                request.gets.add(table_name=TABLE).key["pk"].n = str(key)
            yield request

    started = time.perf_counter()
    call = DynamoDbServiceStub(channel).BatchGetStream(requests(), timeout=_LONGEST_SECONDS)
    async for response in call:
        for outcome in response.outcomes:
            is_there = outcome.WhichOneof("result") == "item"
            figures.read.append(int(outcome.item.attributes["number"].n) if is_there else None)
    figures.read_seconds = time.perf_counter() - started


async def _scan(channel: grpc.aio.Channel) -> dict[int, int]:
    found: dict[int, int] = {}

    async def segment(number: int) -> None:
        request = query_pb2.ScanRequest(
            table_name=TABLE, consistent_read=True, segment=number, total_segments=_SEGMENTS
        )
        while True:
            page = await DynamoDbServiceStub(channel).Scan(request)
            for item in page.items:
                found[int(item.attributes["pk"].n)] = int(item.attributes["number"].n)
            if not page.HasField("last_evaluated_key"):
                return
            request.exclusive_start_key.clear()
            for name, value in page.last_evaluated_key.attributes.items():
                request.exclusive_start_key[name].CopyFrom(value)

    await asyncio.gather(*(segment(number) for number in range(_SEGMENTS)))
    return found


def main() -> int:
    """Runs on a DynamoDB Local of its own; 1 when an item was lost, or told of wrongly."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--items", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    with dynamodb_local.running() as endpoint:
        figures = asyncio.run(run(backends.settings(endpoint), chosen.items, seed=chosen.seed))
    sys.stdout.write("\n".join([*figures.lines(), "right" if figures.is_right else "WRONG", ""]))
    return 0 if figures.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
