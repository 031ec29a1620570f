"""Streams of batches on real backends: no acknowledged write is lost while the backend fails at random."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from tests.integration.backends import Backend
from tests.integration.batches_under_faults import run
from tests.integration.conftest import details_of

import awsidecar
from awsidecar import aio, errors
from awsidecar.dynamodb.v1 import batch_streams_pb2, tables_pb2
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue
from awsidecar.dynamodb.v1.batch_pb2 import DeleteRequest, KeysAndAttributes, PutRequest
from awsidecar.dynamodb.v1.dynamodb_service_pb2_grpc import DynamoDbServiceStub
from awsidecar.dynamodb.v1.schema_pb2 import AttributeDefinition, KeySchemaElement

TABLE = "batch-streams"


async def test_every_item_is_told_of_once_as_done_and_is_there(backend: Backend) -> None:
    figures = await run(backend.settings, 3000)
    assert figures.is_right, figures.lines()
    assert figures.faults["unprocessed"]
    assert figures.faults["throttled"]


@pytest.fixture(scope="module")
def dynamodb(backend: Backend) -> Iterator[DynamoDbServiceStub]:
    with grpc.insecure_channel(backend.sidecar.target) as channel:
        stub = DynamoDbServiceStub(channel)
        stub.CreateTable(
            tables_pb2.CreateTableRequest(
                table_name=TABLE,
                billing_mode="PAY_PER_REQUEST",
                attribute_definitions=[AttributeDefinition(attribute_name="pk", attribute_type="S")],
                key_schema=[KeySchemaElement(attribute_name="pk", key_type="HASH")],
            ),
            timeout=30,
        )
        yield stub


def write(pk: str, *, text: str = "x") -> batch_streams_pb2.StreamedWrite:
    item = {"pk": AttributeValue(s=pk), "text": AttributeValue(s=text)}
    return batch_streams_pb2.StreamedWrite(table_name=TABLE, put=PutRequest(item=item))


def remove(pk: str) -> batch_streams_pb2.StreamedWrite:
    key = DeleteRequest(key={"pk": AttributeValue(s=pk)})
    return batch_streams_pb2.StreamedWrite(table_name=TABLE, delete=key)


def read(pk: str, table: str = TABLE) -> batch_streams_pb2.StreamedGet:
    return batch_streams_pb2.StreamedGet(table_name=table, key={"pk": AttributeValue(s=pk)})


def outcomes_of_writes(
    dynamodb: DynamoDbServiceStub, *writes: batch_streams_pb2.StreamedWrite
) -> list[batch_streams_pb2.WriteOutcome]:
    options = batch_streams_pb2.BatchWriteStreamOptions(in_order=True)
    request = batch_streams_pb2.BatchWriteStreamRequest(options=options, writes=writes)
    responses = dynamodb.BatchWriteStream(iter([request]), timeout=30)
    return [outcome for response in responses for outcome in response.outcomes]


def outcomes_of_reads(
    dynamodb: DynamoDbServiceStub, *gets: batch_streams_pb2.StreamedGet, how: KeysAndAttributes | None = None
) -> list[batch_streams_pb2.GetOutcome]:
    options = batch_streams_pb2.BatchGetStreamOptions(in_order=True, tables={TABLE: how} if how else {})
    request = batch_streams_pb2.BatchGetStreamRequest(options=options, gets=gets)
    responses = dynamodb.BatchGetStream(iter([request]), timeout=30)
    return [outcome for response in responses for outcome in response.outcomes]


def test_an_item_that_aws_refuses_fails_alone_with_its_error(dynamodb: DynamoDbServiceStub) -> None:
    writes = [write(f"size-{number}") for number in range(30)]
    writes[11] = write("size-11", text="x" * 410_000)
    writes[12] = write("")
    outcomes = outcomes_of_writes(dynamodb, *writes)
    assert [outcome.index for outcome in outcomes] == list(range(30))
    failed = {outcome.index: outcome.failure for outcome in outcomes if outcome.WhichOneof("result") != "done"}
    assert sorted(failed) == [11, 12]
    assert {failure.code for failure in failed.values()} == {grpc.StatusCode.INVALID_ARGUMENT.value[0]}
    assert "size" in failed[11].message
    found = outcomes_of_reads(dynamodb, *(read(f"size-{number}") for number in range(30)))
    kinds = [outcome.WhichOneof("result") for outcome in found]
    assert [number for number, kind in enumerate(kinds) if kind == "not_found"] == [11, 12]


def test_writes_to_one_item_are_done_in_order(dynamodb: DynamoDbServiceStub) -> None:
    outcomes_of_writes(dynamodb, write("o", text="1"), remove("o"), write("o", text="2"), write("p"), remove("p"))
    (first, second) = outcomes_of_reads(dynamodb, read("o"), read("p"))
    assert first.item.attributes["text"].s == "2"
    assert second.WhichOneof("result") == "not_found"


def test_a_read_that_is_asked_twice_is_answered_twice(dynamodb: DynamoDbServiceStub) -> None:
    outcomes_of_writes(dynamodb, write("twice"))
    answers = outcomes_of_reads(dynamodb, read("twice"), read("gone"), read("twice"))
    assert [answer.WhichOneof("result") for answer in answers] == ["item", "not_found", "item"]
    assert answers[0].item == answers[2].item


def test_a_projection_returns_what_it_names_and_no_key_beside_it(dynamodb: DynamoDbServiceStub) -> None:
    outcomes_of_writes(dynamodb, write("a", text="A"), write("b", text="B"))
    how = KeysAndAttributes(projection_expression="#t", consistent_read=True)
    how.expression_attribute_names["#t"] = "text"
    answers = outcomes_of_reads(dynamodb, read("b"), read("a"), how=how)
    found = [{name: value.s for name, value in answer.item.attributes.items()} for answer in answers]
    assert found == [{"text": "B"}, {"text": "A"}]


def test_an_unknown_table_fails_its_own_reads(dynamodb: DynamoDbServiceStub) -> None:
    outcomes_of_writes(dynamodb, write("here"))
    there, gone = outcomes_of_reads(dynamodb, read("here"), read("here", "no-such-table"))
    assert there.WhichOneof("result") == "item"
    assert gone.failure.code == grpc.StatusCode.NOT_FOUND.value[0]


def test_late_options_end_the_stream_after_the_outcomes(dynamodb: DynamoDbServiceStub) -> None:
    late = batch_streams_pb2.BatchWriteStreamOptions(in_order=True)
    requests = [
        batch_streams_pb2.BatchWriteStreamRequest(writes=[write("late")]),
        batch_streams_pb2.BatchWriteStreamRequest(options=late),
    ]
    call = dynamodb.BatchWriteStream(iter(requests), timeout=30)
    assert [outcome.WhichOneof("result") for outcome in next(call).outcomes] == ["done"]
    with pytest.raises(grpc.RpcError) as refused:
        next(call)
    assert details_of(refused.value).code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


def test_the_python_client_writes_and_reads_any_number(dynamodb: DynamoDbServiceStub, backend: Backend) -> None:
    with awsidecar.connect(backend.sidecar.target) as client:
        with client.dynamodb.batch_writer(TABLE) as batch:
            for number in range(5000):
                batch.put_item(Item={"pk": f"client-{number}", "number": number})
            batch.delete_item(Key={"pk": "client-7"})
        assert batch.done == 5001
        keys = ({"pk": f"client-{number}"} for number in range(5001))
        found = list(client.dynamodb.batch_get(TableName=TABLE, Keys=keys, ConsistentRead=True))
        assert [item and item["number"] for item in found] == [*range(7), None, *range(8, 5000), None]
        with pytest.raises(errors.BatchFailed) as failed:
            _write_two(client, {"pk": "fine"}, {"pk": ""})
    assert [one.item for one in failed.value.failures] == [{"pk": ""}]
    assert isinstance(failed.value.failures[0].error, errors.ValidationException)


def _write_two(client: awsidecar.Client, one: dict[str, str], other: dict[str, str]) -> None:
    with client.dynamodb.batch_writer(TABLE) as batch:
        batch.put_item(Item=one)
        batch.put_item(Item=other)


async def test_the_python_client_does_so_for_asyncio(dynamodb: DynamoDbServiceStub, backend: Backend) -> None:
    async with aio.connect(backend.sidecar.target) as client:
        async with client.dynamodb.batch_writer(TABLE) as batch:
            for number in range(3000):
                await batch.put_item(Item={"pk": f"aio-{number}", "number": number})
        keys = [{"pk": f"aio-{number}"} for number in range(3000)]
        found = [item async for item in client.dynamodb.batch_get(TableName=TABLE, Keys=keys)]
        assert [item and item["number"] for item in found] == [*range(3000)]
