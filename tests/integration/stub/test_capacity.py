"""What AWS says calls have consumed is counted, by whichever RPC they are made."""

from __future__ import annotations

import pytest
from tests.integration.stub.conftest import Start
from tests.integration.stub_aws import Answer, StubAws

from awsidecar.dynamodb.v1 import items_pb2, page_streams_pb2, query_pb2
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = {"id": AttributeValue(s="ann")}


async def test_capacity_is_counted_for_single_calls_and_for_streams_of_them(aws: StubAws, start: Start) -> None:
    consumed = {"TableName": "users", "CapacityUnits": 0.5}
    aws.on("GetItem", Answer({"ConsumedCapacity": consumed}))
    page = {"Items": [{"id": {"S": "ann"}}], "ConsumedCapacity": {**consumed, "CapacityUnits": 128.5}}
    aws.on("Query", Answer({**page, "LastEvaluatedKey": {"id": {"S": "ann"}}}), Answer(page))
    query = query_pb2.QueryRequest(table_name="users", return_consumed_capacity="TOTAL")
    async with start() as sidecar:
        await sidecar.dynamodb.GetItem(
            items_pb2.GetItemRequest(table_name="users", key=KEY, return_consumed_capacity="INDEXES")
        )
        async for _ in sidecar.dynamodb.QueryStream(page_streams_pb2.QueryStreamRequest(query=query)):
            pass
        await sidecar.dynamodb.GetItem(items_pb2.GetItemRequest(table_name="users", key=KEY))

        def counted(operation: str) -> float | None:
            labels = {"table": "users", "operation": operation, "kind": "read"}
            name = "awsidecar_dynamodb_consumed_capacity_units_total"
            return sidecar.app.telemetry.registry.get_sample_value(name, labels)

        assert (counted("GetItem"), counted("Query")) == (0.5, 257.0)
