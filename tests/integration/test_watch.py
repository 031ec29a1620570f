"""Watches on real backends: nothing is missed, whatever is cut."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import grpc
import pytest
from tests.integration.backends import Backend
from tests.integration.conftest import Sidecar, error_info, start_sidecar, stop_sidecar
from tests.integration.watch_under_cuts import run

import awsidecar
from awsidecar import aio, errors
from awsidecar.dynamodb.v1.dynamodb_service_pb2_grpc import DynamoDbServiceStub
from awsidecar.dynamodb.v1.watch_pb2 import WatchTableRequest


async def test_every_change_comes_in_order_while_connections_are_cut(backend: Backend) -> None:
    figures = await run(backend.settings, 2000, 5)
    assert figures.is_right, figures.lines()
    assert figures.cuts == 5
    assert figures.faults["cut_after"]


@contextmanager
def table(client: awsidecar.Client, name: str) -> Iterator[str]:
    """A table with a stream, while entered."""
    client.dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    try:
        yield name
    finally:
        with suppress(errors.ResourceNotFoundException):
            client.dynamodb.delete_table(TableName=name)


@pytest.fixture
def client(backend: Backend) -> Iterator[awsidecar.Client]:
    with awsidecar.connect(backend.sidecar.target) as connected:
        yield connected


def put(client: awsidecar.Client, name: str, *keys: str) -> None:
    for key in keys:
        client.dynamodb.put_item(TableName=name, Item={"id": key})


def take(watch: awsidecar.watches.Watch, count: int) -> list[Any]:
    """The keys of so many changes."""
    keys = []
    for change in watch:
        keys.append(change["dynamodb"]["Keys"]["id"])
        if len(keys) == count:
            break
    return keys


def test_latest_then_checkpoint_then_oldest(client: awsidecar.Client) -> None:
    with table(client, "watched") as name:
        put(client, name, "old")
        watch = client.dynamodb.watch_table(name)
        watch.begin()
        begun = watch.checkpoint
        put(client, name, "a", "b")
        assert take(watch, 2) == ["a", "b"]
        put(client, name, "c")
        oldest = client.dynamodb.watch_table(name, start="TRIM_HORIZON")
        assert take(oldest, 4) == ["old", "a", "b", "c"]
        resumed = take(client.dynamodb.watch_table(name, checkpoint=begun), 3)
        # Without AWS's AT_TIMESTAMP, what came some minutes before comes, too.
        assert [key for key in resumed if key != "old"] == ["a", "b", "c"][: len(resumed) - ("old" in resumed)]


def test_changes_of_another_table_before_the_first_of_the_watched_one_do_not_end_the_watch(
    client: awsidecar.Client,
) -> None:
    with table(client, "quiet") as quiet, table(client, "busy") as busy:
        watch = client.dynamodb.watch_table(quiet)
        watch.begin()
        put(client, busy, "a", "b")
        put(client, quiet, "first")
        put(client, busy, "c")
        put(client, quiet, "second")
        assert take(watch, 2) == ["first", "second"]


def test_disabled_stream_is_given_to_its_end(client: awsidecar.Client) -> None:
    with table(client, "disabled") as name:
        watch = client.dynamodb.watch_table(name)
        watch.begin()
        put(client, name, "a", "b")
        client.dynamodb.update_table(TableName=name, StreamSpecification={"StreamEnabled": False})
        changes = iter(watch)
        assert [next(changes)["dynamodb"]["Keys"]["id"] for _ in range(2)] == ["a", "b"]
        with pytest.raises(errors.FailedPrecondition) as ended:
            next(changes)
        assert ended.value.reason == "STREAM_ENDED"
        with pytest.raises(errors.FailedPrecondition) as refused:
            client.dynamodb.watch_table(name).begin()
        assert refused.value.reason == "STREAM_NOT_ENABLED"


def test_stream_of_a_table_that_was_deleted_is_given_to_its_end(client: awsidecar.Client) -> None:
    with table(client, "deleted") as name:
        watch = client.dynamodb.watch_table(name)
        watch.begin()
        put(client, name, "a", "b")
        client.dynamodb.delete_table(TableName=name)
        changes = iter(client.dynamodb.watch_table(name, checkpoint=watch.checkpoint))
        assert [next(changes)["dynamodb"]["Keys"]["id"] for _ in range(2)] == ["a", "b"]
        with pytest.raises(errors.FailedPrecondition) as ended:
            next(changes)
        assert ended.value.reason == "STREAM_ENDED"
        with pytest.raises(errors.InvalidRequest, match="checkpoint: is of another table"):
            client.dynamodb.watch_table("deleted-too", checkpoint=watch.checkpoint).begin()


def test_checkpoint_of_another_table_is_refused(client: awsidecar.Client) -> None:
    with table(client, "one-of-two") as one, table(client, "two-of-two") as other:
        watch = client.dynamodb.watch_table(one)
        watch.begin()
        with pytest.raises(errors.InvalidRequest, match="checkpoint: is of another table"):
            client.dynamodb.watch_table(other, checkpoint=watch.checkpoint).begin()


def test_unknown_table_is_aws_s_own_refusal(client: awsidecar.Client) -> None:
    with pytest.raises(errors.ResourceNotFoundException):
        client.dynamodb.watch_table("no-such-table").begin()


def test_watch_is_the_callers_own_to_be_allowed(sidecar: Sidecar) -> None:
    with awsidecar.connect(sidecar.target) as service, table(service, "not-for-users") as name:
        user = service.with_token(sidecar.token())
        with pytest.raises(errors.AccessDeniedException):
            user.dynamodb.watch_table(name).begin()


def test_watch_of_a_session_ends_with_it(backend: Backend) -> None:
    with awsidecar.connect(backend.sidecar.target) as anybody, table(anybody, "of-a-session") as name:
        keys = awsidecar.AwsCredentials(backend.access_key_id, "any-secret-will-do")
        session = anybody.open_session(aws_credentials=keys)
        watch = session.dynamodb.watch_table(name, heartbeat=1)
        watch.begin()
        session.close()
        with pytest.raises(errors.SessionNotFound):
            next(iter(watch))


def test_deadline_of_a_watch_that_is_well_says_that_it_was_the_deadline(backend: Backend) -> None:
    with (
        awsidecar.connect(backend.sidecar.target) as other,
        table(other, "with-a-deadline") as name,
        grpc.insecure_channel(backend.sidecar.target) as channel,
    ):
        call = DynamoDbServiceStub(channel).WatchTable(WatchTableRequest(table_name=name), timeout=2)
        assert next(iter(call)).checkpoint
        with pytest.raises(grpc.RpcError, match="nothing else ended the call") as ended:
            next(iter(call))
        assert error_info(ended.value).reason == "DEADLINE_SPENT"


def test_drain_ends_a_watch_at_once_and_says_why(backend: Backend) -> None:
    draining = start_sidecar([], backend.settings)
    with (
        awsidecar.connect(backend.sidecar.target) as other,
        table(other, "drained") as name,
        grpc.insecure_channel(draining.target) as channel,
        ThreadPoolExecutor(1) as pool,
    ):
        call = DynamoDbServiceStub(channel).WatchTable(WatchTableRequest(table_name=name))
        assert next(iter(call)).checkpoint
        began = time.monotonic()
        ending = pool.submit(stop_sidecar, draining)
        with pytest.raises(grpc.RpcError) as ended:
            next(iter(call))
        assert error_info(ended.value).reason == "DRAINING"
        assert ending.result() == 0
        assert time.monotonic() - began < 10


@pytest.fixture
async def aio_client(backend: Backend) -> AsyncIterator[aio.Client]:
    async with aio.connect(backend.sidecar.target) as connected:
        yield connected


async def test_ten_watches_get_the_same(aio_client: aio.Client, backend: Backend) -> None:
    with awsidecar.connect(backend.sidecar.target) as plain, table(plain, "shared") as name:

        async def changes() -> list[Any]:
            found = []
            async for change in aio_client.dynamodb.watch_table(name, start="TRIM_HORIZON"):
                found.append(change["dynamodb"]["Keys"]["id"])
                if len(found) == 100:
                    break
            return found

        watching = [asyncio.create_task(changes()) for _ in range(10)]
        keys = [f"key-{number}" for number in range(100)]
        for key in keys:
            await aio_client.dynamodb.put_item(TableName=name, Item={"id": key})
        assert await asyncio.gather(*watching) == [keys] * 10
