from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

import awsidecar
from awsidecar import aio, errors
from awsidecar.dynamodb.v1 import batch_streams_pb2 as pb
from awsidecar.dynamodb.v1.failure_pb2 import Failure
from awsidecar.values import plain_attributes

from .fake_sidecar import FakeSidecar, Refused, details_of

AWAY = Refused(grpc.StatusCode.UNAVAILABLE, "Socket closed")
NOBODY = Refused(grpc.StatusCode.UNAUTHENTICATED, "who?", details_of("SESSION_NOT_FOUND", "awsidecar"))
LARGE = Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "a message is larger than 37748736 bytes")
THROTTLED = Failure(code=8, message="slow down")
THROTTLED.MergeFromString(details_of("PROVISIONED_THROUGHPUT_EXCEEDED_EXCEPTION", "dynamodb.amazonaws.com"))
THROTTLED.code, THROTTLED.message = 8, "slow down"

Exchange = Callable[[Iterator[Any]], Iterator[Message | Refused]]


def writes_done(failures: dict[int, Failure | None] | None = None, most: int | None = None) -> Exchange:
    """Tells of each write that it is done, but for some; after so many, that time is up.

    None in `failures` is what a drain has left.
    """

    def serve(requests: Iterator[Any]) -> Iterator[Message | Refused]:
        index = 0
        for request in requests:
            response = pb.BatchWriteStreamResponse()
            for _ in request.writes:
                response.deadline_spent = most is not None and index >= most
                outcome = response.outcomes.add(index=index)
                if response.deadline_spent:
                    outcome.not_attempted.SetInParent()
                elif index not in (failures or {}):
                    outcome.done.SetInParent()
                elif (failure := (failures or {})[index]) is not None:
                    outcome.failure.CopyFrom(failure)
                else:
                    outcome.not_attempted.SetInParent()
                index += 1
            yield response

    return serve


def items_of(requests: Iterator[Any]) -> Iterator[Message | Refused]:
    """Answers each read with an item that has its key, but not those whose key is negative."""
    index = 0
    for request in requests:
        response = pb.BatchGetStreamResponse()
        for get in request.gets:
            outcome = response.outcomes.add(index=index)
            number = int(get.key["id"].n)
            if number < -1:
                outcome.failure.CopyFrom(THROTTLED)
            elif number < 0:
                outcome.not_found.SetInParent()
            else:
                outcome.item.attributes["id"].n = str(number)
            index += 1
        yield response


def run(sidecar: FakeSidecar, way: str, script: list[tuple[str, dict[str, Any]]], **options: Any) -> int:
    """Performs the calls of a script in a batch writer of either client; returns how many writes are done."""
    if way == "threads":
        with awsidecar.connect(sidecar.target) as client, client.dynamodb.batch_writer(**options) as batch:
            for method, parameters in script:
                getattr(batch, method)(**parameters)
        return batch.done

    async def main() -> int:
        async with aio.connect(sidecar.target) as client, client.dynamodb.batch_writer(**options) as batch:
            for method, parameters in script:
                await getattr(batch, method)(**parameters)
        return batch.done

    return asyncio.run(main())


def read(sidecar: FakeSidecar, way: str, **parameters: Any) -> list[Any]:
    if way == "threads":
        with awsidecar.connect(sidecar.target) as client:
            return list(client.dynamodb.batch_get(**parameters))

    async def main() -> list[Any]:
        async with aio.connect(sidecar.target) as client:
            return [item async for item in client.dynamodb.batch_get(**parameters)]

    return asyncio.run(main())


@pytest.fixture(params=["threads", "asyncio"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def puts(count: int) -> list[tuple[str, dict[str, Any]]]:
    return [("put_item", {"Item": {"id": number}}) for number in range(count)]


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


def test_failures_are_counted_and_the_first_are_kept(sidecar: FakeSidecar, way: str) -> None:
    sidecar.exchanges["BatchWriteStream"] = writes_done(dict.fromkeys(range(1, 6000), THROTTLED))
    heard: list[awsidecar.FailedWrite] = []
    with pytest.raises(errors.BatchFailed, match="5999 of 6000 writes were not done") as caught:
        run(sidecar, way, puts(6000), table_name="users", on_failure=heard.append)
    assert [one.index for one in heard] == list(range(1, 6000))
    assert [one.index for one in caught.value.failures] == list(range(1, 4001))
    assert (caught.value.failed, caught.value.done, caught.value.ambiguous) == (5999, 1, False)


def test_what_the_listener_raises_ends_the_batch(sidecar: FakeSidecar, way: str) -> None:
    sidecar.exchanges["BatchWriteStream"] = writes_done({7: THROTTLED, 8: THROTTLED})
    heard: list[int] = []

    def enough(failed: awsidecar.FailedWrite) -> None:
        heard.append(failed.index)
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        run(sidecar, way, puts(9000), table_name="users", on_failure=enough)
    assert heard == [7]
    assert sum(len(received.message.writes) for received in sidecar.received) < 9000


@pytest.mark.parametrize("way", ["threads", "asyncio"])
async def test_a_batch_that_its_listener_ended_goes_no_further(sidecar: FakeSidecar, way: str) -> None:
    """Also when its application goes on after the failure of a write."""
    sidecar.exchanges["BatchWriteStream"] = writes_done({7: THROTTLED})
    ends: list[type[Exception]] = []

    def enough(failed: awsidecar.FailedWrite) -> None:
        raise LookupError("enough")

    def with_threads() -> None:
        with (
            awsidecar.connect(sidecar.target) as client,
            client.dynamodb.batch_writer("users", on_failure=enough) as batch,
        ):
            for number in range(3000):
                try:
                    batch.put_item(Item={"id": number})
                except (LookupError, RuntimeError) as failure:
                    ends.append(type(failure))

    async def with_asyncio() -> None:
        async with (
            aio.connect(sidecar.target) as client,
            client.dynamodb.batch_writer("users", on_failure=enough) as batch,
        ):
            for number in range(3000):
                try:
                    await batch.put_item(Item={"id": number})
                except (LookupError, RuntimeError) as failure:
                    ends.append(type(failure))

    with pytest.raises(RuntimeError, match="the batch has ended"):
        await (asyncio.to_thread(with_threads) if way == "threads" else with_asyncio())
    assert ends[0] is LookupError
    assert set(ends[1:]) == {RuntimeError}


async def test_tasks_may_share_a_batch(sidecar: FakeSidecar) -> None:
    sidecar.exchanges["BatchWriteStream"] = writes_done()
    async with aio.connect(sidecar.target) as client, client.dynamodb.batch_writer("users") as batch:

        async def write(first: int) -> None:
            for number in range(first, first + 500):
                await batch.put_item(Item={"id": number})

        await asyncio.gather(*(write(500 * task) for task in range(20)))
        await asyncio.gather(
            *(batch.put_item(Item={"id": 10_000 + number}) for number in range(3000)), batch.flush()
        )
    assert batch.done == 13_000
    sent = [write.put.item["id"].n for received in sidecar.received for write in received.message.writes]
    assert sorted(map(int, sent)) == list(range(13_000))


class Slow:
    """Says that writes are done when a test wants it to."""

    def __init__(self, sidecar: FakeSidecar) -> None:
        self.reached, self.released = threading.Event(), threading.Event()
        sidecar.exchanges["BatchWriteStream"] = self._serve

    def _serve(self, requests: Iterator[Any]) -> Iterator[Message | Refused]:
        for response in writes_done()(requests):
            self.reached.set()
            self.released.wait(10)
            yield response


async def test_a_flush_waits_for_what_was_written_before_it_and_not_for_others(sidecar: FakeSidecar) -> None:
    slow = Slow(sidecar)
    async with aio.connect(sidecar.target) as client, client.dynamodb.batch_writer("users", timeout=20) as batch:
        await batch.put_item(Item={"id": 1})
        flushing = asyncio.ensure_future(batch.flush())
        await asyncio.to_thread(slow.reached.wait, 10)
        await batch.put_item(Item={"id": 2})
        slow.released.set()
        async with asyncio.timeout(10):
            await flushing
        assert batch.done == 1
    assert batch.done == 2


async def test_a_cancelled_flush_harms_no_write(sidecar: FakeSidecar) -> None:
    slow = Slow(sidecar)
    async with aio.connect(sidecar.target) as client, client.dynamodb.batch_writer("users", timeout=20) as batch:
        for number in range(250):
            await batch.put_item(Item={"id": number})
        for _ in range(3):
            flushing = asyncio.ensure_future(batch.flush())
            await asyncio.to_thread(slow.reached.wait, 10)
            flushing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await flushing
        slow.released.set()
    assert batch.done == 250


async def test_writes_of_a_batch_whose_client_is_closed_are_open(sidecar: FakeSidecar) -> None:
    slow = Slow(sidecar)
    client = aio.connect(sidecar.target)
    batch = client.dynamodb.batch_writer("users", timeout=20)
    with pytest.raises(errors.BatchFailed) as caught:
        await _written_and_closed(client, batch, slow)
    slow.released.set()
    assert [one.ambiguous for one in caught.value.failures] == [True] * 100
    assert caught.value.code is grpc.StatusCode.CANCELLED


async def _written_and_closed(client: aio.Client, batch: Any, slow: Slow) -> None:
    async with batch:
        for number in range(100):
            await batch.put_item(Item={"id": number})
        await asyncio.to_thread(slow.reached.wait, 10)
        await client.close()


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


def test_reads_that_a_drain_has_left_are_unavailable(sidecar: FakeSidecar, way: str) -> None:
    def drains(requests: Iterator[Any]) -> Iterator[Message | Refused]:
        response = pb.BatchGetStreamResponse()
        response.outcomes.add(index=0).not_attempted.SetInParent()
        next(requests)
        yield response

    sidecar.exchanges["BatchGetStream"] = drains
    with pytest.raises(errors.Unavailable) as caught:
        read(sidecar, way, TableName="users", Keys=[{"id": 1}])
    assert caught.value.reason == "DRAINING"


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


def test_items_come_in_the_order_of_the_keys(sidecar: FakeSidecar, way: str) -> None:
    sidecar.exchanges["BatchGetStream"] = items_of
    keys = [{"id": number if number % 7 else -1} for number in range(4321)]
    found = read(sidecar, way, TableName="users", Keys=keys, ConsistentRead=True, ProjectionExpression="id")
    assert found == [{"id": number} if number % 7 else None for number in range(4321)]
    options = sidecar.received[0].message.options
    assert options.in_order
    assert (options.tables["users"].consistent_read, options.tables["users"].projection_expression) == (True, "id")
    assert not sidecar.received[1].message.HasField("options")


def test_a_failed_read_is_raised_when_it_is_its_turn(sidecar: FakeSidecar) -> None:
    sidecar.exchanges["BatchGetStream"] = items_of
    with awsidecar.connect(sidecar.target) as client:
        items = client.dynamodb.batch_get(TableName="users", Keys=[{"id": 1}, {"id": -2}, {"id": 3}])
        assert next(items) == {"id": 1}
        with pytest.raises(errors.ProvisionedThroughputExceededException):
            next(items)


def test_reads_that_were_not_answered_are_a_deadline_that_passed(sidecar: FakeSidecar, way: str) -> None:
    def none(requests: Iterator[Any]) -> Iterator[Message | Refused]:
        for _ in requests:
            yield pb.BatchGetStreamResponse(deadline_spent=True)

    sidecar.exchanges["BatchGetStream"] = none
    with pytest.raises(errors.DeadlineExceeded):
        read(sidecar, way, TableName="users", Keys=[{"id": 1}])


def test_no_keys_are_no_items(sidecar: FakeSidecar, way: str) -> None:
    sidecar.exchanges["BatchGetStream"] = items_of
    assert read(sidecar, way, TableName="users", Keys=[]) == []


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"TableName": "t"}, "Keys: is missing"),
        ({"TableName": "t", "Keys": [], "Consistent": True}, "Consistent"),
        ({"TableName": "t", "Keys": [{"id": 1}, {"id": object()}]}, "Keys[1].id"),
        ({"TableName": "t", "Keys": [1]}, "Keys[0]: must be a mapping"),
    ],
)
def test_mistakes_in_reads_are_told(
    sidecar: FakeSidecar, way: str, parameters: dict[str, Any], complaint: str
) -> None:
    sidecar.exchanges["BatchGetStream"] = items_of
    with pytest.raises(TypeError, match=re.escape(complaint)):
        read(sidecar, way, **parameters)


async def test_keys_may_come_one_by_one(sidecar: FakeSidecar) -> None:
    sidecar.exchanges["BatchGetStream"] = items_of

    async def keys() -> AsyncIterator[dict[str, int]]:
        for number in range(3):
            yield {"id": number}

    async with aio.connect(sidecar.target) as client:
        found = [item async for item in client.dynamodb.batch_get(TableName="t", Keys=keys())]
    assert found == [{"id": 0}, {"id": 1}, {"id": 2}]
