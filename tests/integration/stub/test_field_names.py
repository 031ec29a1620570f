"""What a refusal blames in the RPCs of the sidecar's own is what their caller sent, whoever refuses it."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from grpc.aio import AioRpcError
from tests.integration.stub.sidecar import Refusal, Sidecar, read_refusal
from tests.integration.stub_aws import Answer, StubAws, refused

from awsidecar.documents.v1 import batches_pb2 as documents
from awsidecar.documents.v1 import pages_pb2
from awsidecar.documents.v1.document_service_pb2_grpc import DocumentServiceStub
from awsidecar.dynamodb.v1 import batch_pb2, batch_streams_pb2, page_streams_pb2, waiters_pb2, watch_pb2
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue, AttributeValueList
from awsidecar.dynamodb.v1.partiql_pb2 import ExecuteStatementRequest
from awsidecar.dynamodb.v1.query_pb2 import QueryRequest, ScanRequest
from awsidecar_server.dynamodb.changes.checkpoints import Checkpoint
from awsidecar_server.dynamodb.changes.positions import After

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOTHING = AttributeValue()
ONE = AttributeValue(s="1")
HALF = {"id": ONE, "tags": AttributeValue(l=AttributeValueList(values=[ONE, NOTHING]))}
CHECKPOINT = Checkpoint("arn:aws:dynamodb:eu-central-1:1:table/T/stream/1", {"shard": After("1")}).text()
SHARD = {"ShardId": "shard", "SequenceNumberRange": {"StartingSequenceNumber": "0"}}
DESCRIBED = Answer(
    {
        "Table": {
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "LatestStreamArn": "arn:aws:dynamodb:eu-central-1:1:table/T/stream/1",
            "StreamSpecification": {"StreamEnabled": True},
        },
        "StreamDescription": {"StreamStatus": "ENABLED", "Shards": [SHARD]},
    }
)


def invalid(member: str) -> Answer:
    """AWS's words about a member of its request that is out of bounds."""
    problem = "failed to satisfy constraint: Member must be another one"
    return refused("ValidationException", f"1 validation error detected: Value 'x' at '{member}' {problem}")


def writes(*puts: dict[str, AttributeValue]) -> Message:
    request = batch_streams_pb2.BatchWriteStreamRequest()
    for item in puts:
        request.writes.add(table_name="T", put=batch_pb2.PutRequest(item=item))
    return request


def deletion(key: dict[str, AttributeValue]) -> Message:
    request = batch_streams_pb2.BatchWriteStreamRequest()
    request.writes.add(table_name="T", delete=batch_pb2.DeleteRequest(key=key))
    return request


def gets(*keys: dict[str, AttributeValue], how: batch_pb2.KeysAndAttributes | None = None) -> Message:
    request = batch_streams_pb2.BatchGetStreamRequest()
    for key in keys:
        request.gets.add(table_name="T", key=key)
    if how is not None:
        request.options.tables["T"].CopyFrom(how)
    return request


def plain(**fields: Any) -> Struct:
    found = Struct()
    found.update(fields)
    return found


def query(**members: Any) -> Message:
    return page_streams_pb2.QueryStreamRequest(query=QueryRequest(**members))


def resumed(*positions: tuple[int, dict[str, AttributeValue]]) -> Message:
    request = page_streams_pb2.ScanStreamRequest(scan=ScanRequest(table_name="T"), segments=4)
    for segment, key in positions:
        request.positions.add(segment=segment, exclusive_start_key=key)
    return request


def statement(text: str, *parameters: AttributeValue) -> Message:
    asked = ExecuteStatementRequest(statement=text, parameters=parameters)
    return page_streams_pb2.ExecuteStatementStreamRequest(statement=asked)


KEYS = invalid("requestItems.T.member.keys.1.member.id")
PROJECTION = refused("ValidationException", "Invalid ProjectionExpression: Syntax error")
HOW = batch_pb2.KeysAndAttributes(projection_expression="a,,b")
WRITE = invalid("requestItems.T.member.1.member.putRequest.item")
TOO_LARGE = refused("ValidationException", "Item size has exceeded the maximum allowed size")
WRONG_KEY = refused(
    "ValidationException", "One or more parameter values were invalid: Missing the key id in the item"
)
NAME = invalid("requestItems")

# name: (request, what AWS answers to the operation behind it, the field at fault)
CASES: dict[str, tuple[Message, dict[str, Answer], str]] = {
    "query without a table": (query(), {}, "query.TableName"),
    "query with an empty value": (
        query(table_name="T", expression_attribute_values={":a": NOTHING}),
        {},
        "query.ExpressionAttributeValues.:a",
    ),
    "query that AWS refuses": (query(table_name="T", limit=0), {"Query": invalid("limit")}, "query.Limit"),
    "query with a malformed condition": (
        query(table_name="T", key_condition_expression="="),
        {"Query": refused("ValidationException", "Invalid KeyConditionExpression: Syntax error")},
        "query.KeyConditionExpression",
    ),
    "query with an item limit of 0": (
        page_streams_pb2.QueryStreamRequest(query=QueryRequest(table_name="T"), item_limit=0),
        {},
        "item_limit",
    ),
    "scan without a table": (page_streams_pb2.ScanStreamRequest(), {}, "scan.TableName"),
    "scan without a table in segments": (page_streams_pb2.ScanStreamRequest(segments=2), {}, "scan.TableName"),
    "position with an empty value": (
        resumed((2, {"id": ONE}), (1, {"id": NOTHING})),
        {},
        "positions[1].exclusive_start_key.id",
    ),
    "position of no segment": (resumed((0, {"id": ONE}), (4, {})), {}, "positions[1].segment"),
    "position that comes again": (resumed((1, {}), (1, {})), {}, "positions[1].segment"),
    "position that AWS refuses": (
        resumed((0, {"id": ONE})),
        {"Scan": invalid("exclusiveStartKey")},
        "positions[0].exclusive_start_key",
    ),
    "statement without text": (page_streams_pb2.ExecuteStatementStreamRequest(), {}, "statement.Statement"),
    "statement that writes": (statement("DELETE FROM T"), {}, "statement.Statement"),
    "parameter without a value": (
        statement("SELECT * FROM T WHERE id = ?", NOTHING),
        {},
        "statement.Parameters[0]",
    ),
    "write of an empty value": (writes({"id": ONE}, HALF), {}, "writes[1].put.Item.tags.L[1]"),
    "write of nothing": (writes({}), {}, "writes[0].put.Item"),
    "deletion of an empty key": (deletion({"id": NOTHING}), {}, "writes[0].delete.Key.id"),
    "write that AWS refuses": (writes({"id": ONE}), {"BatchWriteItem": WRITE}, "writes[0].put.Item"),
    "write that is too large": (writes({"id": ONE}), {"BatchWriteItem": TOO_LARGE}, "writes[0].put.Item"),
    "write without its key": (writes({"x": ONE}), {"BatchWriteItem": WRONG_KEY}, "writes[0].put.Item.id"),
    "write to a table of no good name": (writes({"id": ONE}), {"BatchWriteItem": NAME}, "writes[0].table_name"),
    "read of an empty value": (gets({"id": ONE}, {"id": NOTHING}), {}, "gets[1].key.id"),
    "read that AWS refuses": (gets({"id": ONE}), {"BatchGetItem": KEYS}, "gets[0].key.id"),
    "read with a malformed projection": (
        gets({"id": ONE}, how=HOW),
        {"BatchGetItem": PROJECTION},
        "options.tables.T.ProjectionExpression",
    ),
    "plain query without a table": (pages_pb2.QueryRequest(), {}, "TableName"),
    "plain scan that AWS refuses": (pages_pb2.ScanRequest(table_name="T"), {"Scan": invalid("limit")}, "Limit"),
    "plain write that AWS refuses": (
        documents.BatchWriteRequest(writes=[documents.BatchedWrite(table_name="T", put=plain(id="1"))]),
        {"BatchWriteItem": WRITE},
        "Writes[0].Put",
    ),
    "plain write of a wrong kind": (
        documents.BatchWriteRequest(
            writes=[documents.BatchedWrite(table_name="T", put=plain(id="1", list=[1, {"$B": "?"}]))]
        ),
        {},
        "Writes[0].Put.list[1].$B",
    ),
    "plain write of nothing": (
        documents.BatchWriteRequest(writes=[documents.BatchedWrite(table_name="T", put=Struct())]),
        {},
        "Writes[0].Put",
    ),
    "plain read that AWS refuses": (
        documents.BatchGetRequest(gets=[documents.BatchedGet(table_name="T", key=plain(id="1"))]),
        {"BatchGetItem": KEYS},
        "Gets[0].Key.id",
    ),
    "wait for a table that AWS refuses": (
        waiters_pb2.WaitForTableRequest(table_name="T"),
        {"DescribeTable": invalid("tableName")},
        "table_name",
    ),
    "wait for a backup that AWS refuses": (
        waiters_pb2.WaitForBackupRequest(backup_arn="T"),
        {"DescribeBackup": invalid("backupArn")},
        "backup_arn",
    ),
    "wait for insights that AWS refuses": (
        waiters_pb2.WaitForContributorInsightsRequest(table_name="T", index_name="I"),
        {"DescribeContributorInsights": invalid("indexName")},
        "index_name",
    ),
    "wait without a stream": (
        waiters_pb2.WaitForKinesisStreamingDestinationRequest(table_name="T"),
        {},
        "stream_arn",
    ),
    "watch of a table that AWS refuses": (
        watch_pb2.WatchTableRequest(table_name="T"),
        {"DescribeTable": invalid("tableName")},
        "table_name",
    ),
    "watch of a stream that AWS refuses": (
        watch_pb2.WatchTableRequest(stream_arn="T"),
        {"DescribeStream": invalid("streamArn")},
        "stream_arn",
    ),
    "watch from a checkpoint that AWS refuses": (
        watch_pb2.WatchTableRequest(table_name="T", checkpoint=CHECKPOINT),
        {"GetShardIterator": invalid("sequenceNumber")},
        "checkpoint",
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_refusal_names_the_field_that_the_caller_sent(name: str, sidecar: Sidecar, aws: StubAws) -> None:
    request, answers, field = CASES[name]
    aws.on("DescribeTable", DESCRIBED)
    aws.on("DescribeStream", DESCRIBED)
    for operation, answer in answers.items():
        aws.on(operation, answer)
    refusal = await only_refusal(sidecar, request)
    assert refusal.code.name == "INVALID_ARGUMENT"
    (violation,) = refusal.detail(error_details_pb2.BadRequest).field_violations
    assert violation.field == field
    if refusal.info.domain == "awsidecar":
        assert refusal.message == f"{field}: {violation.description}"
        assert refusal.metadata["field"] == field


async def only_refusal(sidecar: Sidecar, request: Message) -> Refusal:
    """That of the call, or of the one element of a batch that has failed."""
    name = request.DESCRIPTOR.name.removesuffix("Request")
    is_plain = request.DESCRIPTOR.file.package == "awsidecar.documents.v1"
    method = getattr(DocumentServiceStub(sidecar.channel) if is_plain else sidecar.dynamodb, name)
    sent: Any = iter([request]) if "Batch" in name else request
    try:
        outcomes = [one async for response in method(sent, timeout=20) for one in getattr(response, "outcomes", ())]
    except AioRpcError as failure:
        return read_refusal(failure)
    (failed,) = (one.failure for one in outcomes if one.HasField("failure"))
    status = status_pb2.Status.FromString(failed.SerializeToString())
    assert failed.code == StatusCode.INVALID_ARGUMENT.value[0]
    return Refusal(StatusCode.INVALID_ARGUMENT, failed.message, status, {})
