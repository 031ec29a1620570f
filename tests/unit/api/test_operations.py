from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

import pytest
from google.protobuf.message import Message
from tests.unit.aws.fakes import FakeProvider

from awsidecar.dynamodb.v1 import items_pb2, transactions_pb2
from awsidecar_server.api.calls import Reply, Request
from awsidecar_server.api.operations import aws_handler
from awsidecar_server.aws.call import AwsCall, AwsReply
from awsidecar_server.aws.idempotency import nature_of
from awsidecar_server.aws.json_calls import JsonCall, JsonReply
from awsidecar_server.aws.json_sender import JsonSender
from awsidecar_server.aws.lane import Lane
from awsidecar_server.aws.progress import Progress
from awsidecar_server.config import IdentityConfig
from awsidecar_server.contract import Rpc, aws_rpcs
from awsidecar_server.errors import AwsRejected, AwsUnreachable, CredentialsUnavailable, InvalidRequest
from awsidecar_server.identity.credentials import Caller, Credentials, ServiceAccountCaller
from awsidecar_server.identity.gate import Gate
from awsidecar_server.identity.sessions import SessionStore
from awsidecar_server.operations import JsonOperation, Operation, Scope, SdkOperation

ReplyT = TypeVar("ReplyT")

RPCS = {rpc.method: rpc for rpc in aws_rpcs()}
ITEM = {"Item": {"id": {"S": "1"}}}
# Beyond it, a conversion is done in a thread.
LARGE = 128 * 1024


class FakeLane(Lane):
    """Keeps who called."""

    def __init__(self) -> None:
        super().__init__(FakeProvider())
        self.callers: list[Caller] = []

    async def call(self, caller: Caller, send: Callable[[Credentials], Awaitable[ReplyT]]) -> ReplyT:
        self.callers.append(caller)
        return await super().call(caller, send)


class FakeSender(JsonSender):
    """Keeps the calls, and answers each with a body or a failure. As a carrier, it answers with members."""

    def __init__(self, answer: Any = None) -> None:
        self._answer = ITEM if answer is None else answer
        self.posted: list[JsonCall] = []
        self.sent: list[AwsCall] = []

    @property
    def calls(self) -> list[AwsCall] | list[JsonCall]:
        return self.sent or self.posted

    async def post(self, call: JsonCall, credentials: Credentials | None) -> JsonReply:
        self.posted.append(call)
        self._send_twice(call.progress, call.operation, call.members)
        answer = self._given()
        return JsonReply(answer if isinstance(answer, bytes) else json.dumps(answer).encode(), "REQ", 2)

    async def send(self, call: AwsCall, credentials: Credentials | None) -> AwsReply:
        self.sent.append(call)
        self._send_twice(call.progress, call.operation, call.parameters)
        return AwsReply(self._given(), "REQ", 2)

    def _send_twice(self, progress: Progress, operation: str, members: Any) -> None:
        for _ in range(2):
            progress.begin(lambda: nature_of(operation, lambda: members))
            progress.sent()

    def _given(self) -> Any:
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer


BOTH = pytest.mark.parametrize("way", [JsonOperation, SdkOperation])
Way = Callable[[Rpc, Lane, FakeSender], Operation]


async def ask(
    way: Way,
    sender: FakeSender,
    message: Message,
    *,
    lane: FakeLane | None = None,
    deadline: float | None = None,
    size: int = 1,
    progress: Progress | None = None,
) -> Reply:
    rpc = next(one for one in RPCS.values() if one.request is message.DESCRIPTOR)
    handler = aws_handler(way(rpc, lane or FakeLane(), sender), Gate(None, SessionStore(IdentityConfig())))
    return await handler(Request(message, (), "us-east-1", deadline, size, progress or Progress()))


def get_item() -> items_pb2.GetItemRequest:
    request = items_pb2.GetItemRequest(table_name="films")
    request.key["id"].s = "1"
    return request


@BOTH
async def test_operation_is_called_as_the_caller_in_the_region_of_the_call(way: Way) -> None:
    lane, sender = FakeLane(), FakeSender()
    reply = await ask(way, sender, get_item(), lane=lane)
    assert lane.callers == [ServiceAccountCaller()]
    (call,) = sender.calls
    assert (call.service, call.operation, call.region) == ("dynamodb", "GetItem", "us-east-1")
    answer = items_pb2.GetItemResponse.FromString(
        reply.message if isinstance(reply.message, bytes) else reply.message.SerializeToString()
    )
    assert answer.item.attributes["id"].s == "1"
    assert (reply.tier, reply.request_id, reply.attempts) == ("service_account", "REQ", 2)


async def test_request_is_a_body_with_its_members_beside_it_and_the_deadline_of_the_call() -> None:
    sender = FakeSender()
    await ask(JsonOperation, sender, get_item(), deadline=12.5)
    (call,) = sender.posted
    assert json.loads(call.body) == call.members == {"TableName": "films", "Key": {"id": {"S": "1"}}}
    assert call.deadline == 12.5


async def test_request_to_the_sdk_is_its_parameters() -> None:
    sender = FakeSender()
    await ask(SdkOperation, sender, get_item())
    (call,) = sender.sent
    assert call.parameters == {"TableName": "films", "Key": {"id": {"S": "1"}}}


@BOTH
@pytest.mark.parametrize(
    "failure",
    [AwsRejected("dynamodb", "GetItem", "ValidationException", "no"), CredentialsUnavailable("no", tier="cognito")],
)
async def test_refusal_says_which_tier_would_have_signed(
    way: Way, failure: AwsRejected | CredentialsUnavailable
) -> None:
    with pytest.raises(type(failure)) as refused:
        await ask(way, FakeSender(failure), get_item())
    assert refused.value is failure
    assert failure.tier == "service_account"


@BOTH
async def test_request_that_lacks_something_is_not_sent(way: Way) -> None:
    sender = FakeSender()
    with pytest.raises(InvalidRequest):
        await ask(way, sender, items_pb2.GetItemRequest(table_name="films"))
    assert sender.calls == []


async def test_answer_that_is_none_of_the_operation_is_no_answer() -> None:
    with pytest.raises(AwsUnreachable) as unreadable:
        await ask(JsonOperation, FakeSender(b'{"Item": "text"}'), get_item())
    assert unreadable.value.metadata == {"cause": "bad_response", "attempts": "2"}
    assert unreadable.value.tier == "service_account"


async def test_write_whose_answer_is_none_of_the_operation_may_have_happened() -> None:
    with pytest.raises(AwsUnreachable) as unreadable:
        await ask(JsonOperation, FakeSender(b"<html>"), transact())
    assert unreadable.value.metadata == {"cause": "bad_response", "attempts": "2", "ambiguous": "true"}


@BOTH
@pytest.mark.parametrize(
    "failure",
    [
        asyncio.CancelledError(),
        CredentialsUnavailable("the renewal failed", tier="cognito"),
        KeyError("a defect"),
        None,
    ],
    ids=["cut", "not renewed", "defect", "answered"],
)
async def test_progress_of_a_request_is_that_of_its_call_however_it_ends(
    way: Way, failure: BaseException | None
) -> None:
    """An answer to a write may still be lost at the edge."""
    write, read = Progress(), Progress()
    for message, progress in ((transact(), write), (get_item(), read)):
        with contextlib.suppress(asyncio.CancelledError, CredentialsUnavailable, KeyError):
            await ask(way, FakeSender({} if failure is None else failure), message, progress=progress)
    assert (write.attempts, write.is_ambiguous) == (2, True)
    assert (read.attempts, read.is_ambiguous) == (2, False)


@BOTH
async def test_calls_of_one_request_do_not_share_their_progress(way: Way) -> None:
    """What one has written is no doubt about another."""
    scope = Scope(ServiceAccountCaller(), "us-east-1")
    write = await way(RPCS["TransactWriteItems"], FakeLane(), FakeSender({})).perform(transact(), scope, 1)
    read = await way(RPCS["GetItem"], FakeLane(), FakeSender()).perform(get_item(), scope, 1)
    assert (write.progress.is_ambiguous, read.progress.is_ambiguous) == (True, False)
    assert (scope.progress.attempts, scope.progress.is_ambiguous) == (0, False)


async def test_token_is_made_where_the_caller_left_it_out_and_another_for_each_call() -> None:
    sender = FakeSender({})
    for _ in range(2):
        await ask(JsonOperation, sender, transact())
    first, second = (call.members["ClientRequestToken"] for call in sender.posted)
    assert UUID(first) != UUID(second)
    assert json.loads(sender.posted[0].body)["ClientRequestToken"] == first


async def test_token_of_the_caller_is_kept() -> None:
    sender = FakeSender({})
    await ask(JsonOperation, sender, transact(client_request_token="mine"))
    assert sender.posted[0].members["ClientRequestToken"] == "mine"


async def test_operation_without_a_token_gets_none() -> None:
    sender = FakeSender()
    await ask(JsonOperation, sender, get_item())
    assert set(sender.posted[0].members) == {"TableName", "Key"}


@BOTH
@pytest.mark.parametrize(("size", "is_in_a_thread"), [(LARGE - 1, False), (LARGE, True)])
async def test_large_request_is_converted_off_the_loop(way: Way, size: int, is_in_a_thread: bool) -> None:
    """The message is asked for its members wherever it is converted."""
    seen: list[str] = []

    class Watched(FakeSender):
        pass

    class Spy:
        DESCRIPTOR = items_pb2.GetItemRequest.DESCRIPTOR

        def __getattr__(self, name: str) -> Any:
            seen.append(threading.current_thread().name)
            return getattr(message, name)

    message = get_item()
    spy: Any = Spy()
    await ask(way, Watched(), spy, size=size)
    assert seen
    assert all(name.startswith("convert") is is_in_a_thread for name in seen)


def transact(**members: Any) -> transactions_pb2.TransactWriteItemsRequest:
    put = transactions_pb2.Put(table_name="films")
    put.item["id"].s = "1"
    return transactions_pb2.TransactWriteItemsRequest(
        transact_items=[transactions_pb2.TransactWriteItem(put=put)], **members
    )
