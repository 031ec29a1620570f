"""Plain documents through a sidecar for real: how deep they nest, how they fail, whose calls they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from google.rpc import error_details_pb2
from tests.integration.stub.sidecar import (
    CUT_AFTER_SECONDS,
    LANE,
    POD_KEY,
    Client,
    Sidecar,
    refusal_at_deadline,
    refusal_of,
)
from tests.integration.stub_aws import Answer, StubAws, held, refused
from tests.unit.bridge.nests import lists, maps, mixed

from awsidecar.documents.v1.document_service_pb2_grpc import DocumentServiceStub
from awsidecar.documents.v1.documents_pb2 import DeleteRequest, GetRequest, PutRequest, UpdateRequest
from awsidecar.documents.v1.pages_pb2 import ScanRequest
from awsidecar.errors.v1 import errors_pb2

pytestmark = pytest.mark.asyncio(loop_scope="session")

# What DynamoDB takes ("Naming rules and data types").
DEEPEST = 32
LARGE = "12345678901234567890"


def documents(client: Client) -> Any:
    return DocumentServiceStub(client.channel)


def struct(members: dict[str, Any]) -> Struct:
    made = Struct()
    made.update(members)
    return made


def get(**members: Any) -> GetRequest:
    return GetRequest(table_name="users", key=struct({"id": "ann"}), **members)


def plain(value: Any) -> Any:
    """A nest in the form that documents have."""
    match value:
        case {"M": entries}:
            return {name: plain(held) for name, held in entries.items()}
        case {"L": elements}:
            return [plain(held) for held in elements]
        case {"NULL": True}:
            return None
    return value["S"]


@pytest.mark.parametrize("nest", [maps, lists, mixed])
async def test_as_deep_as_dynamodb_nests_passes_both_ways(
    sidecar: Sidecar, aws: StubAws, nest: Callable[[int, dict[str, Any]], dict[str, Any]]
) -> None:
    deep = nest(DEEPEST, {"S": "x"})
    aws.on("PutItem", Answer({"Attributes": {"a": deep}}))
    document = struct({"id": "ann", "a": plain(deep)})
    answer = await documents(sidecar).Put(PutRequest(table_name="users", item=document, return_values="ALL_OLD"))
    assert aws.requests[-1].parameters["Item"] == {"id": {"S": "ann"}, "a": deep}
    assert answer.attributes == struct({"a": plain(deep)})


async def test_level_that_dynamodb_does_not_take_is_for_aws_to_refuse(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("PutItem", refused("ValidationException", "Nesting Levels have exceeded supported limits"))
    request = PutRequest(table_name="users")
    request.item.update({"id": "ann", "a": plain(maps(DEEPEST + 1, {"S": "x"}))})
    refusal = await refusal_of(documents(sidecar).Put(request))
    assert refusal.reason == "VALIDATION_EXCEPTION"


async def test_trailers_say_what_they_say_of_any_operation(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("GetItem", Answer({"Item": {"id": {"S": "ann"}, "n": {"N": "1.50"}}}))
    call = documents(sidecar).Get(get())
    assert (await call).item == struct({"id": "ann", "n": 1.5})
    trailers = dict(await call.trailing_metadata())
    assert (trailers["x-awsidecar-tier"], trailers["x-awsidecar-attempts"]) == ("service_account", "1")
    assert trailers["x-amzn-requestid"]
    assert aws.requests[-1].key_id == POD_KEY


async def test_calls_are_signed_as_the_session_says(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("GetItem", Answer({}))
    aws.on("Scan", Answer({"Items": [], "Count": 0, "ScannedCount": 0}))
    session = [("x-awsidecar-session", await sidecar.open_session("AKIAANNANNANNANNANN1"))]
    assert not (await documents(sidecar).Get(get(), metadata=session)).HasField("item")
    pages = documents(sidecar).Scan(ScanRequest(table_name="users"), metadata=session)
    assert len([page async for page in pages]) == 1
    assert [one.key_id for one in aws.requests[-2:]] == ["AKIAANNANNANNANNANN1"] * 2


async def test_fault_in_a_document_names_its_path_and_does_not_go_to_aws(sidecar: Sidecar, aws: StubAws) -> None:
    item = struct({"id": "ann", "tags": [1, 2, {"price": 2.0**60}]})
    refusal = await refusal_of(documents(sidecar).Put(PutRequest(table_name="users", item=item)))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert (refusal.reason, refusal.metadata) == (
        "INVALID_REQUEST",
        {"operation": "Put", "field": "Item.tags[2].price"},
    )
    assert refusal.detail(error_details_pb2.BadRequest).field_violations[0].field == "Item.tags[2].price"
    assert aws.requests == []


@pytest.mark.parametrize("values", [{}, {"key": Struct()}])
async def test_key_is_required_under_its_name(sidecar: Sidecar, aws: StubAws, values: dict[str, Any]) -> None:
    refusal = await refusal_of(documents(sidecar).Get(GetRequest(table_name="users", **values)))
    assert (refusal.code, refusal.message) == (grpc.StatusCode.INVALID_ARGUMENT, "Key: is required")
    assert refusal.trailers["x-awsidecar-tier"] == "service_account"


async def test_number_that_a_double_does_not_hold_is_refused_with_its_path(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("GetItem", Answer({"Item": {"id": {"S": "ann"}, "a": {"L": [{"N": LARGE}]}}}))
    refusal = await refusal_of(documents(sidecar).Get(get()))
    assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
    assert (refusal.reason, refusal.metadata["field"]) == ("NUMBER_NOT_EXACT", "Item.a[0]")
    assert refusal.trailers["x-awsidecar-tier"] == "service_account"
    assert LARGE not in str(refusal.status)
    answer = await documents(sidecar).Get(get(large_numbers="STRING"))
    assert answer.item["a"][0]["$N"] == LARGE


async def test_refusals_of_aws_are_those_of_the_typed_operations(sidecar: Sidecar, aws: StubAws) -> None:
    item = {"id": {"S": "ann"}, "n": {"N": LARGE}}
    aws.on("UpdateItem", refused("ConditionalCheckFailedException", "no", Item=item))
    request = UpdateRequest(table_name="users", key=struct({"id": "ann"}), condition_expression="n < :n")
    refusal = await refusal_of(documents(sidecar).Update(request))
    assert (refusal.code, refusal.info.domain) == (grpc.StatusCode.FAILED_PRECONDITION, "dynamodb.amazonaws.com")
    assert refusal.detail(errors_pb2.ConditionalCheckFailed).item.attributes["n"].n == LARGE


async def test_write_whose_answer_cannot_be_read_may_have_happened(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("PutItem", Answer({"Attributes": {"a": {"VECTOR": "of a later time"}}}))
    request = PutRequest(table_name="users", item=struct({"id": "ann"}), return_values="ALL_OLD")
    refusal = await refusal_of(documents(sidecar).Put(request))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "AWS_UNREACHABLE")
    assert (refusal.metadata["cause"], refusal.metadata["ambiguous"]) == ("bad_response", "true")


async def test_write_that_its_deadline_has_cut_may_have_happened(sidecar: Sidecar, aws: StubAws) -> None:
    aws.on("PutItem", held())
    request = PutRequest(table_name="users", item=struct({"id": "ann"}))
    refusal = await refusal_at_deadline(lambda: documents(sidecar).Put(request, timeout=CUT_AFTER_SECONDS))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_SPENT")
    assert (refusal.metadata["attempts"], refusal.metadata["ambiguous"]) == ("1", "true")


@pytest.mark.skipif(LANE == "sdk", reason="the SDK leaves conflicts to the application")
async def test_conflicts_are_retried_for_who_asks_as_in_the_typed_operations(
    sidecar: Sidecar, aws: StubAws
) -> None:
    aws.on("DeleteItem", refused("TransactionConflictException", "in the way"), Answer({}))
    request = DeleteRequest(table_name="users", key=struct({"id": "ann"}))
    assert (await refusal_of(documents(sidecar).Delete(request))).reason == "TRANSACTION_CONFLICT_EXCEPTION"
    aws.on("DeleteItem", refused("TransactionConflictException", "in the way"), Answer({}))
    await documents(sidecar).Delete(request, metadata=[("x-awsidecar-retry-conflicts", "true")])


async def test_stream_whose_caller_has_gone_ends_the_read_under_way(sidecar: Sidecar, aws: StubAws) -> None:
    page = {"Items": [], "Count": 0, "ScannedCount": 3, "LastEvaluatedKey": {"id": {"S": "x"}}}
    aws.on("Scan", Answer(page), held())
    pages = documents(sidecar).Scan(ScanRequest(table_name="users"))
    assert (await pages.read()).last_evaluated_key == struct({"id": "x"})
    await aws.until(lambda: aws.count("Scan") == 2)
    pages.cancel()
    await aws.until(lambda: aws.abandoned == 1)
    assert aws.count("Scan") == 2
