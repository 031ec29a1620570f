"""Streams of pages on the emulators: what they answer page by page, and what resumes where it stopped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from tests.integration.backends import Backend
from tests.integration.conftest import violated_fields

import awsidecar
from awsidecar.dynamodb.v1.dynamodb_service_pb2_grpc import DynamoDbServiceStub
from awsidecar.dynamodb.v1.page_streams_pb2 import (
    ExecuteStatementStreamRequest,
    QueryStreamRequest,
    ScanSegmentPosition,
    ScanStreamRequest,
    ScanStreamResponse,
)
from awsidecar.dynamodb.v1.partiql_pb2 import ExecuteStatementRequest
from awsidecar.dynamodb.v1.query_pb2 import QueryRequest, ScanRequest

TABLE = "Readings"
DEVICES = 20
# Of each device; 20,000 in all, about 5 MB.
READINGS = 1_000
PADDING = "." * 200
BATCH = 25
PATIENCE_SECONDS = 120


@pytest.fixture(scope="module")
def stub(backend: Backend) -> Iterator[DynamoDbServiceStub]:
    """A sidecar whose table holds the readings: `at` counts within each device, and every tenth is `odd`."""
    with awsidecar.connect(backend.sidecar.target) as client:
        client.dynamodb.create_table(
            TableName=TABLE,
            KeySchema=[
                {"AttributeName": "device", "KeyType": "HASH"},
                {"AttributeName": "at", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": "device", "AttributeType": "S"},
                {"AttributeName": "at", "AttributeType": "N"},
            ],
            BillingMode="PAY_PER_REQUEST",
        )
        items = [
            {"device": f"d{device}", "at": at, "odd": at % 10 == 7, "padding": PADDING}
            for device in range(DEVICES)
            for at in range(READINGS)
        ]
        for start in range(0, len(items), BATCH):
            puts: list[Any] = [{"PutRequest": {"Item": item}} for item in items[start : start + BATCH]]
            assert not client.dynamodb.batch_write_item(RequestItems={TABLE: puts})["UnprocessedItems"]
    options = [("grpc.max_receive_message_length", 64 << 20)]
    with grpc.insecure_channel(backend.sidecar.target, options=options) as channel:
        yield DynamoDbServiceStub(channel)


def scan_request(scan: dict[str, Any], **members: Any) -> ScanStreamRequest:
    return ScanStreamRequest(scan=ParseDict(scan, ScanRequest()), **members)


def keys(page: Any) -> list[tuple[str, int]]:
    return [(item.attributes["device"].s, int(item.attributes["at"].n)) for item in page.items]


def positions(responses: Iterable[ScanStreamResponse]) -> list[ScanSegmentPosition]:
    newest = {one.segment: one.page.last_evaluated_key.attributes for one in responses}
    return [
        ScanSegmentPosition(segment=segment, exclusive_start_key=dict(end), finished=not end)
        for segment, end in newest.items()
    ]


def everything() -> list[tuple[str, int]]:
    return sorted((f"d{device}", at) for device in range(DEVICES) for at in range(READINGS))


@pytest.mark.parametrize("segments", [None, 1, 4, 30])
def test_scan_gives_every_item_once(stub: DynamoDbServiceStub, segments: int | None) -> None:
    request = scan_request({"TableName": TABLE}, segments=segments)
    responses = list(stub.ScanStream(request, timeout=PATIENCE_SECONDS))
    assert sorted(key for one in responses for key in keys(one.page)) == everything()
    assert {one.segment for one in responses} == set(range(segments or 1))


def test_parallel_scan_goes_on_from_its_positions(stub: DynamoDbServiceStub) -> None:
    request = scan_request({"TableName": TABLE, "Limit": 300}, segments=4)
    call = stub.ScanStream(request, timeout=PATIENCE_SECONDS)
    before = [next(call) for _ in range(20)]
    call.cancel()
    request.positions.extend(positions(before))
    after = list(stub.ScanStream(request, timeout=PATIENCE_SECONDS))
    assert sorted(key for one in [*before, *after] for key in keys(one.page)) == everything()


def test_filtered_scan_in_limited_parts_gives_every_match_once(stub: DynamoDbServiceStub) -> None:
    request = scan_request(
        {
            "TableName": TABLE,
            "FilterExpression": "odd = :yes",
            "ExpressionAttributeValues": {":yes": {"BOOL": True}},
            "ProjectionExpression": "padding, #at, device",
            "ExpressionAttributeNames": {"#at": "at"},
        },
        segments=3,
        item_limit=700,
    )
    found: list[tuple[str, int]] = []
    newest: dict[int, ScanSegmentPosition] = {}
    parts = 0
    while not (newest and all(one.finished for one in newest.values())):
        del request.positions[:]
        request.positions.extend(newest.values())
        responses = list(stub.ScanStream(request, timeout=PATIENCE_SECONDS))
        part = [key for one in responses for key in keys(one.page)]
        assert len(part) <= 700
        found += part
        newest |= {one.segment: one for one in positions(responses)}
        parts += 1
    assert sorted(found) == [key for key in everything() if key[1] % 10 == 7]
    assert parts >= 3


def test_query_in_limited_parts_keeps_its_order(stub: DynamoDbServiceStub) -> None:
    query = {
        "TableName": TABLE,
        "KeyConditionExpression": "device = :device",
        "FilterExpression": "odd = :yes",
        "ExpressionAttributeValues": {":device": {"S": "d7"}, ":yes": {"BOOL": True}},
        "ScanIndexForward": False,
        "ProjectionExpression": "padding",
    }
    request = QueryStreamRequest(query=ParseDict(query, QueryRequest()), item_limit=7)
    counts: list[int] = []
    ends: list[int] = []
    while True:
        pages = [one.page for one in stub.QueryStream(request, timeout=PATIENCE_SECONDS)]
        counts.append(sum(len(page.items) for page in pages))
        end = pages[-1].last_evaluated_key.attributes
        if not end:
            break
        ends.append(int(end["at"].n))
        request.query.exclusive_start_key.clear()
        for name in end:
            request.query.exclusive_start_key[name].CopyFrom(end[name])
    assert sum(counts) == READINGS // 10
    assert set(counts[:-1]) == {7}
    assert ends == sorted(ends, reverse=True)


def test_count_is_limited_as_items_are(stub: DynamoDbServiceStub) -> None:
    request = scan_request({"TableName": TABLE, "Select": "COUNT"}, segments=4, item_limit=12_345)
    pages = [one.page for one in stub.ScanStream(request, timeout=PATIENCE_SECONDS)]
    assert sum(page.count for page in pages) == 12_345
    assert not any(page.items for page in pages)


def test_statement_in_limited_parts_gives_every_match_once(stub: DynamoDbServiceStub, backend: Backend) -> None:
    all_at_once = backend.differs_in("limits of statements")
    statement = {"Statement": f'SELECT * FROM "{TABLE}" WHERE odd = ?', "Parameters": [{"BOOL": True}]}
    request = ExecuteStatementStreamRequest(
        statement=ParseDict(statement, ExecuteStatementRequest()), item_limit=900
    )
    found: list[tuple[str, int]] = []
    parts = 0
    while True:
        pages = [one.page for one in stub.ExecuteStatementStream(request, timeout=PATIENCE_SECONDS)]
        part = [key for page in pages for key in keys(page)]
        assert len(part) <= 900 or all_at_once
        found += part
        parts += 1
        if not pages[-1].next_token:
            break
        request.statement.next_token = pages[-1].next_token
    assert sorted(found) == [key for key in everything() if key[1] % 10 == 7]
    assert parts == (1 if all_at_once else 3)


@pytest.mark.parametrize("before", ["/* DELETE */ ", "-- DELETE\n", "( /* DELETE */"])
def test_select_is_read_behind_comments_and_in_parentheses(
    stub: DynamoDbServiceStub, backend: Backend, before: str
) -> None:
    after = ")" if "(" in before else ""
    select = f'{before}SELECT * FROM "{TABLE}" WHERE device = \'d1\' AND "at" < 3{after}'
    request = ExecuteStatementStreamRequest(statement=ExecuteStatementRequest(statement=select))
    call = stub.ExecuteStatementStream(request, timeout=PATIENCE_SECONDS)
    if after and backend.differs_in("statements in parentheses"):
        with pytest.raises(grpc.RpcError, match="well formed"):
            list(call)
    else:
        assert [key for one in call for key in keys(one.page)] == [("d1", 0), ("d1", 1), ("d1", 2)]


def test_refusal_of_aws_ends_the_stream_with_its_details(stub: DynamoDbServiceStub) -> None:
    call = stub.ScanStream(scan_request({"TableName": "Nothing"}), timeout=PATIENCE_SECONDS)
    with pytest.raises(grpc.RpcError) as refused:
        list(call)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_table_that_is_not_named_is_refused_with_the_field(stub: DynamoDbServiceStub) -> None:
    call = stub.ScanStream(ScanStreamRequest(segments=4), timeout=PATIENCE_SECONDS)
    with pytest.raises(grpc.RpcError) as refused:
        list(call)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert violated_fields(refused.value) == ["scan.TableName"]
