"""`awsidecar serve --embedded --workers 2`: one embedded AWS, and sessions of its users in both workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import grpc
import pytest
from tests.integration.conftest import Sidecar, start_sidecar, stop_sidecar

from awsidecar.credentials.v1 import credentials_pb2, credentials_pb2_grpc
from awsidecar.dynamodb.v1 import attribute_value_pb2, dynamodb_service_pb2_grpc, items_pb2

_GET_USER = items_pb2.GetItemRequest(
    table_name="users", key={"id": attribute_value_pb2.AttributeValue(s="user-123")}
)


@pytest.fixture
def two_workers(embedded_environment: Mapping[str, str]) -> Iterator[Sidecar]:
    running = start_sidecar(["--embedded", "--workers", "2"], embedded_environment)
    yield running
    assert stop_sidecar(running) == 0
    assert running.canaries
    assert not running.leaks()


def test_session_of_a_user_is_good_on_every_connection(two_workers: Sidecar) -> None:
    alone = [("grpc.use_local_subchannel_pool", 1)]
    with ExitStack() as closing:
        # So many that both workers have some of them.
        first, *others = (
            closing.enter_context(grpc.insecure_channel(two_workers.target, options=alone)) for _ in range(12)
        )
        request = credentials_pb2.OpenSessionRequest(id_token=two_workers.token())
        session = credentials_pb2_grpc.CredentialsServiceStub(first).OpenSession(request).session
        for channel in others:
            dynamodb = dynamodb_service_pb2_grpc.DynamoDbServiceStub(channel)
            reply, call = dynamodb.GetItem.with_call(_GET_USER, metadata=(("x-awsidecar-session", session),))
            assert reply.item.attributes["email"].s == "user@example.com"
            assert dict(call.trailing_metadata())["x-awsidecar-tier"] == "cognito"
    assert sum('"embedded aws"' in line for line in two_workers.log) == 1
