from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from google.protobuf.message import Message
from tests.unit.documents.documents import attribute, item, struct

from awsidecar.documents.v1 import documents_pb2
from awsidecar.dynamodb.v1 import items_pb2
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue, Item
from awsidecar_server.aws.idempotency import nature_of
from awsidecar_server.aws.progress import Progress
from awsidecar_server.bridge import UnreadableReply
from awsidecar_server.contract import DOCUMENT_SERVICE, aws_rpcs, rpcs
from awsidecar_server.documents.operations import DocumentOperation
from awsidecar_server.errors import InvalidRequest, NumberNotExact
from awsidecar_server.identity.credentials import ServiceAccountCaller
from awsidecar_server.operations import Performed, Scope

LARGE = "12345678901234567890"


class FakeOperation:
    """Gives the answers one after the other, as bytes, and keeps what it was asked."""

    def __init__(self, answers: Iterable[Message | Exception]) -> None:
        self._answers = iter(answers)
        self.asked: list[Any] = []

    async def perform(self, message: Message, scope: Scope, size: int) -> Performed:
        assert (scope.caller, scope.region, scope.deadline) == (ServiceAccountCaller(), "us-east-1", 12.5)
        assert size == message.ByteSize()
        copy = type(message)()
        copy.CopyFrom(message)
        self.asked.append(copy)
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        progress = Progress()
        progress.begin(lambda: nature_of(type(message).__name__.removesuffix("Request"), dict))
        progress.sent()
        return Performed(answer.SerializeToString(), f"REQ{len(self.asked)}", 2, progress)


def operation(method: str, *answers: Message | Exception) -> tuple[DocumentOperation, FakeOperation]:
    aws = FakeOperation(answers)
    (rpc,) = (one for one in rpcs(DOCUMENT_SERVICE) if one.method == method)
    (theirs,) = (one for one in aws_rpcs() if one.method == f"{method}Item")
    return DocumentOperation(rpc, theirs, aws), aws


def scope() -> Scope:
    return Scope(ServiceAccountCaller(), "us-east-1", 12.5)


async def perform(document: DocumentOperation, message: Message) -> Performed:
    return await document.perform(message, scope(), message.ByteSize())


def get() -> documents_pb2.GetRequest:
    return documents_pb2.GetRequest(table_name="users", key=struct({"id": "1"}))


async def test_answer_is_plain_and_says_what_aws_said_of_the_call() -> None:
    document, aws = operation("Get", items_pb2.GetItemResponse(item=item({"id": {"S": "1"}, "n": {"N": "2"}})))
    done = await perform(document, get())
    assert aws.asked == [items_pb2.GetItemRequest(table_name="users", key={"id": attribute({"S": "1"})})]
    assert done.message == documents_pb2.GetResponse(item=struct({"id": "1", "n": 2}))
    assert (done.request_id, done.attempts) == ("REQ1", 2)


async def test_large_numbers_are_text_for_who_allows_it_and_an_error_for_the_others() -> None:
    answer = items_pb2.GetItemResponse(item=item({"n": {"N": LARGE}}))
    document, _ = operation("Get", answer, answer)
    with pytest.raises(NumberNotExact) as refused:
        await perform(document, get())
    assert refused.value.tier == "service_account"
    request = get()
    request.large_numbers = "STRING"
    done = await perform(document, request)
    assert done.message == documents_pb2.GetResponse(item=struct({"n": {"$N": LARGE}}))


async def test_write_that_is_done_is_no_error_for_the_number_that_it_replaced() -> None:
    document, _ = operation("Put", items_pb2.PutItemResponse(attributes=item({"n": {"N": LARGE}})))
    done = await perform(document, documents_pb2.PutRequest(return_values="ALL_OLD"))
    assert done.message == documents_pb2.PutResponse(attributes=struct({"n": {"$N": LARGE}}))


@pytest.mark.parametrize(
    ("method", "answer", "ambiguous"),
    [
        ("Get", items_pb2.GetItemResponse(item=Item(attributes={"a": AttributeValue()})), False),
        ("Put", items_pb2.PutItemResponse(attributes=Item(attributes={"a": AttributeValue()})), True),
    ],
)
async def test_answer_with_an_unknown_type_is_unreadable(method: str, answer: Message, *, ambiguous: bool) -> None:
    document, _ = operation(method, answer)
    request = get() if method == "Get" else documents_pb2.PutRequest()
    with pytest.raises(UnreadableReply) as unreadable:
        await perform(document, request)
    assert (unreadable.value.attempts, unreadable.value.ambiguous) == (2, ambiguous)
    assert unreadable.value.tier == "service_account"


@pytest.mark.parametrize(
    "request_",
    [documents_pb2.PutRequest(item=struct({"n": float("nan")})), documents_pb2.GetRequest(large_numbers="x")],
)
async def test_request_at_fault_does_not_go_to_aws_and_names_the_tier(request_: Message) -> None:
    document, aws = operation(type(request_).DESCRIPTOR.name.removesuffix("Request"))
    with pytest.raises(InvalidRequest) as refused:
        await perform(document, request_)
    assert refused.value.tier == "service_account"
    assert aws.asked == []


@pytest.mark.parametrize(
    ("method", "answer", "ambiguous"),
    [("Put", items_pb2.PutItemResponse(), True), ("Get", items_pb2.GetItemResponse(), False)],
)
async def test_what_was_sent_is_known_however_the_call_ends(
    method: str, answer: Message, *, ambiguous: bool
) -> None:
    """The answer to a write may be lost after it: at the edge, or by the deadline."""
    document, _ = operation(method, answer)
    asked = scope()
    await document.perform(get() if method == "Get" else documents_pb2.PutRequest(), asked, 0)
    assert (asked.progress.attempts, asked.progress.is_ambiguous) == (1, ambiguous)
