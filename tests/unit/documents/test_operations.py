from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from google.protobuf.message import Message
from tests.unit.documents.documents import attribute, item, struct

from awsidecar.documents.v1 import documents_pb2, pages_pb2
from awsidecar.dynamodb.v1 import items_pb2, query_pb2
from awsidecar.dynamodb.v1.attribute_value_pb2 import AttributeValue, Item
from awsidecar_server.aws.idempotency import nature_of
from awsidecar_server.aws.progress import Progress
from awsidecar_server.bridge import UnreadableReply
from awsidecar_server.contract import DOCUMENT_SERVICE, aws_rpcs, rpcs
from awsidecar_server.documents.operations import DocumentOperation, document_operations
from awsidecar_server.errors import AwsRejected, InvalidRequest, NumberNotExact, SidecarError
from awsidecar_server.identity.credentials import ServiceAccountCaller
from awsidecar_server.operations import Operations, Performed, Scope

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
    operations = Operations(aws_rpcs(), lambda _: aws)
    (found,) = (one for one in document_operations(operations) if one.rpc.method == method)
    return found, aws


def scope() -> Scope:
    return Scope(ServiceAccountCaller(), "us-east-1", 12.5)


async def perform(document: DocumentOperation, message: Message) -> Performed:
    return await document.perform(message, scope(), message.ByteSize())


async def all_pages(document: DocumentOperation, message: Message) -> list[Any]:
    return [page async for page in document.pages(message, scope(), message.ByteSize())]


def get() -> documents_pb2.GetRequest:
    return documents_pb2.GetRequest(table_name="users", key=struct({"id": "1"}))


def page(number: int, *, last: bool = False, **members: Any) -> query_pb2.ScanResponse:
    answer = query_pb2.ScanResponse(items=[item({"n": {"N": str(number)}})], **members)
    if not last:
        answer.last_evaluated_key.attributes["id"].n = f"{LARGE}{number}"
    return answer


def test_every_rpc_has_its_operation() -> None:
    aws = FakeOperation([])
    made = document_operations(Operations(aws_rpcs(), lambda _: aws))
    assert [one.rpc for one in made] == list(rpcs(DOCUMENT_SERVICE))


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


async def test_pages_go_on_where_the_last_one_ended_until_one_has_no_end() -> None:
    document, aws = operation("Scan", page(1), page(2), page(3, last=True))
    request = pages_pb2.ScanRequest(table_name="users", limit=1, exclusive_start_key=struct({"id": "here"}))
    found = await all_pages(document, request)
    assert [one.items[0] for one in found] == [struct({"n": number}) for number in (1, 2, 3)]
    assert [one.HasField("last_evaluated_key") for one in found] == [True, True, False]
    assert found[0].last_evaluated_key == struct({"id": {"$N": f"{LARGE}1"}})
    assert [asked.exclusive_start_key["id"] for asked in aws.asked] == [
        AttributeValue(s="here"),
        AttributeValue(n=f"{LARGE}1"),
        AttributeValue(n=f"{LARGE}2"),
    ]
    assert all(asked.limit == 1 for asked in aws.asked)


async def test_page_without_items_is_not_the_end() -> None:
    empty = page(1)
    del empty.items[:]
    document, _ = operation("Scan", empty, page(2, last=True))
    assert [len(one.items) for one in await all_pages(document, pages_pb2.ScanRequest())] == [0, 1]


async def test_key_to_resume_at_is_taken_back_as_it_was_given() -> None:
    first, _ = operation("Scan", page(1), page(2, last=True))
    (given, _) = await all_pages(first, pages_pb2.ScanRequest())
    again, aws = operation("Scan", page(2, last=True))
    await all_pages(again, pages_pb2.ScanRequest(exclusive_start_key=given.last_evaluated_key))
    assert aws.asked[0].exclusive_start_key["id"] == AttributeValue(n=f"{LARGE}1")


@pytest.mark.parametrize(
    "failure", [AwsRejected("dynamodb", "Scan", "ValidationException", "no"), NumberNotExact("Items[0].n")]
)
async def test_pages_before_a_failure_are_given(failure: AwsRejected | SidecarError) -> None:
    document, _ = operation("Scan", page(1), failure)
    pages = document.pages(pages_pb2.ScanRequest(), scope(), 0)
    assert (await anext(pages)).items  # type: ignore[attr-defined]
    with pytest.raises(type(failure)):
        await anext(pages)


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


async def test_what_was_sent_for_pages_adds_up() -> None:
    document, _ = operation("Scan", page(1), page(2), page(3, last=True))
    asked = scope()
    assert len([one async for one in document.pages(pages_pb2.ScanRequest(), asked, 0)]) == 3
    assert (asked.progress.attempts, asked.progress.is_ambiguous) == (3, False)
