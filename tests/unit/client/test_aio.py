"""The client for asyncio, against a real server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

import awsidecar
from awsidecar import aio
from awsidecar.credentials.v1 import credentials_pb2
from awsidecar.dynamodb.v1 import items_pb2, query_pb2, tables_pb2

from .fake_sidecar import FakeSidecar, Refused, details_of

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def aio_client(sidecar: FakeSidecar) -> AsyncIterator[aio.Client]:
    async with aio.connect(sidecar.target) as connected:
        yield connected


async def test_an_item_comes_back_as_plain_values(sidecar: FakeSidecar, aio_client: aio.Client) -> None:
    response = items_pb2.GetItemResponse()
    response.item.attributes["age"].n = "42"
    sidecar.answer("GetItem", response)
    reply = await aio_client.dynamodb.get_item(TableName="users", Key={"id": "1"}, timeout=5)
    assert reply["Item"] == {"age": 42}
    assert reply["ResponseMetadata"]["Attempts"] == 2
    assert sidecar.received[0].metadata["x-awsidecar-max-details-bytes"] == "1048576"


async def test_items_run_through_all_pages_up_to_the_limit(sidecar: FakeSidecar, aio_client: aio.Client) -> None:
    pages = [
        tables_pb2.ListTablesResponse(table_names=[f"{n}"], last_evaluated_table_name=f"{n}") for n in range(3)
    ]
    sidecar.answer("ListTables", *pages)
    names = [name async for name in aio_client.dynamodb.list_tables_items(limit_items=3)]
    assert names == ["0", "1", "2"]
    assert len(sidecar.received) == 3
    assert [name async for name in aio_client.dynamodb.list_tables_items(limit_items=0)] == []


async def test_pages_follow_until_the_last(sidecar: FakeSidecar, aio_client: aio.Client) -> None:
    first = query_pb2.QueryResponse(count=0)
    first.last_evaluated_key.attributes["id"].s = "a"
    sidecar.answer("Query", first, query_pb2.QueryResponse(count=1))
    pages = [page["Count"] async for page in aio_client.dynamodb.query_pages(TableName="users")]
    assert pages == [0, 1]


async def test_many_calls_run_at_once(sidecar: FakeSidecar, aio_client: aio.Client) -> None:
    replies = await asyncio.gather(*(aio_client.dynamodb.list_tables() for _ in range(50)))
    assert len(replies) == len(sidecar.received) == 50


async def test_a_refusal_is_an_exception_with_its_facts(sidecar: FakeSidecar, aio_client: aio.Client) -> None:
    details = details_of("RESOURCE_NOT_FOUND_EXCEPTION", "dynamodb.amazonaws.com", request_id="R")
    sidecar.answer("GetItem", Refused(grpc.StatusCode.NOT_FOUND, "no table", details))
    with pytest.raises(awsidecar.errors.ResourceNotFoundException) as caught:
        await aio_client.dynamodb.get_item(TableName="users", Key={"id": "1"})
    assert caught.value.request_id == "R"


async def test_a_cancelled_caller_sees_its_cancellation(sidecar: FakeSidecar, aio_client: aio.Client) -> None:
    reached, released = threading.Event(), threading.Event()

    def stall(_: object) -> tables_pb2.ListTablesResponse:
        reached.set()
        released.wait(10)
        return tables_pb2.ListTablesResponse()

    sidecar.answer("ListTables", stall)
    task = asyncio.create_task(aio_client.dynamodb.list_tables())
    try:
        await asyncio.to_thread(reached.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    finally:
        released.set()


async def test_a_session_is_closed_when_its_block_ends(sidecar: FakeSidecar, aio_client: aio.Client) -> None:
    sidecar.answer("OpenSession", credentials_pb2.OpenSessionResponse(session="HANDLE"))
    async with aio_client.open_session(id_token="TOKEN") as session_client:
        await session_client.dynamodb.list_tables()
    assert [received.method for received in sidecar.received] == ["OpenSession", "ListTables", "CloseSession"]
    assert sidecar.received[1].metadata["x-awsidecar-session"] == "HANDLE"
    await aio_client.dynamodb.list_tables()


async def test_a_session_is_closed_when_its_block_is_cancelled(
    sidecar: FakeSidecar, aio_client: aio.Client
) -> None:
    sidecar.answer("OpenSession", credentials_pb2.OpenSessionResponse(session="HANDLE"))
    inside = asyncio.Event()

    async def work() -> None:
        async with aio_client.open_session(id_token="TOKEN"):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sidecar.received[-1].method == "CloseSession"


async def test_a_session_whose_opening_is_cancelled_is_closed(sidecar: FakeSidecar, aio_client: aio.Client) -> None:
    reached, released = threading.Event(), threading.Event()

    def opens(_: object) -> credentials_pb2.OpenSessionResponse:
        reached.set()
        released.wait(10)
        return credentials_pb2.OpenSessionResponse(session="HANDLE")

    closed = threading.Event()

    def closes(_: object) -> credentials_pb2.CloseSessionResponse:
        closed.set()
        return credentials_pb2.CloseSessionResponse()

    sidecar.answer("OpenSession", opens)
    sidecar.answer("CloseSession", closes)

    async def work() -> None:
        async with aio_client.open_session(id_token="TOKEN"):
            raise AssertionError("it has been cancelled")

    opening = asyncio.ensure_future(work())
    await asyncio.to_thread(reached.wait, 10)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    released.set()
    assert await asyncio.to_thread(closed.wait, 10)
    assert sidecar.received[-1].metadata["x-awsidecar-session"] == "HANDLE"


async def test_a_client_is_closed_after_the_sessions_whose_opening_was_cancelled(sidecar: FakeSidecar) -> None:
    reached, released = threading.Event(), threading.Event()

    def opens(_: object) -> credentials_pb2.OpenSessionResponse:
        reached.set()
        released.wait(10)
        return credentials_pb2.OpenSessionResponse(session="HANDLE")

    sidecar.answer("OpenSession", opens)
    async with aio.connect(sidecar.target) as client:
        opening = asyncio.ensure_future(client.open_session(id_token="TOKEN").__aenter__())
        await asyncio.to_thread(reached.wait, 10)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        released.set()
    assert [received.method for received in sidecar.received] == ["OpenSession", "CloseSession"]


async def test_an_awaited_session_is_closed_by_its_client(sidecar: FakeSidecar, aio_client: aio.Client) -> None:
    sidecar.answer("OpenSession", credentials_pb2.OpenSessionResponse(session="HANDLE"))
    session_client = await aio_client.open_session(id_token="TOKEN")
    await session_client.close()
    assert sidecar.received[-1].metadata["x-awsidecar-session"] == "HANDLE"


async def test_a_session_that_cannot_be_closed_hides_no_error(sidecar: FakeSidecar, aio_client: aio.Client) -> None:
    sidecar.answer("CloseSession", Refused(grpc.StatusCode.INTERNAL, "no"))
    sidecar.answer("OpenSession", credentials_pb2.OpenSessionResponse(session="HANDLE"))
    with pytest.raises(KeyError):
        async with aio_client.open_session(id_token="TOKEN"):
            raise KeyError


async def test_the_credentials_service_answers_in_plain_values(
    sidecar: FakeSidecar, aio_client: aio.Client
) -> None:
    sidecar.answer("WhoAmI", credentials_pb2.WhoAmIResponse(tier=credentials_pb2.TIER_SESSION))
    sidecar.answer("ValidateCredentials", credentials_pb2.ValidateCredentialsResponse(valid=True, account="123"))
    response = credentials_pb2.GetCredentialsResponse()
    response.credentials.access_key_id = "AKID"
    sidecar.answer("GetCredentials", response)
    assert (await aio_client.credentials.who_am_i()).tier is awsidecar.Tier.SESSION
    assert await aio_client.credentials.validate_credentials()
    assert (await aio_client.credentials.get_credentials()).access_key_id == "AKID"


async def test_the_generated_stubs_are_within_reach(sidecar: FakeSidecar, aio_client: aio.Client) -> None:
    bound = aio_client.with_token("TOKEN")
    request = tables_pb2.ListTablesRequest(limit=3)
    await bound.stubs.dynamodb.ListTables(request, metadata=bound.metadata, timeout=5)
    assert sidecar.received[0].metadata["authorization"] == "Bearer TOKEN"


async def test_no_secret_is_in_a_repr(aio_client: aio.Client) -> None:
    assert "SECRET" not in repr(aio_client.with_token("SECRET")) + repr(aio_client.open_session(id_token="SECRET"))
