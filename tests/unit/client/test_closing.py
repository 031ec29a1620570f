"""A client that is closed while it is at work: who was not cancelled sees no cancellation, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.message import Message

import awsidecar
from awsidecar import aio, errors
from awsidecar.credentials.v1 import credentials_pb2
from awsidecar.dynamodb.v1 import page_streams_pb2, tables_pb2, watch_pb2

from .fake_sidecar import FakeSidecar, Refused

OPENED = credentials_pb2.OpenSessionResponse(session="HANDLE")


class Stalls:
    """Leaves calls without an answer, or a further one, until the test is over."""

    def __init__(self, sidecar: FakeSidecar) -> None:
        self.reached, self.released = threading.Event(), threading.Event()
        sidecar.answer("ListTables", self._answer(tables_pb2.ListTablesResponse()))
        sidecar.answer("QueryStream", self._stream(page_streams_pb2.QueryStreamResponse()))
        sidecar.answer("WatchTable", self._stream(watch_pb2.WatchTableResponse(checkpoint="c")))
        sidecar.answer("WaitForTable", self._stream())
        sidecar.answer("CloseSession", self._answer(credentials_pb2.CloseSessionResponse()))
        sidecar.exchanges["BatchGetStream"] = sidecar.exchanges["BatchWriteStream"] = self._exchange

    def wait(self) -> None:
        self.reached.set()
        self.released.wait(20)

    def _answer(self, answer: Message) -> Callable[[Any], Message]:
        def late(_: object) -> Message:
            self.wait()
            return answer

        return late

    def _stream(self, *first: Message) -> list[Message | Refused]:
        stalls = self

        class Responses(list[Message | Refused]):
            def __iter__(self) -> Iterator[Message | Refused]:
                yield from list.__iter__(self)
                stalls.wait()

        return Responses(first)

    def _exchange(self, requests: Iterator[Any]) -> Iterator[Message | Refused]:
        for _ in requests:
            self.wait()
        yield from ()


@pytest.fixture
def stalls(sidecar: FakeSidecar) -> Iterator[Stalls]:
    sidecar.answer("OpenSession", OPENED)
    stalling = Stalls(sidecar)
    yield stalling
    stalling.released.set()


@pytest_asyncio.fixture
async def aio_client(sidecar: FakeSidecar) -> AsyncIterator[aio.Client]:
    client = aio.connect(sidecar.target, timeout=20)
    yield client
    await client.close()


def write(client: awsidecar.Client) -> None:
    with client.dynamodb.batch_writer("users") as batch:
        batch.put_item(Item={"id": 1})


def leave_session(client: awsidecar.Client) -> None:
    with client.open_session(id_token="TOKEN"):
        pass


async def aio_write(client: aio.Client) -> None:
    async with client.dynamodb.batch_writer("users") as batch:
        await batch.put_item(Item={"id": 1})


async def aio_leave_session(client: aio.Client) -> None:
    async with client.open_session(id_token="TOKEN"):
        pass


async def aio_all(items: AsyncIterator[Any]) -> None:
    async for _ in items:
        pass


WORK: dict[str, Callable[[awsidecar.Client], object]] = {
    "call": lambda client: client.dynamodb.list_tables(),
    "pages": lambda client: list(client.dynamodb.query_stream(TableName="users")),
    "items": lambda client: list(client.dynamodb.query_stream(TableName="users").items()),
    "watch": lambda client: list(client.dynamodb.watch_table("users")),
    "wait": lambda client: client.dynamodb.wait_for_table("users", timeout=20),
    "reads": lambda client: list(client.dynamodb.batch_get(TableName="users", Keys=[{"id": 1}])),
    "writes": write,
    "session": leave_session,
}
AIO_WORK: dict[str, Callable[[aio.Client], Awaitable[object]]] = {
    "call": lambda client: client.dynamodb.list_tables(),
    "pages": lambda client: aio_all(aiter(client.dynamodb.query_stream(TableName="users"))),
    "items": lambda client: aio_all(client.dynamodb.query_stream(TableName="users").items()),
    "watch": lambda client: aio_all(aiter(client.dynamodb.watch_table("users"))),
    "wait": lambda client: client.dynamodb.wait_for_table("users", timeout=20),
    "reads": lambda client: aio_all(client.dynamodb.batch_get(TableName="users", Keys=[{"id": 1}])),
    "writes": aio_write,
    "session": aio_leave_session,
}


@pytest.mark.parametrize("kind", AIO_WORK)
async def test_what_is_under_way_fails_when_another_task_closes_the_client(
    stalls: Stalls, aio_client: aio.Client, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aio, "CLOSING_SECONDS", 0.01)
    working = asyncio.ensure_future(AIO_WORK[kind](aio_client))
    await asyncio.to_thread(stalls.reached.wait, 10)
    async with asyncio.timeout(5):
        await aio_client.close()
        with pytest.raises(
            awsidecar.SidecarError, match="the channel was closed in the middle of the call"
        ) as caught:
            await working
    assert caught.value.code is grpc.StatusCode.CANCELLED
    assert caught.value.ambiguous


@pytest.mark.parametrize("kind", WORK)
def test_what_is_under_way_fails_when_another_thread_closes_the_client(
    sidecar: FakeSidecar, stalls: Stalls, kind: str
) -> None:
    client = awsidecar.connect(sidecar.target, timeout=20)
    failures: list[awsidecar.SidecarError] = []

    def work() -> None:
        try:
            WORK[kind](client)
        except awsidecar.SidecarError as error:
            failures.append(error)

    working = threading.Thread(target=work)
    working.start()
    stalls.reached.wait(10)
    client.close()
    working.join(10)
    (failure,) = failures
    assert failure.code is grpc.StatusCode.CANCELLED
    assert failure.ambiguous


@pytest.mark.parametrize("kind", AIO_WORK)
async def test_nothing_is_sent_by_a_client_that_is_closed(
    sidecar: FakeSidecar, aio_client: aio.Client, kind: str
) -> None:
    await aio_client.close()
    with pytest.raises(errors.FailedPrecondition, match="the client is closed") as caught:
        await AIO_WORK[kind](aio_client)
    assert not caught.value.ambiguous
    client = awsidecar.connect(sidecar.target)
    client.close()
    with pytest.raises(errors.FailedPrecondition, match="the client is closed") as caught:
        WORK[kind](client)
    assert not caught.value.ambiguous
    assert not sidecar.received


@pytest.mark.parametrize("kind", ["call", "pages", "reads"])
async def test_a_cancelled_caller_of_a_client_that_is_closed_sees_its_cancellation(
    stalls: Stalls, aio_client: aio.Client, kind: str
) -> None:
    working = asyncio.ensure_future(AIO_WORK[kind](aio_client))
    await asyncio.to_thread(stalls.reached.wait, 10)
    working.cancel()
    await aio_client.close()
    with pytest.raises(asyncio.CancelledError):
        await working


async def test_a_client_waits_for_sessions_that_are_being_closed(
    sidecar: FakeSidecar, stalls: Stalls, aio_client: aio.Client
) -> None:
    leaving = asyncio.ensure_future(aio_leave_session(aio_client))
    await asyncio.to_thread(stalls.reached.wait, 10)
    closing = asyncio.ensure_future(aio_client.close())
    await asyncio.sleep(0)
    stalls.released.set()
    async with asyncio.timeout(5):
        await asyncio.gather(leaving, closing)


@pytest.mark.parametrize("moment", ["before", "meanwhile"])
async def test_a_session_whose_client_is_closed_hides_no_error(
    stalls: Stalls, aio_client: aio.Client, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, may_leave = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with aio_client.open_session(id_token="TOKEN"):
            inside.set()
            await may_leave.wait()
            raise KeyError

    working = asyncio.ensure_future(work())
    await inside.wait()
    if moment == "before":
        await aio_client.close()
        may_leave.set()
    else:
        may_leave.set()
        await asyncio.to_thread(stalls.reached.wait, 10)
        monkeypatch.setattr(aio, "CLOSING_SECONDS", 0.01)
        await aio_client.close()
    with pytest.raises(KeyError):
        await working


def test_a_session_whose_client_is_closed_hides_no_error_of_a_thread(sidecar: FakeSidecar) -> None:
    sidecar.answer("OpenSession", OPENED)
    client = awsidecar.connect(sidecar.target)
    with pytest.raises(KeyError):
        close_and_fail(client)


def close_and_fail(client: awsidecar.Client) -> None:
    with client.open_session(id_token="TOKEN"):
        client.close()
        raise KeyError


def test_an_error_on_its_way_out_of_a_session_is_not_held_up_for_long(
    sidecar: FakeSidecar, client: awsidecar.Client
) -> None:
    sidecar.answer("OpenSession", OPENED)
    with pytest.raises(KeyError), client.open_session(id_token="TOKEN"):
        raise KeyError
    seconds = sidecar.received[-1].seconds_left
    assert seconds is not None
    assert seconds < 6


async def test_a_close_that_is_cancelled_has_closed_the_client(stalls: Stalls, aio_client: aio.Client) -> None:
    leaving = asyncio.ensure_future(aio_leave_session(aio_client))
    await asyncio.to_thread(stalls.reached.wait, 10)
    closing = asyncio.ensure_future(aio_client.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(awsidecar.SidecarError):
        await leaving
    with pytest.raises(errors.FailedPrecondition):
        await aio_client.dynamodb.list_tables()
