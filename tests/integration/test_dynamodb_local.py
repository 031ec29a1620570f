"""A sidecar on AWS's own emulator."""

from __future__ import annotations

import grpc
from tests.integration.conftest import Sidecar

from awsidecar.dynamodb.v1.dynamodb_service_pb2_grpc import DynamoDbServiceStub
from awsidecar.dynamodb.v1.tables_pb2 import ListTablesRequest


def test_sidecar_serves_the_tables_of_dynamodb_local(sidecar_on_dynamodb_local: Sidecar) -> None:
    with grpc.insecure_channel(sidecar_on_dynamodb_local.target) as channel:
        call = DynamoDbServiceStub(channel).ListTables
        _, finished = call.with_call(ListTablesRequest(), timeout=30)
    trailers = dict(finished.trailing_metadata() or ())
    assert trailers["x-awsidecar-tier"] == "service_account"
    assert trailers["x-amzn-requestid"]
