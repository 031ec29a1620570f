from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.rpc import error_details_pb2
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.documents.documents import struct
from tests.unit.dynamodb.fake_batches import CONNECTIONS, FakeDynamoDb, attributes

from awsidecar.documents.v1.batches_pb2 import (
    BatchedGet,
    BatchedTable,
    BatchedWrite,
    BatchGetOptions,
    BatchGetRequest,
    BatchWriteOptions,
    BatchWriteRequest,
)
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue, StringSet
from awsidecar_server.api.calls import Upload
from awsidecar_server.api.document_batches import document_batch_handlers
from awsidecar_server.config import IdentityConfig
from awsidecar_server.dynamodb.batches.work import Means
from awsidecar_server.dynamodb.table_keys import TableKeys
from awsidecar_server.errors import InvalidRequest
from awsidecar_server.identity.gate import Gate
from awsidecar_server.identity.sessions import SessionStore

LARGE = "12345678901234567890"
IN_ORDER = BatchWriteOptions(in_order=True)


def put(**item: Any) -> BatchedWrite:
    return BatchedWrite(table_name="T", put=struct(item))


def delete(**key: Any) -> BatchedWrite:
    return BatchedWrite(table_name="T", delete=struct(key))


def get(**key: Any) -> BatchedGet:
    return BatchedGet(table_name="T", key=struct(key))


async def responses(aws: FakeDynamoDb, *requests: Message) -> list[Any]:
    handlers = document_batch_handlers(
        Means(aws, TableKeys(aws, CONNECTIONS)), Gate(None, SessionStore(IdentityConfig()))
    )
    name = type(requests[0]).__name__.removesuffix("Request")

    async def messages() -> AsyncIterator[Message]:
        for request in requests:
            yield request

    handler: Any = handlers[f"awsidecar.documents.v1.DocumentService/{name}"].handler
    streamed = await handler(Upload(messages(), (), "eu-central-1", None))
    assert streamed.tier == "service_account"
    async with aclosing(streamed.messages) as found:
        return [response async for response in found]


async def outcomes(aws: FakeDynamoDb, *requests: Message) -> list[Any]:
    """What became of each element, which is told of once."""
    found = [outcome for response in await responses(aws, *requests) for outcome in response.outcomes]
    assert sorted(outcome.index for outcome in found) == list(range(len(found)))
    return sorted(found, key=lambda outcome: outcome.index)


def stored(aws: FakeDynamoDb) -> list[dict[str, AttributeValue]]:
    return list(aws.tables["T"].values())


def reason_of(failure: Any) -> tuple[str, str]:
    info = error_details_pb2.ErrorInfo()
    (packed,) = (one for one in failure.details if one.Is(info.DESCRIPTOR))
    packed.Unpack(info)
    return info.reason, info.metadata["field"]


async def test_writes_are_done_in_the_types_of_dynamodb_and_told_by_their_number() -> None:
    aws = FakeDynamoDb()
    told = await outcomes(
        aws,
        BatchWriteRequest(writes=[put(pk="1", v=1, tags={"$SS": ["a"]}), put(pk="2", v={"$N": LARGE})]),
        BatchWriteRequest(writes=[put(pk="3", v=1), delete(pk="3")]),
    )
    assert [outcome.WhichOneof("result") for outcome in told] == ["done"] * 4
    assert stored(aws) == [
        {**attributes(pk="1", v=1), "tags": AttributeValue(ss=StringSet(values=["a"]))},
        {**attributes(pk="2"), "v": AttributeValue(n=LARGE)},
    ]


async def test_write_that_cannot_be_read_fails_alone_with_its_path() -> None:
    aws = FakeDynamoDb()
    told = await outcomes(
        aws,
        BatchWriteRequest(writes=[put(pk="0", v=0)]),
        BatchWriteRequest(
            writes=[
                put(pk="1", v=1),
                put(pk="2", v=[1, 2.0**60]),
                delete(pk={"$ss": ["a"]}),
                BatchedWrite(table_name="T"),
                BatchedWrite(put=struct({"pk": "3"})),
                put(pk="4", v=4),
            ]
        ),
    )
    assert [outcome.WhichOneof("result") for outcome in told] == ["done"] * 2 + ["failure"] * 4 + ["done"]
    assert [reason_of(outcome.failure) for outcome in told[2:6]] == [
        ("INVALID_REQUEST", "Writes[1].Put.v[1]"),
        ("INVALID_REQUEST", "Writes[2].Delete.pk.$ss"),
        ("INVALID_REQUEST", "Writes[3]"),
        ("INVALID_REQUEST", "Writes[4].TableName"),
    ]
    assert {outcome.failure.code for outcome in told[2:6]} == {StatusCode.INVALID_ARGUMENT.value[0]}
    assert len(stored(aws)) == 3


async def test_write_that_aws_refuses_fails_with_its_error() -> None:
    told = await outcomes(FakeDynamoDb(), BatchWriteRequest(writes=[put(pk="1", v=1, bad=True), put(pk="2", v=1)]))
    assert told[0].failure.message == "An item is bad"
    assert told[1].HasField("done")


async def test_reads_are_answered_plain() -> None:
    aws = FakeDynamoDb()
    await outcomes(aws, BatchWriteRequest(writes=[put(pk="1", v=1, tags={"$SS": ["a"]}), put(pk="$", v=2)]))
    told = await outcomes(aws, BatchGetRequest(gets=[get(pk="1"), get(pk="9"), get(pk="1"), get(pk="$")]))
    assert [outcome.WhichOneof("result") for outcome in told] == ["item", "not_found", "item", "item"]
    assert told[0].item == told[2].item == struct({"pk": "1", "v": 1, "tags": {"$SS": ["a"]}})


async def test_item_with_a_large_number_fails_alone_unless_its_text_is_allowed() -> None:
    aws = FakeDynamoDb()
    await outcomes(aws, BatchWriteRequest(writes=[put(pk="1", v={"$N": LARGE}), put(pk="2", v=2)]))
    gets = [get(pk="1"), get(pk="2")]
    refused, shown = await outcomes(aws, BatchGetRequest(gets=gets))
    assert reason_of(refused.failure) == ("NUMBER_NOT_EXACT", "Item.v")
    assert refused.failure.code == StatusCode.FAILED_PRECONDITION.value[0]
    assert shown.item == struct({"pk": "2", "v": 2})
    told = await outcomes(aws, BatchGetRequest(options=BatchGetOptions(large_numbers="STRING"), gets=gets))
    assert told[0].item == struct({"pk": "1", "v": {"$N": LARGE}})


async def test_item_of_no_attributes_is_an_item() -> None:
    aws = FakeDynamoDb()
    await outcomes(aws, BatchWriteRequest(writes=[put(pk="1", v=1)]))
    options = BatchGetOptions(tables={"T": BatchedTable(projection_expression="missing")})
    (told,) = await outcomes(aws, BatchGetRequest(options=options, gets=[get(pk="1")]))
    assert told.WhichOneof("result") == "item"
    assert told.item == Struct()


async def test_read_that_cannot_be_read_fails_alone_with_its_path() -> None:
    gets = [BatchedGet(key=struct({"pk": "1"})), BatchedGet(table_name="T"), get(pk=float("nan")), get(pk="1")]
    told = await outcomes(FakeDynamoDb(), BatchGetRequest(gets=gets))
    assert [reason_of(outcome.failure)[1] for outcome in told[:3]] == [
        "Gets[0].TableName",
        "Gets[1].Key",
        "Gets[2].Key.pk",
    ]
    assert told[3].HasField("not_found")


async def test_tables_are_read_as_the_options_say() -> None:
    aws = FakeDynamoDb()
    await outcomes(aws, BatchWriteRequest(writes=[put(pk="1", v=1, **{"$$ref": "x"})]))
    how = BatchedTable(consistent_read=True, projection_expression="#r", expression_attribute_names={"#r": "$ref"})
    (told,) = await outcomes(aws, BatchGetRequest(options=BatchGetOptions(tables={"T": how}), gets=[get(pk="1")]))
    assert told.item == struct({"$$ref": "x"})


@pytest.mark.parametrize("number", [1, 60, 700])
async def test_outcomes_are_in_order_when_they_are_asked_for_so(number: int) -> None:
    aws = FakeDynamoDb()
    aws.unprocessed = lambda size: 1 if aws.counts["BatchWriteItem"] == 1 and size > 1 else 0
    writes = [put(pk=str(one), v=one) for one in range(number)]
    found = await responses(aws, BatchWriteRequest(options=IN_ORDER, writes=writes))
    assert [outcome.index for response in found for outcome in response.outcomes] == list(range(number))


async def test_capacity_is_told_where_it_is_asked_for() -> None:
    options = BatchWriteOptions(return_consumed_capacity="TOTAL")
    found = await responses(FakeDynamoDb(), BatchWriteRequest(options=options, writes=[put(pk="1", v=1)]))
    assert [one.capacity_units for response in found for one in response.consumed_capacity] == [1.0]


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ([BatchWriteRequest(options=BatchWriteOptions(return_consumed_capacity="ALL"))], "ReturnConsumedCapacity"),
        ([BatchGetRequest(options=BatchGetOptions(return_consumed_capacity="ALL"))], "ReturnConsumedCapacity"),
        ([BatchGetRequest(options=BatchGetOptions(large_numbers="MAYBE"))], "LargeNumbers"),
        ([BatchWriteRequest(), BatchWriteRequest(options=IN_ORDER)], ""),
        ([BatchGetRequest(), BatchGetRequest(options=BatchGetOptions())], ""),
    ],
)
async def test_options_that_are_wrong_or_late_end_the_stream(requests: list[Message], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await responses(FakeDynamoDb(), *requests)
    assert [one.field for one in refused.value.violations] == [f"Options.{field}".rstrip(".")]


@given(st.lists(st.tuples(st.sampled_from(["good", "number", "name", "empty"]), st.integers(0, 4)), max_size=40))
async def test_every_write_has_one_outcome_and_the_last_good_one_stays(writes: list[tuple[str, int]]) -> None:
    aws, made, last = FakeDynamoDb(), [], {}
    for place, (kind, key) in enumerate(writes):
        if kind == "good":
            made.append(put(pk=str(key), v=place))
            last[str(key)] = place
        elif kind == "empty":
            made.append(BatchedWrite(table_name="T"))
        else:
            made.append(put(pk=str(key), v=1e200 if kind == "number" else {"$x": 1}))
    told = await outcomes(aws, BatchWriteRequest(writes=made))
    assert [outcome.HasField("done") for outcome in told] == [kind == "good" for kind, _ in writes]
    assert {item["pk"].s: int(item["v"].n) for item in stored(aws)} == last
