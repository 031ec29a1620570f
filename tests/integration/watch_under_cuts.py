"""Watches a table during many writes while connections are cut on both sides of the sidecar, and counts what came.

    python -m tests.integration.watch_under_cuts --writes 50000 --cuts 20

Every change must come, and those of an item in the order in which they were made. The client's connection to the
sidecar is cut so many times; of the sidecar's calls to DynamoDB Streams some fail, and some lose their answers.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests import dynamodb_local
from tests.integration import backends
from tests.integration.conftest import start_sidecar, stop_sidecar
from tests.integration.fault_proxy import Faults, proxied

from awsidecar import aio, shapes

TABLE = "watch-under-cuts"
# Each kind of fault strikes one of the first ten calls with this seed: no run is too short to meet them all.
_SEED = 3
FAULTS = Faults(throttled=0.01, failed_before=0.02, cut_after=0.05)
_OPERATIONS = frozenset({"DescribeStream", "GetRecords", "GetShardIterator"})
# A batch writes each of its items once, and its groups are written side by side.
_GROUP = 25
_GROUPS = 8
_LONGEST_SECONDS = 900.0


class Cutter:
    """Passes TCP connections on to the sidecar, until they are cut: without a word, as a network does it."""

    def __init__(self, target: str) -> None:
        self._host, _, self._port = target.rpartition(":")
        self._open: set[asyncio.StreamWriter] = set()
        self.cuts = 0

    def cut(self) -> None:
        """Breaks every connection that is open."""
        self.cuts += bool(self._open)
        for writer in self._open:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, int(self._port))
        self._open |= {writer, back}
        try:
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        finally:
            self._open -= {writer, back}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()


@asynccontextmanager
async def cuttable(target: str) -> AsyncIterator[tuple[str, Cutter]]:
    """An address that leads to the sidecar, and what cuts its connections."""
    cutter = Cutter(target)
    server = await asyncio.start_server(cutter.serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", cutter
    finally:
        server.close()
        cutter.cut()


@dataclass
class Figures:
    """What came of a run."""

    writes: int
    seconds: float = 0.0
    cuts: int = 0
    came: int = 0
    out_of_order: int = 0
    # By key: the newest change that was written, and that came.
    written: Counter[str] = field(default_factory=Counter, repr=False)
    seen: Counter[str] = field(default_factory=Counter, repr=False)
    faults: Mapping[str, int] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        return (self.written - self.seen).total()

    @property
    def is_right(self) -> bool:
        return self.seen == self.written and self.written.total() == self.writes and not self.out_of_order

    def note(self, key: str, number: int) -> None:
        """Counts a change. One that was seen may come again, with all that follow it; none may be skipped."""
        self.came += 1
        self.out_of_order += number > self.seen[key] + 1
        self.seen[key] = max(self.seen[key], number)

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"{self.writes} writes to {len(self.written)} items in {self.seconds:.1f} s, {self.cuts} cuts",
            f"changes that came: {self.came}, {self.came - self.seen.total()} of them once more",
            f"missing: {self.missing}; out of order: {self.out_of_order}",
            f"requests of the sidecar, by the fault that struck them: {dict(sorted(self.faults.items()))}",
        ]


async def run(settings: Mapping[str, str], writes: int, cuts: int, *, seed: int = _SEED) -> Figures:
    """Writes so many changes to a fresh table, and watches it meanwhile."""
    figures = Figures(writes)
    async with proxied(settings["AWS_ENDPOINT_URL"], FAULTS, seed=seed, operations=_OPERATIONS) as proxy:
        environment = {**settings, "AWS_ENDPOINT_URL": proxy.url}
        sidecar = await asyncio.to_thread(start_sidecar, [], environment)
        try:
            async with (
                asyncio.timeout(_LONGEST_SECONDS),
                cuttable(sidecar.target) as (target, cutter),
                aio.connect(sidecar.target) as writer,
                aio.connect(target) as watcher,
            ):
                await _make_table(writer)
                await _watch(writer, watcher, cutter, figures, cuts)
        finally:
            await asyncio.to_thread(stop_sidecar, sidecar)
        figures.faults = proxy.counts
    return figures


async def _make_table(client: aio.Client) -> None:
    if TABLE in (await client.dynamodb.list_tables())["TableNames"]:
        await client.dynamodb.delete_table(TableName=TABLE)
    await client.dynamodb.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )


async def _watch(writer: aio.Client, watcher: aio.Client, cutter: Cutter, figures: Figures, cuts: int) -> None:
    watch = watcher.dynamodb.watch_table(TABLE, heartbeat=2, max_records=100)
    await watch.begin()
    started = time.perf_counter()
    async with asyncio.TaskGroup() as writing:
        for group in range(_GROUPS):
            writing.create_task(_write(writer, group, figures))
        async for change in watch:
            image = change["dynamodb"]["NewImage"]
            figures.note(image["id"], int(image["number"]))
            if figures.seen.total() >= figures.writes * (cutter.cuts + 1) / (cuts + 1) and cutter.cuts < cuts:
                cutter.cut()
            if figures.seen.total() == figures.writes:
                break
    figures.seconds = time.perf_counter() - started
    figures.cuts = cutter.cuts


async def _write(client: aio.Client, group: int, figures: Figures) -> None:
    """Writes the items of one group again and again."""
    share = figures.writes // _GROUPS + (group < figures.writes % _GROUPS)
    while share:
        keys = [f"{group}-{place}" for place in range(min(_GROUP, share))]
        share -= len(keys)
        for key in keys:
            figures.written[key] += 1
        puts: list[shapes.WriteRequest] = [
            {"PutRequest": {"Item": {"id": key, "number": figures.written[key]}}} for key in keys
        ]
        await client.dynamodb.batch_write_item(RequestItems={TABLE: puts})


def main() -> int:
    """Runs on a DynamoDB Local of its own; 1 when a change was missed, or came out of order."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--writes", type=int, default=50_000)
    options.add_argument("--cuts", type=int, default=20)
    options.add_argument("--seed", type=int, default=_SEED)
    chosen = options.parse_args()
    with dynamodb_local.running() as endpoint:
        figures = asyncio.run(run(backends.settings(endpoint), chosen.writes, chosen.cuts, seed=chosen.seed))
    sys.stdout.write("\n".join([*figures.lines(), "right" if figures.is_right else "WRONG", ""]))
    return 0 if figures.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
