"""Checkpoints that nobody was sent: what they name costs little, and is never an internal error."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit import virtual_time
from tests.unit.dynamodb.changes.fakes import STREAM, FakeStreams
from tests.unit.dynamodb.changes.scenes import on
from tests.unit.dynamodb.changes.watching import Service, forged

from awsidecar_server.errors import AwsRejected, HistoryLost, InvalidRequest, SidecarError


def test_shards_that_the_stream_does_not_know_are_lost_history_at_the_cost_of_one_call(
    streams: FakeStreams,
) -> None:
    async def scene(service: Service) -> None:
        positions = {f"{number:x}": "^" for number in range(20_000)} | {"one": "^"}
        del positions["0"]
        began, cpu = asyncio.get_running_loop().time(), time.process_time()
        with pytest.raises(HistoryLost) as lost:
            async with service.watch(checkpoint=forged(STREAM, positions)):
                pass
        assert lost.value.metadata == {"shard_id": "1"}
        assert asyncio.get_running_loop().time() - began < 1
        assert time.process_time() - cpu < 2
        assert streams.calls == {"DescribeTable": 1, "DescribeStream": 1, "GetShardIterator": 1}

    on(streams, scene)


def test_nothing_is_begun_for_ends_of_shards_that_the_stream_does_not_know(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        positions = {f"{number:x}": "$" for number in range(2000)}
        async with service.watch(checkpoint=forged(STREAM, positions), heartbeat=1) as watching:
            assert len(asyncio.all_tasks()) < 10
            with pytest.raises(HistoryLost):
                await watching.during(60)
        assert (streams.calls["GetShardIterator"], streams.calls["GetRecords"]) == (0, 0)

    on(streams, scene)


def test_more_shards_than_a_stream_has_are_refused_before_any_call(streams: FakeStreams) -> None:
    async def scene(service: Service) -> None:
        with pytest.raises(InvalidRequest, match=r"^checkpoint: names more shards"):
            async with service.watch(checkpoint=forged(STREAM, {f"{number:x}": "^" for number in range(20_001)})):
                pass
        assert not streams.calls

    on(streams, scene)


def test_time_that_is_still_to_come_is_refused_as_until_then_changes_would_be_taken_for_old(
    streams: FakeStreams,
) -> None:
    async def scene(service: Service) -> None:
        now = int(virtual_time.now().timestamp() * 1000)
        with pytest.raises(InvalidRequest, match=r"^checkpoint: is of a time that is still to come"):
            async with service.watch(checkpoint=forged(STREAM, {"one": f"@{now + 5 * 60_000 + 1000}"})):
                pass
        async with service.watch(checkpoint=forged(STREAM, {"one": f"@{now + 5 * 60_000}"})) as watching:
            streams.write("one", "a")
            assert await watching.until(1) == ["a/0"]

    on(streams, scene)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)
NUMBERS = st.one_of(st.integers(0, 10**25).map(str), st.text("0123456789", max_size=90), st.text(max_size=5))
POSITIONS = st.one_of(st.builds("{}{}".format, st.sampled_from("=>@^$"), NUMBERS), st.sampled_from("^$"), JSON)
SHARDS = st.one_of(st.sampled_from(["one", "two"]), st.text(max_size=70))
ARNS = st.one_of(st.just(STREAM), st.just(STREAM.replace("users", "orders")), st.text(max_size=5), JSON)


@given(ARNS, st.one_of(st.dictionaries(SHARDS, POSITIONS, max_size=3), JSON), st.booleans(), st.booleans())
def test_any_checkpoint_is_followed_or_refused_with_its_reason(
    stream_arn: object, positions: object, has_table: bool, names_table: bool
) -> None:
    async def play() -> None:
        streams = FakeStreams()
        streams.add("one")
        streams.write("one", "a")
        streams.has_table = has_table
        source: dict[str, Any] = {} if names_table else {"table_name": None, "stream_arn": STREAM}
        field = "checkpoint"
        try:
            async with Service.on(streams).watch(checkpoint=forged(stream_arn, positions), **source) as watching:
                await watching.during(60)
        except InvalidRequest as refused:
            field = refused.metadata["field"]
        except (AwsRejected, SidecarError):
            pass
        assert field == "checkpoint"

    virtual_time.run(play())
