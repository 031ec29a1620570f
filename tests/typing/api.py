"""How the client is used, for the type checker only: each line must be accepted, and each `ignore` be needed."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, assert_type

import grpc

import awsidecar
from awsidecar import Value, aio, errors, shapes
from awsidecar.dynamodb.v1 import items_pb2


def calls(client: awsidecar.Client) -> None:
    found = client.dynamodb.get_item(TableName="users", Key={"id": "user-123"}, ConsistentRead=True, timeout=2.5)
    assert_type(found, shapes.GetItemResponse)
    assert_type(found["Item"], dict[str, Any])
    assert_type(found["ResponseMetadata"]["RequestId"], str)

    item: dict[str, Value] = {"id": "1", "n": Decimal("1.5"), "l": [1, None, {"m": b""}], "s": {"a", "b"}}
    client.dynamodb.put_item(TableName="users", Item=item)
    client.dynamodb.put_item(TableName="users", Item=found["Item"])
    client.dynamodb.update_item(
        TableName="users",
        Key={"id": "1"},
        UpdateExpression="SET #status = :status",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":status": "active", ":tags": {"a"}, ":list": ["a", 1]},
    )

    puts: list[shapes.WriteRequest] = [{"PutRequest": {"Item": item}}, {"DeleteRequest": {"Key": {"id": "2"}}}]
    written = client.dynamodb.batch_write_item(RequestItems={"users": puts})
    client.dynamodb.batch_write_item(RequestItems=written["UnprocessedItems"])
    batch = client.dynamodb.batch_get_item(RequestItems={"users": {"Keys": [{"id": "1"}]}})
    assert_type(batch["Responses"]["users"], list[dict[str, Any]])
    client.dynamodb.batch_get_item(RequestItems=batch["UnprocessedKeys"])
    client.dynamodb.transact_write_items(TransactItems=[{"Put": {"TableName": "users", "Item": item}}])

    exported = client.dynamodb.export_table_to_point_in_time(
        TableArn="arn", S3Bucket="b", ExportTime=datetime.now(UTC)
    )
    assert_type(exported["ExportDescription"]["StartTime"], datetime)


def pages(client: awsidecar.Client) -> None:
    for item in client.dynamodb.query_items(TableName="users", limit_items=10):
        assert_type(item, dict[str, Any])
    for page in client.dynamodb.scan_pages(TableName="users"):
        assert_type(page, shapes.ScanResponse)
        assert_type(page["Items"], list[dict[str, Any]])
    for name in client.dynamodb.list_tables_items():
        assert_type(name, str)
    for shard in client.streams.describe_stream_items(StreamArn="arn"):
        assert_type(shard["ShardId"], str)


def page_streams(client: awsidecar.Client) -> None:
    queried = client.dynamodb.query_stream(TableName="users", limit_items=10, timeout=5)
    for page in queried:
        assert_type(page, shapes.QueryResponse)
    for item in queried.items():
        assert_type(item, dict[str, Any])
    scanned = client.dynamodb.scan_stream(TableName="users", segments=4, ExclusiveStartKey={"id": "1"})
    assert_type(scanned.positions, list[awsidecar.SegmentPosition])
    client.dynamodb.scan_stream(TableName="users", segments=4, positions=scanned.positions)
    client.dynamodb.execute_statement_stream(Statement="SELECT * FROM users", Parameters=["a", 1])
    client.dynamodb.query_stream(TableName="users", segments=4)  # type: ignore[call-arg]


async def aio_page_streams(client: aio.Client) -> None:
    async for page in client.dynamodb.scan_stream(TableName="users", segments=4):
        assert_type(page, shapes.ScanResponse)
    async for item in client.dynamodb.execute_statement_stream(Statement="SELECT * FROM users").items():
        assert_type(item, dict[str, Any])


def batches(client: awsidecar.Client) -> None:
    with client.dynamodb.batch_writer("users", timeout=60) as batch:
        batch.put_item(Item={"id": "1", "age": 3})
        batch.delete_item(Key={"id": "2"}, TableName="orders")
        batch.put_item(Item={"id": "1"}, ConditionExpression="x")  # type: ignore[call-arg]
        assert_type(batch.done, int)
    for item in client.dynamodb.batch_get(
        TableName="users", Keys=({"id": n} for n in range(3)), ConsistentRead=True
    ):
        assert_type(item, dict[str, Any] | None)


async def aio_batches(client: aio.Client) -> None:
    async with client.dynamodb.batch_writer() as batch:
        await batch.put_item(Item={"id": "1"}, TableName="users")
    async for item in client.dynamodb.batch_get(TableName="users", Keys=[{"id": "1"}]):
        assert_type(item, dict[str, Any] | None)


def mistakes(client: awsidecar.Client) -> None:
    client.dynamodb.get_item(TableName="users")  # type: ignore[call-arg]
    client.dynamodb.get_item(Tablename="users", Key={"id": "1"})  # type: ignore[call-arg]
    client.dynamodb.query(TableName="users", Limit="10")  # type: ignore[arg-type]
    client.dynamodb.put_item(TableName="users", Item={"at": datetime.now(UTC)})  # type: ignore[dict-item]
    client.dynamodb.put_items(TableName="users")  # type: ignore[attr-defined]


def sessions(client: awsidecar.Client) -> None:
    with client.open_session(id_token="TOKEN") as session_client:
        assert_type(session_client, awsidecar.SessionClient)
    with awsidecar.connect("unix:/run/awsidecar.sock", region="eu-west-1", timeout=5) as other:
        assert_type(other, awsidecar.Client)
    assert_type(client.credentials.who_am_i().tier, awsidecar.Tier | None)
    assert_type(client.credentials.get_credentials(), awsidecar.AwsCredentials)
    if client.credentials.validate_credentials():
        client.with_token("TOKEN").dynamodb.list_tables()
    response = client.stubs.dynamodb.GetItem(items_pb2.GetItemRequest(), metadata=client.metadata, timeout=1)
    assert_type(response, items_pb2.GetItemResponse)


def failures(client: awsidecar.Client) -> None:
    try:
        client.dynamodb.list_tables()
    except errors.ConditionalCheckFailedException as error:
        assert_type(error.item, dict[str, Any] | None)
    except errors.TransactionCanceledException as error:
        assert_type(error.reasons, tuple[errors.CancellationReason, ...])
    except errors.Throttled as error:
        assert_type(error.retry_after, float | None)
    except awsidecar.SidecarError as error:
        assert_type(error.code, grpc.StatusCode)


async def asyncio_calls() -> None:
    async with aio.connect() as client:
        found = await client.dynamodb.get_item(TableName="users", Key={"id": "user-123"})
        assert_type(found, shapes.GetItemResponse)
        async for item in client.dynamodb.query_items(TableName="users", limit_items=10):
            assert_type(item, dict[str, Any])
        async for page in client.streams.list_streams_pages():
            assert_type(page, shapes.ListStreamsResponse)
        async with client.open_session(id_token="TOKEN") as session_client:
            assert_type(session_client, aio.SessionClient)
        assert_type(await client.open_session(id_token="TOKEN"), aio.SessionClient)
        response = await client.stubs.dynamodb.GetItem(
            items_pb2.GetItemRequest(), metadata=client.metadata, timeout=1
        )
        assert_type(response, items_pb2.GetItemResponse)
