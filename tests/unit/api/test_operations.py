from __future__ import annotations

import pytest

from awsidecar.dynamodb.v1 import items_pb2
from awsidecar_server.api.contract import AWS_SERVICES, rpcs
from awsidecar_server.api.edge import Reply, Request
from awsidecar_server.api.operations import operation
from awsidecar_server.aws.call import AwsCall, AwsReply
from awsidecar_server.aws.lane import Lane
from awsidecar_server.config import IdentityConfig
from awsidecar_server.errors import AwsRejected, CredentialsUnavailable, InvalidRequest
from awsidecar_server.identity.credentials import Caller, ServiceAccountCaller
from awsidecar_server.identity.gate import Gate
from awsidecar_server.identity.sessions import SessionStore

GET_ITEM = next(rpc for service in AWS_SERVICES for rpc in rpcs(service) if rpc.method == "GetItem")


class FakeLane(Lane):
    """Keeps the calls, and answers each with an item or a failure."""

    def __init__(self, failure: Exception | None = None) -> None:
        self._failure = failure
        self.calls: list[tuple[Caller, AwsCall]] = []

    async def call(self, caller: Caller, call: AwsCall) -> AwsReply:
        self.calls.append((caller, call))
        if self._failure is not None:
            raise self._failure
        return AwsReply({"Item": {"id": {"S": "1"}}}, "REQ", 2)


async def ask(lane: FakeLane, request: items_pb2.GetItemRequest) -> Reply:
    handler = operation(GET_ITEM, Gate(None, SessionStore(IdentityConfig())), lane)
    return await handler(Request(request, (), "us-east-1", None))


def get_item() -> items_pb2.GetItemRequest:
    request = items_pb2.GetItemRequest(table_name="films")
    request.key["id"].s = "1"
    return request


async def test_operation_is_called_as_the_caller_in_the_region_of_the_call() -> None:
    lane = FakeLane()
    reply = await ask(lane, get_item())
    ((caller, call),) = lane.calls
    assert caller == ServiceAccountCaller()
    assert (call.service, call.operation, call.region) == ("dynamodb", "GetItem", "us-east-1")
    assert call.parameters == {"TableName": "films", "Key": {"id": {"S": "1"}}}
    assert isinstance(reply.message, items_pb2.GetItemResponse)
    assert reply.message.item.attributes["id"].s == "1"
    assert (reply.tier, reply.request_id, reply.attempts) == ("service_account", "REQ", 2)


@pytest.mark.parametrize(
    "failure",
    [AwsRejected("dynamodb", "GetItem", "ValidationException", "no"), CredentialsUnavailable("no", tier="cognito")],
)
async def test_refusal_says_which_tier_would_have_signed(failure: AwsRejected | CredentialsUnavailable) -> None:
    with pytest.raises(type(failure)) as refused:
        await ask(FakeLane(failure), get_item())
    assert refused.value is failure
    assert failure.tier == "service_account"


async def test_request_that_lacks_something_is_not_sent() -> None:
    lane = FakeLane()
    with pytest.raises(InvalidRequest):
        await ask(lane, items_pb2.GetItemRequest(table_name="films"))
    assert lane.calls == []
