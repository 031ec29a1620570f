"""Batches of writes: what is sent of them, and what is told of each write."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

import awsidecar
from awsidecar import aio, errors
from awsidecar.batch_progress import WriteProgress
from awsidecar.dynamodb.v1 import batch_streams_pb2 as pb
from awsidecar.dynamodb.v1.failure_pb2 import Failure
from awsidecar.values import plain_attributes

from .batch_streams import AWAY, THROTTLED, Exchange, items_of, puts, read, run, writes_done
from .fake_sidecar import FakeSidecar, Refused, details_of

NOBODY = Refused(grpc.StatusCode.UNAUTHENTICATED, "who?", details_of("SESSION_NOT_FOUND", "awsidecar"))
LARGE = Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "a message is larger than 37748736 bytes")


def test_any_number_of_writes_is_sent_in_order_and_told_of(sidecar: FakeSidecar, way: str) -> None:
    sidecar.exchanges["BatchWriteStream"] = writes_done()
    assert run(sidecar, way, puts(5230), table_name="users") == 5230
    sent = [write for received in sidecar.received for write in received.message.writes]
    assert [plain_attributes(write.put.item) for write in sent] == [{"id": number} for number in range(5230)]
    assert {write.table_name for write in sent} == {"users"}
    assert max(len(received.message.writes) for received in sidecar.received) == 100


def test_a_stream_that_told_of_all_ends_and_is_not_cancelled(sidecar: FakeSidecar, way: str) -> None:
    ended = threading.Event()

    def notes(serve: Exchange) -> Exchange:
        def noted(requests: Iterator[Any]) -> Iterator[Message | Refused]:
            yield from serve(requests)
            ended.set()

        return noted

    sidecar.exchanges["BatchWriteStream"] = notes(writes_done())
    sidecar.exchanges["BatchGetStream"] = notes(items_of)
    run(sidecar, way, puts(3), table_name="users")
    assert ended.is_set()
    ended.clear()
    read(sidecar, way, TableName="users", Keys=[{"id": 1}])
    assert ended.is_set()


def test_a_writer_that_is_dropped_without_its_block_leaves_nothing_running(
    sidecar: FakeSidecar, client: awsidecar.Client
) -> None:
    serving, ended = threading.Event(), threading.Event()

    def wait(requests: Iterator[Any]) -> Iterator[Message | Refused]:
        serving.set()
        try:
            yield from writes_done()(requests)
        finally:
            ended.set()

    sidecar.exchanges["BatchWriteStream"] = wait
    client.dynamodb.list_tables()
    before = set(threading.enumerate())
    batch = client.dynamodb.batch_writer("users", timeout=60)
    begun = [one for one in set(threading.enumerate()) - before if "ThreadPoolExecutor" not in one.name]
    assert begun
    # A call that is dropped before it is served never begins.
    assert serving.wait(5)
    del batch
    for one in begun:
        one.join(5)
    assert not any(one.is_alive() for one in begun)
    assert ended.wait(5)


def test_a_write_may_name_its_own_table(sidecar: FakeSidecar, way: str) -> None:
    sidecar.exchanges["BatchWriteStream"] = writes_done()
    script: list[tuple[str, dict[str, Any]]] = [
        ("put_item", {"Item": {"id": "1"}, "TableName": "orders"}),
        ("delete_item", {"Key": {"id": "2"}}),
        ("flush", {}),
        ("delete_item", {"Key": {"id": "3"}}),
    ]
    assert run(sidecar, way, script, table_name="users") == 3
    first, second = (received.message for received in sidecar.received)
    assert [write.table_name for write in first.writes] == ["orders", "users"]
    assert plain_attributes(second.writes[0].delete.key) == {"id": "3"}


def test_leaving_the_block_tells_of_each_write_that_was_not_done(sidecar: FakeSidecar, way: str) -> None:
    unknown = Failure(code=14, message="lost", ambiguous=True)
    sidecar.exchanges["BatchWriteStream"] = writes_done({1: THROTTLED, 3: None, 4: unknown})
    script = [*puts(4), ("delete_item", {"Key": {"id": 4}}), *puts(1)]
    with pytest.raises(
        errors.BatchFailed, match="3 of 6 writes are not known to be done; the first: slow down"
    ) as caught:
        run(sidecar, way, script, table_name="users")
    failed = caught.value.failures
    assert [(one.index, one.table_name, one.item, one.key) for one in failed] == [
        (1, "users", {"id": 1}, None),
        (3, "users", {"id": 3}, None),
        (4, "users", None, {"id": 4}),
    ]
    assert isinstance(failed[0].error, errors.ProvisionedThroughputExceededException)
    assert failed[1].error is not None
    assert failed[1].error.reason == "DRAINING"
    assert [one.ambiguous for one in failed] == [False, False, True]
    assert [one.error.ambiguous for one in failed if one.error is not None] == [False, False, True]
    assert caught.value.ambiguous
    assert caught.value.done == 3
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(caught.value).endswith(" slow down [PROVISIONED_THROUGHPUT_EXCEEDED_EXCEPTION, BatchWriteStream]")


def test_when_time_is_up_no_more_is_sent_and_the_rest_was_not_attempted(sidecar: FakeSidecar, way: str) -> None:
    sidecar.exchanges["BatchWriteStream"] = writes_done(most=150)
    with pytest.raises(errors.BatchFailed) as caught:
        run(sidecar, way, puts(9000), table_name="users")
    failed = [one.index for one in caught.value.failures]
    assert failed == list(range(150, 150 + len(failed)))
    assert len(failed) < 2500
    assert {(one.error, one.ambiguous) for one in caught.value.failures} == {(None, False)}
    assert "writes were not done; the first: time was up" in str(caught.value)
    assert not caught.value.ambiguous
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(("end", "ambiguous"), [(AWAY, True), (LARGE, True), (NOBODY, False)])
def test_a_stream_that_breaks_leaves_open_what_was_not_told(
    sidecar: FakeSidecar, way: str, end: Refused, ambiguous: bool
) -> None:
    def breaks(requests: Iterator[Any]) -> Iterator[Message | Refused]:
        yield from writes_done()(iter([next(requests)]))
        yield end

    sidecar.exchanges["BatchWriteStream"] = breaks
    with pytest.raises(errors.BatchFailed) as caught:
        run(sidecar, way, puts(250), table_name="users")
    failed, done = caught.value.failures, caught.value.done
    assert [one.index for one in failed] == list(range(done, 250))
    codes = {one.error.code for one in failed if one.error is not None}
    assert (codes, done) == ({end.code}, 100)
    assert {one.ambiguous for one in failed} == {ambiguous}


@pytest.mark.parametrize("way", ["threads", "asyncio"])
async def test_each_write_to_a_stream_that_has_ended_fails_at_once(sidecar: FakeSidecar, way: str) -> None:
    """Also where the application has passed over the first failure."""
    sidecar.exchanges["BatchWriteStream"] = lambda requests: iter([AWAY])
    ends: list[errors.BatchFailed | None] = []

    def with_threads() -> None:
        with awsidecar.connect(sidecar.target) as client, client.dynamodb.batch_writer("users", timeout=5) as batch:
            for number in range(6_010):
                try:
                    batch.put_item(Item={"id": number})
                    ends.append(None)
                except errors.BatchFailed as failed:
                    ends.append(failed)

    async def with_asyncio() -> None:
        async with aio.connect(sidecar.target) as client, client.dynamodb.batch_writer("users", timeout=5) as batch:
            for number in range(6_010):
                try:
                    await batch.put_item(Item={"id": number})
                    ends.append(None)
                except errors.BatchFailed as failed:
                    ends.append(failed)

    with pytest.raises(errors.BatchFailed, match="6010 of 6010") as caught:
        await (asyncio.to_thread(with_threads) if way == "threads" else with_asyncio())
    first = next(number for number, failed in enumerate(ends) if failed is not None)
    assert first < 2000
    assert [failed and failed.failed for failed in ends[first:]] == list(range(first + 1, 6_011))
    # What came later was not sent to anybody.
    assert {one.index for one in caught.value.failures if not one.ambiguous} == set(range(first + 1, 4_000))
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert isinstance(caught.value.__cause__, errors.Unavailable)


@pytest.mark.parametrize(
    ("size", "sent"), [pytest.param(1, 2_000, id="small"), pytest.param(100_000, 88, id="large")]
)
def test_as_much_is_under_way_as_the_sidecar_reads_ahead(size: int, sent: int) -> None:
    """So that it never waits for a client that waits for it, however much tasks have written at once."""
    progress = WriteProgress("users")
    for _ in range(2_500):
        progress.put({"id": 1, "binary": b"x" * size}, None)
    under_way = 0
    while progress.is_due:
        assert progress.may_send_of(progress.count)
        under_way += len(progress.request().writes)
    assert under_way == sent
    assert progress.is_full
    assert not progress.may_send_of(progress.count)


def test_what_was_written_after_a_flush_is_not_sent_for_it() -> None:
    progress = WriteProgress("users")
    for number in range(250):
        progress.put({"id": number}, None)
    progress.request()
    assert [progress.may_send_of(count) for count in (1, 100, 101)] == [False, False, True]


def test_nothing_is_sent_to_a_stream_that_has_ended() -> None:
    """Requests that nobody reads would pile up."""
    progress = WriteProgress("users")
    progress.put({"id": 1}, None)
    with pytest.raises(errors.BatchFailed):
        progress.check()
    assert not progress.may_send_of(progress.count)
    with pytest.raises(errors.BatchFailed):
        progress.delete({"id": 2}, None)
    assert not progress.may_send_of(progress.count)


@pytest.mark.parametrize("attempt", range(20))
async def test_how_a_stream_ended_is_told_also_when_a_write_meets_its_end(
    sidecar: FakeSidecar, attempt: int
) -> None:
    """By the sidecar, which ends it while the client writes; and what it told before is not lost."""

    def breaks(requests: Iterator[Any]) -> Iterator[Message | Refused]:
        yield from writes_done()(iter([next(requests)]))
        yield NOBODY

    sidecar.exchanges["BatchWriteStream"] = breaks
    async with aio.connect(sidecar.target) as client:
        with pytest.raises(errors.BatchFailed) as caught:
            await _write_with_pauses(client, attempt)
    assert {type(one.error) for one in caught.value.failures} == {errors.SessionNotFound}
    assert caught.value.done == 100


async def _write_with_pauses(client: Any, turns: int) -> None:
    """Writes on while the stream ends, now a little sooner, now a little later."""
    async with client.dynamodb.batch_writer("users") as batch:
        for number in range(1900):
            await batch.put_item(Item={"id": number})
            if number % 100 == 99:
                for _ in range(turns):
                    await asyncio.sleep(0)


def test_failures_of_large_items_are_kept_up_to_some_bytes(sidecar: FakeSidecar, way: str) -> None:
    unknown = Failure(code=14, message="lost", ambiguous=True)
    sidecar.exchanges["BatchWriteStream"] = writes_done({**dict.fromkeys(range(59), THROTTLED), 59: unknown})
    script: list[tuple[str, dict[str, Any]]] = [
        ("put_item", {"Item": {"id": number, "text": "x" * 390_000}}) for number in range(60)
    ]
    with pytest.raises(errors.BatchFailed) as caught:
        run(sidecar, way, script, table_name="users")
    assert len(caught.value.failures) == 16 * 1024 * 1024 // 390_000
    assert caught.value.failed == 60
    assert caught.value.ambiguous


def test_writes_that_were_told_of_as_lost_take_no_room() -> None:
    """Or a task that waits for its turn would wait for outcomes, too, of which there are no more."""
    progress = WriteProgress("users")
    while not progress.is_full:
        progress.put({"id": 1, "text": "x" * 390_000}, None)
    with pytest.raises(errors.BatchFailed):
        progress.check()
    assert not progress.is_full


def test_what_a_drain_has_left_was_not_done(sidecar: FakeSidecar, way: str) -> None:
    def drains(requests: Iterator[Any]) -> Iterator[Message | Refused]:
        response = pb.BatchWriteStreamResponse()
        response.outcomes.add(index=0).done.SetInParent()
        response.outcomes.add(index=1).not_attempted.SetInParent()
        next(requests)
        yield response
        yield Refused(grpc.StatusCode.UNAVAILABLE, "shutting down", details_of("DRAINING", "awsidecar"))

    sidecar.exchanges["BatchWriteStream"] = drains
    with pytest.raises(errors.BatchFailed) as caught:
        run(sidecar, way, puts(250), table_name="users")
    assert caught.value.failed == 249
    assert {one.error.reason for one in caught.value.failures if one.error is not None} == {"DRAINING"}
    assert not caught.value.ambiguous
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE


def test_an_exception_in_the_block_ends_the_stream_and_is_raised(sidecar: FakeSidecar, way: str) -> None:
    sidecar.exchanges["BatchWriteStream"] = writes_done()
    script = [*puts(3), ("put_item", {"Item": {"id": object()}})]
    with pytest.raises(TypeError, match=r"Item\.id"):
        run(sidecar, way, script, table_name="users")
    assert not sidecar.received


@pytest.mark.parametrize("write", [("put_item", {"Item": {"id": 1}}), ("delete_item", {"Key": {"id": 1}})])
async def test_a_write_after_the_block_is_refused_and_not_lost(
    sidecar: FakeSidecar, write: tuple[str, dict[str, Any]]
) -> None:
    sidecar.exchanges["BatchWriteStream"] = writes_done()
    method, parameters = write
    with awsidecar.connect(sidecar.target) as client:
        with client.dynamodb.batch_writer("users") as batch:
            pass
        with pytest.raises(RuntimeError, match="the batch has ended"):
            getattr(batch, method)(**parameters)
    async with aio.connect(sidecar.target) as aio_client:
        async with aio_client.dynamodb.batch_writer("users") as aio_batch:
            pass
        with pytest.raises(RuntimeError, match="the batch has ended"):
            await getattr(aio_batch, method)(**parameters)


@pytest.mark.parametrize(
    ("method", "parameters", "complaint"),
    [
        ("put_item", {"Item": {"id": 1}}, "TableName"),
        ("put_item", {"Item": {"id": 1}, "TableName": "t", "ConditionExpression": "x"}, "ConditionExpression"),
        ("put_item", {"Key": {"id": 1}, "TableName": "t"}, "Key"),
        ("delete_item", {"TableName": "t"}, "Key: is missing"),
        ("put_item", {"Item": 1, "TableName": "t"}, "Item: must be a mapping"),
    ],
)
def test_mistakes_are_told_at_once(
    sidecar: FakeSidecar, way: str, method: str, parameters: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(TypeError, match=re.escape(complaint)):
        run(sidecar, way, [(method, parameters)])
